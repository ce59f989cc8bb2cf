"""The boot agent as a child process, for tests and demos."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from agent_events import LOG_NAME
from leash import Leash

SCRIPT = Path(__file__).resolve().with_name("boot_agent.py")


class BootAgent:
    """One agent process. It and every guest's processes end with this process at the latest."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is the content of the configuration file, which is written to its state_dir."""
        self.state_dir = Path(config["state_dir"]).resolve()
        self._config = {**config, "state_dir": str(self.state_dir)}
        self.config_path = self.state_dir / "boot_agent.json"
        self._log = self.state_dir / LOG_NAME
        self._log_start = 0
        self._leash: Leash | None = None

    def start(self, timeout: float = 20.0) -> BootAgent:
        """Starts it, and returns once it watches."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.configure()
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        self._leash = Leash(
            [sys.executable, str(SCRIPT), "--config", str(self.config_path), "--verbose"],
            self.state_dir / "boot_agent.log",
        )
        try:
            self.wait_for("agent-started", timeout=timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends it and every guest's processes; may be called again."""
        if self._leash is not None:
            self._leash.end()
            self._leash.wait()
            self._leash = None

    def configure(self, **changes: Any) -> None:
        """Changes the configuration. Instances that boot after the call live by the change."""
        self._config.update(changes)
        # Replaced as a whole, so that the agent never reads half a file.
        draft = self.config_path.with_suffix(".new")
        draft.write_text(json.dumps(self._config, indent=2))
        os.replace(draft, self.config_path)

    def events(self, event: str = "", instance: str = "") -> list[dict[str, Any]]:
        """The events since the start, the oldest first; of one kind or instance if given."""
        if not self._log.exists():
            return []
        with open(self._log, "rb") as log:
            log.seek(self._log_start)
            # The last line may be half written.
            lines = log.read().split(b"\n")[:-1]
        entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [
            entry for entry in entries if event in ("", entry["event"]) and instance in ("", entry["instance"])
        ]

    def wait_for(self, event: str, instance: str = "", nth: int = 1, timeout: float = 20.0) -> dict[str, Any]:
        """The nth such event, which may be in the past; raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while True:
            # Looked at before the events: what it wrote before its end still counts.
            ended = self._leash is None or self._leash.poll() is not None
            found = self.events(event, instance)
            if len(found) >= nth:
                return found[nth - 1]
            if ended or time.monotonic() > deadline:
                why = "the agent has ended" if ended else f"not within {timeout} s"
                raise TimeoutError(f"no {event} {nth} of {instance or 'any'}: {why}")
            time.sleep(0.05)

    def __enter__(self) -> BootAgent:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
