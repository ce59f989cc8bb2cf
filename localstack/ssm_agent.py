"""What stands for amazon-ssm-agent in a guest of the simulated EC2: takes commands, runs them, answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from agent_events import Report
from leash import Leash
from sim_control import SimControl

VERSION = "3.3.1611.0"
# A reboot of the guest, in its own seconds.
REBOOT_SECONDS = 1.0
# How a shell says that there is no such program.
NOT_FOUND = 127


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    exit_code: int
    output: str
    error_output: str


class Run(Protocol):
    """A script that runs."""

    def poll(self) -> Optional[Ended]:
        """What it came to; None while it runs. May be asked again."""

    def end(self) -> None:
        """Ends it, with all it started. Returns at once."""

    def wait(self) -> None:
        """After `end`: waits until nothing of it is left."""


# Runs a text, and returns at once.
Start = Callable[[str], Run]


class ShellRun:
    """A script that the machine's own shell runs, in a folder that it may fill."""

    def __init__(
        self, text: str, folder: Path, shell: str = "sh", env: Optional[Mapping[str, str]] = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        script = folder / "_script.sh"
        script.write_text(text, encoding="utf-8")
        self._output, self._errors = folder / "stdout", folder / "stderr"
        for written in (self._output, self._errors):
            written.write_bytes(b"")
        redirected = 'cd "$1" && exec "$2" ./_script.sh 2>> "$3"'
        command = ["sh", "-c", redirected, "ssm", str(folder), shell, str(self._errors.resolve())]
        self._leash = Leash(command, self._output, env)

    def poll(self) -> Optional[Ended]:
        """See `Run`."""
        status = self._leash.poll()
        if status is None:
            return None
        return Ended(status, *(path.read_text("utf-8", "replace") for path in (self._output, self._errors)))

    def end(self) -> None:
        """See `Run`."""
        self._leash.end()

    def wait(self) -> None:
        """See `Run`."""
        self._leash.wait()


class SsmAgent:
    """The agent of one life of an instance. It does nothing but in `tick`. Times are a monotonic clock's.

    An exit code of 194 reboots the guest: `reboot` is called, and a while later the script runs again.
    """

    def __init__(
        self, control: SimControl, instance_id: str, start: Start, reboot: Callable[[], None], report: Report
    ) -> None:
        self._control = control
        self._id = instance_id
        self._start = start
        self._reboot = reboot
        self._report = report
        self._up_at = 0.0
        self._online = False
        self._command: dict[str, Any] = {}
        self._run: Optional[Run] = None
        self._until = 0.0

    @property
    def idle(self) -> bool:
        """Whether it runs nothing of which it has not told the end."""
        return self._run is None

    def tick(self, now: float) -> None:
        """Takes its next step. May raise OSError; the next tick tries again."""
        if self._run is not None:
            self._look(self._run, now)
        elif now >= self._up_at and self._is_online():
            self._take(now)

    def end(self) -> None:
        """Its guest ends: ends what it runs. Returns at once."""
        self._up_at = float("inf")
        if self._run is not None:
            self._run.end()

    def wait(self) -> None:
        """After `end`: waits until nothing is left that runs."""
        if self._run is not None:
            self._run.wait()
            self._run = None

    def _is_online(self) -> bool:
        if not self._online:
            # One that was lost in its reboot is not heard.
            self._online = self._control.agent_pings(self._id, VERSION, "Linux")
            self._report("ssm-agent-online" if self._online else "ssm-agent-unheard")
            # An agent that nobody hears does not ask all the time.
            self._up_at = 0.0 if self._online else float("inf")
        return self._online

    def _take(self, now: float) -> None:
        command = self._control.agent_takes(self._id)
        if command is None:
            return
        self._command = command
        self._report("ssm-run", command=command["id"], run=command["run"])
        if command["windows"]:
            self._answer(Ended(NOT_FOUND, "", "there is no PowerShell here\n"), now)
            return
        self._until = now + command["timeout_s"]
        self._run = self._start(command["text"])

    def _look(self, run: Run, now: float) -> None:
        ended = run.poll()
        if ended is not None:
            self._answer(ended, now)
            self._run = None
        elif now >= self._until:
            # SSM says by itself that it took too long.
            run.end()

    def _answer(self, ended: Ended, now: float) -> None:
        word = self._control.agent_answers(
            self._id, self._command["id"], ended.exit_code, ended.output, ended.error_output
        )
        self._report("ssm-answer", command=self._command["id"], exit_code=ended.exit_code, answer=word)
        if word == "reboots":
            self._reboot()
            self._online, self._up_at = False, now + REBOOT_SECONDS
