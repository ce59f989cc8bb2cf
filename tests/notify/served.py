"""`latent serve` on a folder, as a test steers it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from controller_link import Unreachable, ask

LIMIT_S = 120.0


class Controller:
    """`latent serve` on a folder, killed and started as a test says."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        self._process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "localhost,127.0.0.1",
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "serve"], cwd=self._folder, env=environment, stderr=log, stdin=subprocess.DEVNULL
            )
        until("the controller answers", lambda: bool(self.ask("GET", "/v1/version")))

    def ask(self, method: str, url: str, body: Optional[dict[str, Any]] = None) -> Any:
        try:
            return ask(str(self._folder / "run.sock"), method, url, body)
        except Unreachable:
            return None

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)


def until(what: str, holds: Callable[[], bool]) -> None:
    """Waits until something holds, and no longer than the limit."""
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, f"not within {LIMIT_S} s: {what}"
        time.sleep(0.2)
