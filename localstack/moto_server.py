#!/usr/bin/env python3
"""Moto's EC2 and STS as a server on a free loopback port.

As a program it prints the endpoint and runs until it is told to end; as a module it offers
`MotoServer`. Its validation switches are on: without them it launches unknown images and types.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType

from leash import Leash
from lifetime import Lifetime

START_SECONDS_MAX = 60.0
ANSWER_SECONDS_MAX = 30.0

SWITCHES = {
    "MOTO_ENABLE_AMI_VALIDATION": "1",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "1",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "1",
}


class MotoServer:
    """One server process; it ends with this process at the latest."""

    def __init__(self, log_path: str | os.PathLike[str], port: int = 0) -> None:
        """`port` 0 takes a free one."""
        self.endpoint = ""
        self._log = Path(log_path)
        self._port = port
        self._leash: Leash | None = None
        # A proxy from the environment must not come between us and loopback.
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def start(self) -> str:
        """Starts the server and returns its endpoint once it answers."""
        log_start = self._log.stat().st_size if self._log.exists() else 0
        self._leash = Leash(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)],
            self._log,
            env={**os.environ, **SWITCHES},
        )
        try:
            self.endpoint = self._endpoint_in_log(log_start)
            self._http.open(f"{self.endpoint}/moto-api/", timeout=ANSWER_SECONDS_MAX).close()
        except BaseException:
            self.stop()
            raise
        return self.endpoint

    def running(self) -> bool:
        """Whether the process is there."""
        return self._leash is not None and self._leash.poll() is None

    def stop(self) -> None:
        """Ends the server; may be called again."""
        if self._leash is not None:
            self._leash.end()
            self._leash.wait()
            self._leash = None

    def reset(self) -> None:
        """Empties every account, also of the terminated instances that moto never forgets."""
        request = urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")
        self._http.open(request, timeout=ANSWER_SECONDS_MAX).close()

    def __enter__(self) -> MotoServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _endpoint_in_log(self, log_start: int) -> str:
        # The server binds port 0 and logs what it got: no one can take the port in between, and
        # no other server that happens to answer can be mistaken for ours.
        deadline = time.monotonic() + START_SECONDS_MAX
        while self.running() and time.monotonic() < deadline:
            with open(self._log, "rb") as log:
                log.seek(log_start)
                found = re.search(rb"Running on (http://127\.0\.0\.1:\d+)\s", log.read())
            if found:
                return found.group(1).decode()
            time.sleep(0.05)
        raise RuntimeError(f"moto's server did not start, see {self._log}")


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Runs moto's server; prints its endpoint.")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--log", type=Path, default=Path("moto.log"), help="default: moto.log")
    parser.add_argument("--parent-pid", type=int, help="end when this process does")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    arguments = parser.parse_args()
    lifetime = Lifetime(arguments.parent_pid, arguments.until_eof)
    with MotoServer(arguments.log, arguments.port) as server:
        print(server.endpoint, flush=True)
        while not lifetime.wait(0.25):
            if not server.running():
                print(f"moto's server has ended, see {arguments.log}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
