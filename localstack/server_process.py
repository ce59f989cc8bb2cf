"""A server of an emulated EC2 as a child process, and as a program of its own."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from leash import Leash
from lifetime import Lifetime

START_SECONDS_MAX = 60.0
ANSWER_SECONDS_MAX = 30.0


class ServerProcess:
    """One server; it ends with this process at the latest. What differs is in the subclasses."""

    name = ""
    # What it writes when it listens; the first group is its endpoint.
    ready_line = re.compile(rb"")
    # What answers once it is really there.
    ready_path = "/"
    # What empties every account; asked by POST.
    reset_path = "/"

    def __init__(self, log_path: str | os.PathLike[str], port: int = 0) -> None:
        """`port` 0 takes a free one."""
        self.endpoint = ""
        self._log = Path(log_path)
        self._port = port
        self._leash: Leash | None = None
        # A proxy from the environment must not come between us and loopback.
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def command(self) -> list[str]:
        """The command line; it says on standard output or error when it listens."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str] | None:
        """Its environment; ours if None."""
        return None

    def start(self) -> str:
        """Starts the server and returns its endpoint once it answers."""
        log_start = self._log.stat().st_size if self._log.exists() else 0
        self._leash = Leash(self.command(), self._log, self.environment())
        try:
            self.endpoint = self._endpoint_in_log(log_start)
            self._http.open(self.endpoint + self.ready_path, timeout=ANSWER_SECONDS_MAX).close()
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
        """Empties every account, also of what has ended."""
        request = urllib.request.Request(self.endpoint + self.reset_path, method="POST")
        self._http.open(request, timeout=ANSWER_SECONDS_MAX).close()

    def renew(self) -> None:
        """As `reset`, and no id of the time before comes again."""
        self.reset()

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def __enter__(self) -> ServerProcess:
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
        # The server binds port 0 and writes what it got: no one can take the port in between, and
        # no other server that happens to answer can be mistaken for ours.
        deadline = time.monotonic() + START_SECONDS_MAX
        while self.running() and time.monotonic() < deadline:
            with open(self._log, "rb") as log:
                log.seek(log_start)
                found = self.ready_line.search(log.read())
            if found:
                return found.group(1).decode()
            time.sleep(0.05)
        tail = self.log()[-1000:].strip()
        raise RuntimeError(f"{self.name} did not start, see {self._log}: {tail}")


def server_arguments(description: str, log: str) -> argparse.ArgumentParser:
    """The options that every such program has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--log", type=Path, default=Path(log), help=f"default: {log}")
    parser.add_argument("--parent-pid", type=int, help="end when this process does")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    return parser


def serve(server: ServerProcess, arguments: argparse.Namespace) -> int:
    """Runs the server until it is told to end; prints its endpoint."""
    lifetime = Lifetime(arguments.parent_pid, arguments.until_eof)
    with server:
        print(server.endpoint, flush=True)
        while not lifetime.wait(0.25):
            if not server.running():
                print(f"{server.name} has ended, see {arguments.log}", file=sys.stderr)
                return 1
    return 0
