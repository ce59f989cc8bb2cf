"""A service manager in a few lines: hands over listening sockets, hears how it goes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import IO, Any, Optional

from controller_link import ask

# What was handed over begins with this descriptor.
FIRST = 3
LIMIT_S = 30.0

LATENT_TOML = """\
[fleet]
name = "unit"
controller = "unit-test"

[link]
socket = "{socket}"

[owner.alice]
account = "123456789012"
credentials = {{ environment = true }}
endpoint = "http://127.0.0.1:9"

[worker.w1]
image = "debian"
"""

IMAGE = """\
owner = "alice"
region = "us-west-2"
ami = "ami-0123456789abcdef0"
instance_types = ["m5.large"]
"""

# The process id that counts is that of the program itself, which only its own shell knows.
EXEC = 'export LISTEN_PID="${FOR_PID:-$$}"; exec "$@"'


class Manager:
    """A folder with a configuration, sockets that outlive the service, and one service."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self.path = folder / "run.sock"
        (folder / "amis").mkdir()
        (folder / "latent.toml").write_text(LATENT_TOML.format(socket=self.path))
        (folder / "amis" / "debian.toml").write_text(IMAGE)
        self._news = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._news.bind(str(folder / "notify"))
        self._news.settimeout(LIMIT_S)
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._log: Optional[IO[bytes]] = None

    def listen(self) -> socket.socket:
        """The socket of the unit."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(16)
        return listener

    def start(self, *handed_over: socket.socket, for_pid: str = "") -> None:
        """Starts the service with these sockets."""
        count = len(handed_over)
        # Copies that stand clear of the numbers they get in the child.
        copies = [os.dup(one.fileno()) for one in handed_over]
        spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(FIRST + count)]

        def place() -> None:
            for number, copy in enumerate(copies):
                os.dup2(copy, 100 + number)
            for number in range(count):
                os.dup2(100 + number, FIRST + number, inheritable=True)

        environment = {
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NOTIFY_SOCKET": str(self._folder / "notify"),
            "FOR_PID": for_pid,
            **({"LISTEN_FDS": str(count)} if count else {}),
        }
        self._log = (self._folder / "log").open("ab")
        command = [self._binary, "serve", "--config", str(self._folder / "latent.toml")]
        self._process = subprocess.Popen(
            ["sh", "-c", EXEC, "sh", *command],
            env=environment,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            pass_fds=range(FIRST, FIRST + count),
            preexec_fn=place,
        )
        for descriptor in copies + spare:
            os.close(descriptor)

    def hears(self) -> str:
        """What the service says next."""
        return self._news.recv(4096).decode().strip()

    def ask(self, url: str) -> Any:
        """One question of a client."""
        return ask(str(self.path), "GET", url)

    def stop(self) -> int:
        """Ends the service in good order; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Waits for the end of the service; its exit code."""
        assert self._process is not None
        return self._process.wait(LIMIT_S)

    @property
    def log(self) -> str:
        """What the service has logged."""
        return (self._folder / "log").read_text(errors="replace")

    def close(self) -> None:
        """Ends whatever is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(LIMIT_S)
        if self._log is not None:
            self._log.close()
        self._news.close()
