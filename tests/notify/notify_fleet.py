"""A folder with a fleet's configuration, and `latent notify` on it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

BASE = """\
[fleet]
name = "f"
controller = "c"

[owner.alice]
account = "123456789012"
credentials = { profile = "none" }
"""

# What the program exits with.
DONE, CONFIGURATION, REFUSED = 0, 3, 5


@dataclass
class Said:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        """Both streams."""
        return self.out + self.err


class NotifyFleet:
    """Writes latent.toml, and runs the program beside it."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self.folder = folder
        self.write("")

    def write(self, more: str) -> None:
        """The configuration: one owner, and more; what stands before the first table belongs to the owner."""
        (self.folder / "latent.toml").write_text(BASE + more)

    def secret(self, name: str, text: str) -> str:
        """A file with a secret; its reference."""
        (self.folder / name).write_text(text + "\n")
        return f'{{ file = "{name}" }}'

    def run(self, *arguments: str, limit: float = 100) -> Said:
        """A command."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LATENT_")}
        # Nothing here may leave the machine by way of somebody's proxy.
        environment["NO_PROXY"] = "localhost,127.0.0.1"
        ended = subprocess.run(
            [self._binary, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
        )
        return Said(ended.returncode, ended.stdout, ended.stderr)

    def test(self, *arguments: str) -> Said:
        """A test message to the owner."""
        return self.run("notify", "test", *(arguments or ("--owner", "alice")))
