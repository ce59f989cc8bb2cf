"""The ten minutes of ADMINS.md, followed to the letter on the model of EC2."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from agent_process import BootAgent
from emulated_ec2 import emulated_ec2
from emulator import make_emulator
from master_process import MasterProcess, wait_for
from seed import seed
from sim_server import Weather
from snippets import ROOT, Page, pages
from stack import COSTS, REGION

# Buildbot's result code.
SUCCESS = 0
# The check-up ends so when something is unknown: what can be tried on an instance alone, and there is none.
UNKNOWN = 10
BUILD_S = 60.0


class Reader:
    """Somebody who has nothing but the page, a model of EC2 in the place of the real one, and no patience."""

    def __init__(self, binary: str, folder: Path, page: Page) -> None:
        self.binary = binary
        self.page = page
        self.folder = folder / "master"
        # A short path: a Unix socket's has 103 bytes at most.
        self.emulator = make_emulator("sim", folder, binary, Weather(speed=20))
        self.endpoint = self.emulator.start()
        self.seeded = seed(self.endpoint, REGION, ["stock"])
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "HOME": str(folder),
            "AWS_EC2_METADATA_DISABLED": "true",
            "PATH": f"{Path(binary).parent}:{os.environ['PATH']}",
        }
        self.environment.pop("LATENT_BIN", None)
        credentials = folder / ".aws" / "credentials"
        credentials.parent.mkdir()
        credentials.write_text("[default]\naws_access_key_id = test\naws_secret_access_key = test\n")
        self.master = MasterProcess(self.folder, self.environment)
        self.agent: Optional[BootAgent] = None

    def write(self) -> None:
        """Writes the page's files with the values of one's own, as the page asks for."""
        self.page.write(self.folder)
        address = f"127.0.0.1:{self.master.pb_port}"
        self.change("latent.toml", "buildbot.example.org:9989", address)
        self.change("latent.toml", "123456789012", self.seeded["account"])
        # The model in the place of EC2, and no two minutes of waiting.
        self.change("latent.toml", "[owner.me]", f'[owner.me]\nendpoint = "{self.endpoint}"')
        self.change("latent.toml", '"2m"', '"3s"')
        self.change("amis/first.toml", "ami-0123456789abcdef0", self.seeded["amis"]["stock"])
        self.change("master.cfg", "9989", '"tcp:@PB@:interface=127.0.0.1"')
        self.change("master.cfg", "8010", '"tcp:@WWW@:interface=127.0.0.1"')
        self.master.write((self.folder / "master.cfg").read_text())
        self.agent = BootAgent(
            {
                "endpoint": self.endpoint,
                "region": REGION,
                "state_dir": str(self.folder / "guests"),
                "images": {self.seeded["amis"]["stock"]: {"identity": "injected"}},
            }
        ).start()

    def change(self, name: str, old: str, new: str) -> None:
        """Changes a value that the page has in exactly one place."""
        path = self.folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name} has {old} {text.count(old)} times"
        path.write_text(text.replace(old, new))

    def run(self, line: str, *codes: int) -> str:
        """Runs a command of the page; what it printed."""
        assert line in self.page.commands, f"the page does not say {line!r}"
        done = subprocess.run(
            line, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode in (codes or (0,)), f"{line}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def build(self) -> Any:
        """Forces a build and waits for its result."""
        request = self.master.control("forceschedulers/force", "force", builderNames=["first"])[0]

        def done() -> Any:
            found = self.master.rest(f"buildsets/{request}")["buildsets"][0]
            return found if found["complete"] else None

        return wait_for("the build", done, BUILD_S)["results"]

    def close(self) -> None:
        """Ends everything."""
        self.master.close()
        for pid in controllers(self.folder):
            os.kill(pid, 9)
        if self.agent is not None:
            self.agent.stop()
        self.emulator.stop()


def controllers(folder: Path) -> list[int]:
    """The controllers of this folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if "serve" in words and str(folder / "latent.toml") in words:
            found.append(int(pid))
    return found


@pytest.fixture
def reader(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    ((_, page),) = pages((ROOT / "docs" / "ADMINS.md").read_text(), "From nothing")
    reader = Reader(binary, tmp_path_factory.mktemp("ten"), page)
    try:
        yield reader
    finally:
        reader.close()


def test_whoever_follows_the_page_has_a_working_worker_and_nothing_left(reader: Reader) -> None:
    reader.write()
    reader.run("umask 077; mkdir -p secrets && openssl rand -hex 16 > secrets/first")
    assert len((reader.folder / "secrets" / "first").read_text()) == 33
    reader.run("latent check")
    assert "buildbot checkconfig" in reader.page.commands
    checked = reader.master.buildbot("checkconfig", str(reader.folder))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    reader.master.start()
    wait_for("the controller", lambda: controllers(reader.folder))
    assert " 0 problem" in reader.run("latent doctor", UNKNOWN)
    assert reader.build() == SUCCESS
    assert "first" in reader.run("latent explain first")
    ec2 = emulated_ec2(reader.endpoint, REGION)
    wait_for("the instance to go", lambda: not ec2.instances(COSTS), BUILD_S)
    assert len(ec2.instances()) == 1
    reader.run("latent sweep --owner me")
