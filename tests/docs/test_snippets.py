"""Every configuration in the pages for admins is read by the programs that it is for."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from master_process import BUILDBOT
from snippets import ROOT, Page, pages, read

DOCS = ROOT / "docs"
# In these the whole page is one configuration; in the others each section is one.
WHOLE = ["CPYTHON.md", "OPENZFS.md"]
SECTIONS = [
    ("ADMINS.md", "From nothing"),
    ("ADMINS.md", "Migrating"),
]


def cases() -> list[tuple[str, Page]]:
    """Each configuration, with where it stands."""
    found = [(name, read((DOCS / name).read_text())) for name in WHOLE]
    for name, start in SECTIONS:
        sections = list(pages((DOCS / name).read_text(), start))
        assert len(sections) == 1, f"{name} has one section {start!r}"
        found.append((f"{name}: {start}", sections[0][1]))
    return found


CASES = cases()
IDS = [where for where, _ in CASES]


def latent(binary: str, *args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the program where the files are."""
    return subprocess.run([binary, *args], cwd=folder, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(("where", "page"), CASES, ids=IDS)
def test_the_program_accepts_the_configuration(where: str, page: Page, binary: str, tmp_path: Path) -> None:
    if "latent.toml" not in page.files:
        pytest.skip("this part has no latent.toml")
    page.write(tmp_path)
    checked = latent(binary, "check", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(("where", "page"), CASES, ids=IDS)
def test_buildbot_accepts_the_configuration(where: str, page: Page, tmp_path: Path) -> None:
    page.write(tmp_path)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    args = [*BUILDBOT, "checkconfig", "master.cfg"]
    checked = subprocess.run(args, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def calls() -> list[str]:
    """Each command line of the program in a page."""
    texts = [page.commands for _, page in CASES]
    return sorted({line for commands in texts for line in commands if line.startswith("latent ")})


@pytest.mark.parametrize("line", calls())
def test_a_command_is_one_that_the_program_has(line: str, binary: str, tmp_path: Path) -> None:
    words = shlex.split(line, comments=True)[1:]
    command = list(words[:1])
    if words[0] == "config":
        command.append(words[1])
    described = latent(binary, *command, "--help", folder=tmp_path)
    assert described.returncode == 0, described.stderr
    for flag in (word for word in words if word.startswith("--")):
        assert flag in described.stdout


@pytest.mark.parametrize("script", sorted((ROOT / "amis").glob("*.sh")), ids=lambda path: path.name)
def test_a_script_of_user_data_is_one_that_a_shell_reads(script: Path, tmp_path: Path) -> None:
    # Of a loop the text of one turn is read.
    text = re.sub(r"\{\{ *loop\.index0 *\}\}", "0", re.sub(r"\{%[^%]*%\}", "", script.read_text()))
    filled = re.sub(r"\{\{[^}]*\}\}", "'a value'", text)
    (tmp_path / "script.sh").write_text(filled)
    read_by = subprocess.run(["sh", "-n", str(tmp_path / "script.sh")], capture_output=True, text=True)
    assert read_by.returncode == 0, read_by.stderr


def test_links_between_the_pages_lead_somewhere() -> None:
    for name in ("ADMINS.md", *WHOLE):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (DOCS / name).read_text()):
            if "://" not in target:
                assert os.path.exists(DOCS / target), f"{name} links to {target}"
