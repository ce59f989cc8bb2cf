"""Looks at the model of EC2 all the time, through its side entrance."""

from __future__ import annotations

import threading
import time
from typing import Any, Optional

from emulated_ec2 import WORKER_TAG
from judge import Happening, Judge
from sim_control import SimControl

LOOK_S = 0.01
FAILURES_MAX = 100


class Watcher(threading.Thread):
    """Feeds the judge, and knows which instance of each worker runs."""

    def __init__(self, control: SimControl) -> None:
        super().__init__(name="watcher", daemon=True)
        self.judge = Judge()
        # What each look found new, for whoever waits for something.
        self.news = threading.Condition()
        self.seen: list[Happening] = []
        self.trouble: Optional[str] = None
        self._control = control
        self._last = 0
        self._running: dict[str, str] = {}
        self._ends = threading.Event()

    def running(self, worker: str) -> Optional[str]:
        """The instance of a worker that runs now."""
        return self._running.get(worker)

    def run(self) -> None:
        failures = 0
        while not self._ends.wait(LOOK_S) and failures < FAILURES_MAX:
            try:
                self.look()
                failures = 0
            except OSError as error:
                failures += 1
                self.trouble = f"the model of EC2 does not answer: {error}" if failures == FAILURES_MAX else None

    def look(self) -> None:
        """One look."""
        page = self._control.trace(self._last)
        fresh = [Happening.of(raw) for raw in page["events"]]
        if not fresh:
            return
        # After the trace: whatever that tells of is among them.
        every = self._control.instances()
        for raw in every:
            if WORKER_TAG in raw["tags"]:
                self.judge.launched(raw["id"], raw["tags"][WORKER_TAG])
        for one in fresh:
            self.judge.hear(one)
        self._last = fresh[-1].number
        self._running = self._by_worker(every)
        with self.news:
            self.seen += fresh
            self.news.notify_all()

    def _by_worker(self, every: list[dict[str, Any]]) -> dict[str, str]:
        lives = self.judge.lives
        runs = (raw["id"] for raw in every if raw["state"] == "running" and raw["id"] in lives)
        return {lives[instance].worker: instance for instance in runs}

    def wait_for(self, what: str, seconds: float) -> bool:
        """Waits for the next such line of the trace; whether it came."""
        end = time.monotonic() + seconds
        with self.news:
            known = len(self.seen)
            while not any(one.what == what for one in self.seen[known:]):
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self.news.wait(left)
        return True

    def close(self) -> None:
        """Ends it, after a last look."""
        self._ends.set()
        self.join()
        self.look()
