"""The boot agent's log: one JSON object a line, for tests and people to follow."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

LOG_NAME = "boot_agent.jsonl"

# Said even without --verbose.
WARNINGS = {"bad-config", "lease-watch-failed", "no-identity", "unreachable"}

# Called with the name of an event and its details.
Report = Callable[..., None]


class EventLog:
    """Writes events, each at once and whole."""

    def __init__(self, state_dir: Path, verbose: bool) -> None:
        # Open as long as the agent lives.
        self._file = open(state_dir / LOG_NAME, "a", encoding="utf-8")  # noqa: SIM115
        self._verbose = verbose

    def report(self, event: str, instance: str | None = None, **details: Any) -> None:
        """Writes one event; `details` are values of JSON."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        entry = {"time": now, "instance": instance, "event": event, **details}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        if self._verbose or event in WARNINGS:
            words = [now[11:23], instance or "agent", event]
            words += [f"{name}={value}" for name, value in details.items()]
            print(" ".join(words), file=sys.stderr, flush=True)
