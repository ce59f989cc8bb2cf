"""Runs a command that ends, with all it started, when the process that asked for it ends.

The asking process holds one end of a pipe; the other end is the standard input of a small holder
process, which runs the command. The kernel closes the pipe even if the asking process dies by
SIGKILL, so end of file always arrives, and it means "end the command".

This file is both sides: `Leash` for the asking process, `main` for the holder.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

GRACE_SECONDS = 3.0
ORPHANS_SECONDS_MAX = 2.0
KILL = b"k"

# From linux/prctl.h.
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class Leash:
    """A running command. It must be ended, or this process must end, for it to end."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        """Starts the command with its output appended to `log`. Returns at once."""
        with open(log, "ab") as output:
            self._holder = subprocess.Popen(
                [sys.executable, "-I", "-S", os.path.abspath(__file__), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=env,
                # Ctrl-C in a terminal is for the asking process alone; it decides what ends.
                start_new_session=True,
            )
        self._pid: int | None = None

    @property
    def pid(self) -> int | None:
        """The command's process id; None until it has started, or if it never will."""
        status = self._holder.stdout
        # The holder writes its one line at once: where there is something, there is all of it.
        if status and not status.closed and select.select([status], [], [], 0)[0]:
            with status:
                line = status.readline()
            self._pid = int(line) if line else None
        return self._pid

    def poll(self) -> int | None:
        """The command's exit status, or None while it runs; 128 + n if signal n ended it."""
        return self._holder.poll()

    def end(self) -> None:
        """Asks the command to end, then forces it after `GRACE_SECONDS`. Returns at once."""
        self._let_go(b"")

    def kill(self) -> None:
        """Ends the command as a crash would. Returns at once."""
        self._let_go(KILL)

    def wait(self, seconds: float = GRACE_SECONDS + ORPHANS_SECONDS_MAX + 1) -> int:
        """Waits until the command has ended; a holder that is itself stuck is killed."""
        try:
            return self._holder.wait(seconds)
        except subprocess.TimeoutExpired:
            self._holder.kill()
            return self._holder.wait()

    def _let_go(self, last_word: bytes) -> None:
        assert self._holder.stdin
        if self._holder.stdin.closed:
            return
        try:
            self._holder.stdin.write(last_word)
            self._holder.stdin.close()
        except BrokenPipeError:
            pass  # The command has ended by itself.


def main(command: Sequence[str]) -> int:
    """The holder: runs the command until it ends or standard input does."""
    prctl = linux_prctl()
    # What the command leaves behind becomes our child, so that it can be found.
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        # For the case that this holder is killed: there is no one left to end the command then.
        preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    print(child.pid, flush=True)
    # The asking process reads no more than this line, and need not keep the pipe.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    threading.Thread(target=end_at_eof, args=(child,), daemon=True).start()
    status = child.wait()
    end_orphans()
    return status if status >= 0 else 128 - status


def end_at_eof(child: subprocess.Popen[bytes]) -> None:
    """Waits for the asking process to let go, then ends the command."""
    if os.read(sys.stdin.fileno(), 1) == KILL:
        child.kill()
        return
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def end_orphans() -> None:
    """Kills what the command left behind, for example the steps of an interrupted build."""
    deadline = time.monotonic() + ORPHANS_SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for pid in children():
            # One that became another user (sudo) is not ours to end.
            with contextlib.suppress(PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def children() -> list[int]:
    """The processes whose parent is this one. Empty where there is no /proc."""
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        # The thread that waited for the end of the pipe may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.extend(int(pid) for pid in task.read_text().split())
    return found


def end_with_parent() -> None:
    """Lets the kernel kill this process when the one that started it ends."""
    linux_prctl()(PR_SET_PDEATHSIG, signal.SIGKILL)


def linux_prctl() -> Callable[[int, int], object]:
    """The system call, or a function that does nothing where there is none."""
    if not sys.platform.startswith("linux"):
        return lambda option, value: None
    call: Callable[[int, int], object] = ctypes.CDLL(None).prctl
    return call


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
