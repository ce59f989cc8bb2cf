"""What stands in `amis/recipes/`: linted, and readable for each shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from machine import RECIPES, bare
from test_install import mistakes

ROOT = RECIPES.parents[1]
SCRIPTS = sorted(path.name for path in RECIPES.glob("*.sh"))


@pytest.mark.parametrize(
    "path", [*(RECIPES / name for name in SCRIPTS), ROOT / "localstack/sandbox_shim.sh"], ids=str
)
def test_shellcheck_has_nothing_to_say(path: Path) -> None:
    tool = Path(sys.executable).with_name("shellcheck")
    # The shim splits words on purpose throughout.
    options = ["--exclude=SC2046,SC2016"] if path.name == "sandbox_shim.sh" else []
    said = subprocess.run([tool, "--shell=sh", *options, str(path)], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_shell_can_read_it_with_and_without_its_comments(name: str, shell: list[str], tmp_path: Path) -> None:
    stripped = tmp_path / name
    stripped.write_text(bare((RECIPES / name).read_text()))
    for path in (RECIPES / name, stripped):
        subprocess.run([*shell, "-n", str(path)], check=True, timeout=30)


def test_powershell_can_be_parsed_and_is_named_as_not_run() -> None:
    text = (RECIPES / "windows.ps1").read_text()
    assert mistakes(text) == [] and mistakes(bare(text)) == []
    assert mistakes(text.replace("}", "", 1)), "the grammar sees a mistake"
    assert "never run by the tests" in (RECIPES / "README.md").read_text()


def test_every_family_has_what_the_driver_asks_of_one() -> None:
    wanted = ["prepare", "scan", "update", "install", "pending", "packages", "locked", "caches", "needs"]
    for family in ("apt", "dnf", "freebsd"):
        text = (RECIPES / f"{family}.sh").read_text()
        assert [name for name in wanted if f"\n{family}_{name}() {{" not in text] == []
