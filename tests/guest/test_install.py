"""What stands in `amis/guest/`: linted, and installed as a recipe would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tree_sitter
import tree_sitter_powershell
from watch import SCRIPTS

SHELL_SCRIPTS = sorted(path.name for path in SCRIPTS.glob("*.sh"))
POWERSHELL = sorted(path.name for path in SCRIPTS.glob("*.ps1"))
WATCH, SETTINGS = "usr/local/sbin/latent-lease-watch", "etc/latent/lease-watch.conf"
ONCE = r"LATENT_CONF=/\S+ /bin/sh /usr/local/sbin/latent-lease-watch"


def install(shell: list[str], root: Path, system: str, **settings: str) -> None:
    """Runs the recipe's step into a folder."""
    environment = {"PATH": os.environ["PATH"], "DESTDIR": str(root), "LATENT_SYSTEM": system, **settings}
    subprocess.run([*shell, str(SCRIPTS / "install.sh")], env=environment, check=True, timeout=30)


def files(root: Path) -> dict[str, str]:
    """Everything below a folder."""
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", SHELL_SCRIPTS)
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    tool = Path(sys.executable).with_name("shellcheck")
    said = subprocess.run([tool, "--shell=sh", str(SCRIPTS / name)], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("name", SHELL_SCRIPTS)
def test_each_shell_can_read_it(name: str, shell: list[str]) -> None:
    subprocess.run([*shell, "-n", str(SCRIPTS / name)], check=True, timeout=30)


def mistakes(text: str) -> list[str]:
    """Where PowerShell's grammar cannot follow. Nothing of it is run: there is no PowerShell here."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    found: list[str] = []

    def walk(node: Any) -> None:
        if node.type == "ERROR" or node.is_missing:
            found.append(f"line {node.start_point[0] + 1}: {node.text[:60]!r}")
        for child in node.children:
            walk(child)

    walk(parser.parse(text.encode()).root_node)
    return found


@pytest.mark.parametrize("name", POWERSHELL)
def test_powershell_can_be_parsed(name: str) -> None:
    text = (SCRIPTS / name).read_text()
    assert mistakes(text) == []
    assert mistakes(text.replace("}", "", 1)), "the grammar sees a mistake"


@pytest.mark.parametrize("name", POWERSHELL)
def test_powershell_is_named_as_not_run(name: str) -> None:
    told = (SCRIPTS / "README.md").read_text()
    assert re.search(rf"`{name}`.*\n?.*never run", told), f"README.md does not say that {name} is never run"


def test_systemd_arms_it_at_every_boot(tmp_path: Path, shell: list[str]) -> None:
    install(shell, tmp_path, "systemd", LATENT_MAX_LIFETIME="3600")
    found = files(tmp_path)
    units = "etc/systemd/system/latent-lease-watch"
    assert set(found) == {WATCH, SETTINGS, f"{units}.service", f"{units}.timer"}
    assert found[WATCH] == (SCRIPTS / "lease-watch.sh").read_text()
    assert f"ExecStart=/bin/sh /{WATCH}\n" in found[f"{units}.service"]
    assert f"Environment=LATENT_CONF=/{SETTINGS}\n" in found[f"{units}.service"]
    assert "WantedBy=timers.target\n" in found[f"{units}.timer"]
    assert "OnUnitActiveSec=30\n" in found[f"{units}.timer"]
    assert read_settings(tmp_path / SETTINGS) == "3600 /run/latent"


def test_from_user_data_nothing_stays_on_the_disk(tmp_path: Path, shell: list[str]) -> None:
    """So an AMI that is made of the instance has none of it."""
    install(shell, tmp_path, "systemd", LATENT_WHERE="run")
    assert {name.split("/")[0] for name in files(tmp_path)} == {"run"}


def test_freebsd_runs_it_from_cron(tmp_path: Path, shell: list[str]) -> None:
    install(shell, tmp_path, "freebsd")
    found = files(tmp_path)
    settings = "usr/local/etc/latent/lease-watch.conf"
    assert set(found) == {WATCH, settings, "etc/cron.d/latent-lease-watch"}
    line = found["etc/cron.d/latent-lease-watch"]
    assert re.fullmatch(rf"\* \* \* \* \* root {ONCE} & sleep 30; {ONCE}\n", line), line
    assert read_settings(tmp_path / settings) == "43200 /var/run/latent"


def test_alpine_runs_it_from_roots_table_and_keeps_what_is_in_it(tmp_path: Path, shell: list[str]) -> None:
    table = tmp_path / "etc/crontabs/root"
    table.parent.mkdir(parents=True)
    table.write_text("*/15 * * * * run-parts /etc/periodic/15min\n")
    install(shell, tmp_path, "cron")
    once = table.read_text()
    assert once.startswith("*/15 * * * * run-parts /etc/periodic/15min\n")
    assert re.search(rf"^\* \* \* \* \* {ONCE} & sleep 30; {ONCE}$", once, re.MULTILINE), once
    install(shell, tmp_path, "cron")
    assert table.read_text() == once, "a second time changes nothing"


def read_settings(path: Path) -> str:
    """What a shell makes of them, of which the environment may change one."""
    script = f'. "{path}"; echo "$LATENT_MAX_LIFETIME $LATENT_STATE"'
    changed = subprocess.run(
        ["sh", "-c", script], env={"LATENT_STATE": "/other"}, capture_output=True, text=True, check=True
    )
    assert changed.stdout.split()[1] == "/other"
    done = subprocess.run(["sh", "-c", script], env={}, capture_output=True, text=True, check=True)
    return done.stdout.strip()
