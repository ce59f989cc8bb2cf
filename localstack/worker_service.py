"""One worker process and its restarts: what systemd does on a real guest."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from agent_events import Report
from leash import Leash

RESTART_SECONDS = 1.0

# Found by import and not as a script: it need not be on the PATH nor beside the interpreter.
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]

READY = b"Connected to buildmaster; worker is ready"


class WorkerService:
    """Restart=always, RestartSec=1. It does nothing but in `tick`."""

    def __init__(self, base: Path, log: Path, start_at: float, restart: bool, report: Report):
        # When the master first accepted the worker; None before.
        self.connected_at: float | None = None
        self._base = base
        self._log = log
        self._start_at = start_at
        self._restart = restart
        self._report = report
        self._leash: Leash | None = None
        self._log_read = 0
        self._awaiting_pid = False
        self._awaiting_ready = False

    def tick(self, now: float) -> None:
        """Starts the process if it is due; looks whether it connected or ended."""
        if self._leash is None:
            if now >= self._start_at:
                self._start()
            return
        # Asked first: whatever the process did before it ended is then still seen below.
        status = self._leash.poll()
        self._look_for_pid(self._leash)
        self._look_for_ready(now)
        if status is not None:
            self._leash = None
            self._start_at = now + RESTART_SECONDS if self._restart else math.inf
            self._report("worker-exited", status=status)

    def crash(self) -> None:
        """Kills the process, if there is one."""
        if self._leash is not None:
            self._leash.kill()

    def end(self) -> None:
        """Ends the process, without a restart. `ended` tells when it has happened."""
        self._restart = False
        self._start_at = math.inf
        if self._leash is not None:
            self._leash.end()

    def wait(self) -> None:
        """After `end`: waits until no process is left."""
        if self._leash is not None:
            self._leash.wait()

    @property
    def ended(self) -> bool:
        """Whether no process runs and none will."""
        return self._leash is None and self._start_at == math.inf

    def _start(self) -> None:
        tac = str(self._base / "buildbot.tac")
        self._log_read = self._log.stat().st_size if self._log.exists() else 0
        self._awaiting_pid = self._awaiting_ready = True
        self._leash = Leash([*TWISTD, "--nodaemon", "--pidfile=", "--no_save", f"--python={tac}"], self._log)

    def _look_for_pid(self, leash: Leash) -> None:
        if self._awaiting_pid and leash.pid is not None:
            self._awaiting_pid = False
            self._report("worker-started", pid=leash.pid)

    def _look_for_ready(self, now: float) -> None:
        if not self._awaiting_ready:
            return
        with open(self._log, "rb") as log:
            log.seek(self._log_read)
            text = log.read()
        # The last line may be half written: it is read again.
        whole = text[: text.rfind(b"\n") + 1]
        self._log_read += len(whole)
        if READY in whole:
            self._awaiting_ready = False
            if self.connected_at is None:
                self.connected_at = now
            self._report("worker-connected")
