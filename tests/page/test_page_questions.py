"""The one-liners of docs/ADMINS.md, each run as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from browser import missing
from looked import Fleet

ADMINS = Path(__file__).resolve().parents[2] / "docs" / "ADMINS.md"
SECTION = re.search(r"^## Questions of scripts\n.*?```sh\n(.*?)```", ADMINS.read_text(), re.M | re.S)
assert SECTION is not None
LINES = [line for line in SECTION[1].splitlines() if not line.startswith("#")]


def said(fleet: Fleet, line: str) -> str:
    """What a line prints where `latent` is the program and the fleet's socket is set."""
    path = f"{Path(fleet.binary).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LATENT_SOCKET": str(fleet.socket)}
    command = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "line", LINES, ids=[line.split("|")[0].strip() + f" {at}" for at, line in enumerate(LINES)]
)
def test_each_one_answers(fleet: Fleet, line: str) -> None:
    if shutil.which("jq") is None:
        missing("jq", "install the package jq")
    answer = said(fleet, line)
    assert answer.strip() not in ("", "null"), line


def test_there_are_some() -> None:
    assert len(LINES) >= 8
    assert all(line.startswith("latent ") and "| jq " in line for line in LINES)


def test_the_command_line_the_socket_and_the_page_say_the_same(fleet: Fleet) -> None:
    with urllib.request.urlopen(f"{fleet.address}/v1/status", timeout=20) as answer:
        page = json.load(answer)
    there = json.loads(said(fleet, "latent status --json"))
    assert [worker["worker"] for worker in page["workers"]] == [worker["worker"] for worker in there["workers"]]
    assert page.keys() == there.keys()
    day = json.loads(said(fleet, "latent status --day --json"))
    assert all(sum(line["seconds"].values()) == 86_400 for line in day["workers"])
    assert "#" in said(fleet, "latent status --day")


def test_what_the_page_links_to_as_data_is_there(fleet: Fleet) -> None:
    with urllib.request.urlopen(fleet.address, timeout=20) as answer:
        links = re.findall(r'href="(/v1/[^"]*|/metrics)"', answer.read().decode())
    assert len(links) >= 5
    for link in links:
        with urllib.request.urlopen(fleet.address + link, timeout=20) as answer:
            assert answer.status == 200, link
