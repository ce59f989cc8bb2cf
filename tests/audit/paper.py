"""A fleet on paper: its configuration and a ledger that nobody's controller wrote, for `latent audit` to read."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any, Optional

SECONDS_MAX = 60.0

LATENT_TOML = """\
[fleet]
name = "snakes"
controller = "snakes-main"

[owner.alice]
account = "111111111111"
credentials = { environment = true }

[owner.bob]
account = "222222222222"
credentials = { environment = true }

[worker.w1]
image = "debian"

[worker.hidden]
image = "bobs"
"""

IMAGE = """\
owner = "{owner}"
region = "us-west-2"
ami = "ami-0123456789abcdef0"
instance_types = ["m7i.large"]
"""

# The first format of the ledger: this program and all later ones read it.
TABLE = """
CREATE TABLE entry (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, version INTEGER NOT NULL, worker TEXT, body TEXT NOT NULL
) STRICT;
PRAGMA user_version = 1;
"""


def launch() -> dict[str, Any]:
    """What a launch said."""
    return {
        "region": "us-west-2",
        "ami": "ami-0123456789abcdef0",
        "offering": {"instance_type": "m7i.large", "place": "anywhere", "market": "on-demand"},
        "security_groups": [],
        "key_pair": None,
        "instance_profile": None,
        "block_devices": [{"device": "/dev/sda1", "size_gib": 30, "volume_type": "gp3", "encrypted": None}],
        "shutdown": "terminate",
        "tags": {},
        "user_data_digest": None,
    }


class Paper:
    """A folder with a configuration of two owners and a ledger in which each had one instance."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        (folder / "amis").mkdir()
        (folder / "rebakes").mkdir()
        (folder / "latent.toml").write_text(LATENT_TOML)
        (folder / "amis" / "debian.toml").write_text(IMAGE.format(owner="alice"))
        (folder / "amis" / "bobs.toml").write_text(IMAGE.format(owner="bob"))
        self.ledger = folder / "paper.db"
        self._entries: list[dict[str, Any]] = []
        self._say("2026-03-01T00:00:00Z", "controller_started", version="1")
        self._life("alice", "w1", "i-0a11ce", "debian", 10)
        self._life("bob", "hidden", "i-0b0b", "bobs", 20)
        self.write()

    def _say(self, at: str, kind: str, **fields: Any) -> None:
        seq = len(self._entries) + 1
        self._entries.append({"seq": seq, "at": at, "actor": "controller", "body": {kind: fields}})

    def _life(self, owner: str, worker: str, instance: str, image: str, minute: int) -> None:
        def at(minutes: int) -> str:
            return f"2026-03-01T{10 + (minute + minutes) // 60:02}:{(minute + minutes) % 60:02}:00Z"

        cell = {"owner": owner, "region": "us-west-2"}
        attempt = {"id": f"{minute}-1", "cell": cell, "image": image, "created": at(0), "spec": launch()}
        self._say(at(0), "requested", worker=worker, request=f"r{minute}")
        self._say(at(0), "launch_intended", worker=worker, attempt=attempt)
        self._say(at(0), "launched", worker=worker, instance=instance)
        self._say(at(1), "running", worker=worker, instance=instance)
        self._say(at(2), "attached", worker=worker)
        self._say(at(3), "build_started", worker=worker, build="b/1")
        self._say(at(33), "build_finished", worker=worker)
        end = {"cell": cell, "worker": worker, "cause": "released"}
        self._say(at(43), "terminate_intended", instance=instance, **end)
        self._say(at(43), "terminate_accepted", instance=instance)
        self._say(at(44), "departed", instance=instance)

    def write(self) -> None:
        """Writes the ledger anew."""
        self.ledger.unlink(missing_ok=True)
        with sqlite3.connect(self.ledger) as book:
            book.executescript(TABLE)
            rows = [(one["seq"], one["at"], 4, None, json.dumps(one)) for one in self._entries]
            book.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?)", rows)
        book.close()

    def audit(self, *words: str, exits: Optional[int] = None) -> subprocess.CompletedProcess[str]:
        """Runs the command without an account, from this ledger."""
        usual = ["--offline"] if "--verify" not in words and "--schema" not in words else []
        ledger = [] if "--schema" in words else ["--ledger", str(self.ledger)]
        done = subprocess.run(
            [self.binary, "audit", *usual, *ledger, *words],
            cwd=self.folder,
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert exits is None or done.returncode == exits, (done.returncode, done.stdout, done.stderr)
        return done

    def report(self, owner: str = "alice") -> dict[str, Any]:
        """The report as JSON."""
        done = self.audit("--owner", owner, "--since", "2026-03-01", "--format", "json", exits=0)
        return dict(json.loads(done.stdout))
