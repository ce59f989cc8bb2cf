"""How long a helper program runs: until a signal, its parent's end, or the end of its input."""

from __future__ import annotations

import os
import select
import signal
import sys


class Lifetime:
    """Takes SIGTERM and SIGINT over. Make one only, in the main thread."""

    def __init__(self, parent_pid: int | None = None, until_eof: bool = False) -> None:
        self._parent_pid = parent_pid
        # A parent that has ended but is not yet reaped by its own parent still answers to a
        # signal; for a direct child the change of its parent's id is the surer sign.
        self._is_child = parent_pid == os.getppid()
        # A signal must interrupt the wait, and a handler may touch no lock: hence a pipe.
        self._wake, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self._inputs = [self._wake] + ([sys.stdin.fileno()] if until_eof else [])
        self._over = False

    def wait(self, seconds: float) -> bool:
        """Waits, but no longer than the lifetime. True when it is over, from then on."""
        if not self._over:
            readable, _, _ = select.select(self._inputs, [], [], seconds)
            self._over = any(self._ends(source) for source in readable) or self._parent_gone()
        return self._over

    def _ends(self, source: int) -> bool:
        data = os.read(source, 4096)
        return source == self._wake or not data

    def _parent_gone(self) -> bool:
        if self._parent_pid is None:
            return False
        if self._is_child:
            return os.getppid() != self._parent_pid
        try:
            os.kill(self._parent_pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # It is there, but another user's.
        return False
