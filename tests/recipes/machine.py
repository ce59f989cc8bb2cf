"""A rebake in a sandbox, as the controller would see it: the real scripts, and the marks they leave."""

from __future__ import annotations

import re
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional
from urllib.parse import unquote

from sandbox import Sandbox

RECIPES = Path(__file__).resolve().parents[2] / "amis" / "recipes"
NONCE = "0123456789abcdef0123456789abcdef"
STATE = "var/lib/latent-rebake"
PATIENCE_S = 90.0
UNIT = "[Service]\nUser=me\nExecStart=/home/me/venv/bin/buildbot-worker start --nodaemon /home/me/worker\n"


def bare(script: str) -> str:
    """As `policy::rebake_script` sends it: without comments and indents."""
    lines = [line.lstrip() for line in script.splitlines()]
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("#"))


@dataclass(frozen=True)
class Mark:
    """One line of the guest's report."""

    seq: int
    word: str
    values: dict[str, str] = field(hash=False)

    def __getitem__(self, key: str) -> str:
        return self.values[key]


def marks_in(text: str) -> list[Mark]:
    """In order; a repeated one counts once, and must say the same."""
    found: dict[int, Mark] = {}
    for line in re.findall(rf"^latent-rebake {NONCE} (.*)$", text, re.MULTILINE):
        seq, word, *pairs = line.split(" ")
        mark = Mark(int(seq), word, {key: unquote(value) for key, value in (pair.split("=", 1) for pair in pairs)})
        assert found.setdefault(mark.seq, mark) == mark, f"two marks have the number {seq}"
    assert sorted(found) == list(range(1, len(found) + 1)), "the numbers have a gap"
    return [found[seq] for seq in sorted(found)]


class Rebake:
    """A builder with a worker's service, and the script in it."""

    def __init__(self, folder: Path, shell: list[str], family: str = "apt", **settings: object) -> None:
        """Settings are those of the script's head, without LATENT_ and in lower case."""
        systemd = bool(settings.pop("systemd", True))
        self.box = Sandbox(folder, family, systemd)
        self.shell = shell
        self.family = family
        self.channel = str(settings.get("channel", "user-data"))
        self.stdout = folder / "stdout"
        self.imds = str(settings.pop("imds", "http://127.0.0.1:9"))
        recipe = "dnf" if family == "yum" else family
        owners = settings.pop("script", None)
        known = {
            "nonce": NONCE,
            "recipe": recipe,
            "channel": "user-data",
            "rounds_max": 5,
            "deadline_s": 3600,
            "services": "",
            "worker_version": "",
            "clean": "",
            "setup": 0,
        }
        head = "".join(
            f"LATENT_{key.upper()}={shlex.quote(str(value))}\n" for key, value in {**known, **settings}.items()
        )
        parts = [f"{recipe}.sh", "worker-setup.sh", "rebake.sh"]
        text = head + "".join(bare((RECIPES / name).read_text()) for name in parts)
        self.script = self.box.put(f"{STATE}/rebake", text, 0o700)
        if owners is not None:
            self.box.put(f"{STATE}/script", str(owners))
        self._text = text
        if self.box.systemd:
            self.box.put("etc/systemd/system/my-worker.service", UNIT)
        self.box.put("home/me/worker/buildbot.tac", "from buildbot_worker.bot import Worker\nkeepalive = 600\n")
        self.box.put("home/me/worker/twistd.pid", "4711\n")
        self.box.put("home/me/worker/twistd.log.1", "old\n")
        self.box.put("home/me/worker/info/latent-instance-id", "i-0\n")
        self.box.put("home/me/worker/info/admin", "me\n")

    def boot(self) -> None:
        """What user data does at each boot: it writes the script, and starts it."""
        self.box.put(f"{STATE}/rebake", self._text, 0o700)
        if self.channel == "ssm":
            self._run_by_agent()
        else:
            self.box.boot(self.script, "start", shell=self.shell, imds=self.imds)

    def _run_by_agent(self) -> None:
        """SSM's agent runs the text, and reboots where it is told to."""
        wrapper = self.box.put(
            "shim/agent",
            f'"$LATENT_ROOT/shim/sh" {self.script} go >> {self.stdout} 2>&1\necho $? >> {self.stdout}.codes\n',
        )
        self.box.boot(wrapper, shell=self.shell, imds=self.imds)

    def run(self, boots_max: int = 12) -> list[Mark]:
        """Boots, and again for each reboot, until it is off; its marks."""
        for _ in range(boots_max):
            self.boot()
            if self.wait() == "off":
                self.box.power_cut()
                return self.marks
        raise AssertionError(f"not off after {boots_max} boots: {self.marks[-5:]}")

    def wait(self) -> str:
        """Until the system is told to do something with itself; for SSM's agent the exit code may say so."""
        return until(f"an order; said {self.said[-1500:]}", self._order)

    def _order(self) -> Optional[str]:
        codes = Path(f"{self.stdout}.codes")
        if self.channel == "ssm" and codes.exists() and self.box.order() == "":
            if codes.read_text().split()[-1] == "194" and not (self.box.shim / "agent-told").exists():
                codes.rename(f"{self.stdout}.last")
                with open(f"{self.stdout}.all", "a") as every:
                    every.write("194\n")
                return "reboot"
        return self.box.order() or None

    @property
    def said(self) -> str:
        """What the controller can read."""
        if self.channel == "ssm":
            return self.stdout.read_text() if self.stdout.exists() else ""
        return self.box.said

    @property
    def marks(self) -> list[Mark]:
        """All of them so far."""
        return marks_in(self.said)

    def told(self, word: str) -> list[Mark]:
        """Those of one kind."""
        return [mark for mark in self.marks if mark.word == word]

    @property
    def steps(self) -> list[str]:
        """The steps as they began."""
        return [mark["name"] for mark in self.told("step")]

    @property
    def notes(self) -> str:
        """All notes."""
        return "\n".join(mark["text"] for mark in self.told("note"))

    @property
    def left(self) -> list[str]:
        """What is still there of a rebake on the machine's disk."""
        names = [path.relative_to(self.box.root) for path in self.box.root.rglob("*latent*rebake*")]
        return sorted(str(name) for name in names if name.parts[0] not in ("run", "shim"))


def until(what: str, condition: Callable[[], Optional[str]], patience: float = PATIENCE_S) -> str:
    """Waits for it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {patience} s: {what}")
