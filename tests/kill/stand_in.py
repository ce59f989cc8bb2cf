"""A CI master in a few lines: it says and hears what the Buildbot plugin does, and its builds are naps."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, Optional

from controller_link import Refused, Unreachable, ask
from judge import LostBuild

MASTER = "stand-in"
REPORT_S = 0.5
LOOK_S = 0.03
# From `running` to a worker that knocks; how long a build lasts; how long a worker is idle; in seconds.
BOOT_S, BUILD_S, IDLE_S, PAUSE_S = (0.1, 0.6), (0.3, 2.5), (0.0, 0.8), (0.0, 1.5)
BUILDS_MAX = 3
# The plugin begins nothing while its last report is half as old as the controller's patience.
FRESH_S = 10.0

USABLE = ("launching", "registering", "ready", "busy")
ENDED = ("gone", "terminating", "stopped")

# The running instance of a worker, if there is one.
Guest = Callable[[str], Optional[str]]


class Desk(threading.Thread):
    """One latent worker, as its master sees it."""

    def __init__(self, master: Master, name: str, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.worker = name
        self.view: dict[str, Any] = {}
        self._master = master
        self._random = random.Random(seed)
        # What the report says of it is all of one moment.
        self._lock = threading.Lock()
        self._request: Optional[str] = None
        self._released: Optional[str] = None
        self._instance: Optional[str] = None
        self._build: Optional[str] = None
        self._builds = 0
        # A guest and since when it runs, before it knocks.
        self._booting: tuple[Optional[str], float] = (None, 0.0)
        self.lost: list[LostBuild] = []
        self.done = 0
        self.failed: list[str] = []

    def said(self) -> dict[str, Any]:
        """Its line of the report."""
        with self._lock:
            return {
                "request": self._request or self._released,
                "wanted": self._request is not None,
                "attached": self._instance is not None,
                "build": self._build,
            }

    def run(self) -> None:
        while not self._master.over.is_set():
            self._nap(PAUSE_S)
            try:
                if self._start():
                    self._work()
            except Refused as refusal:
                self.failed.append(str(refusal))
            self._release()

    # From the wish to a worker.

    def _start(self) -> bool:
        """Asks for an instance, and waits until its worker has knocked."""
        self._request = f"{self._random.getrandbits(128):032x}"
        view = self._insist("POST", f"workers/{self.worker}/start", {"request": self._request, "master": MASTER})
        while not self._knocks():
            if self._master.over.is_set() or self._hopeless(view):
                return False
            time.sleep(LOOK_S)
            # The report brings the news.
            view = self.view
        return True

    def _hopeless(self, view: dict[str, Any]) -> bool:
        if view.get("request") != self._request:
            return False
        if view.get("failure"):
            self.failed.append(f"{view['failure']['code']}: {view['failure']['message']}")
            return True
        return bool(view["state"] in ENDED and not view["waiting"])

    def _knocks(self) -> bool:
        guest = self._master.guest(self.worker)
        if guest != self._booting[0]:
            self._booting = (guest, time.monotonic() + self._random.uniform(*BOOT_S))
        if guest is None or time.monotonic() < self._booting[1] or not self._usable():
            return False
        with self._lock:
            self._instance = guest
        self._master.news.set()
        return True

    def _usable(self) -> bool:
        """As the plugin does, asks whether whoever knocks is not on the instance before."""
        try:
            view = ask(self._master.socket, "GET", f"/v1/workers/{self.worker}")
        except Unreachable:
            return False
        return view["state"] in USABLE and not view.get("order")

    # Builds.

    def _work(self) -> None:
        for _ in range(self._random.randint(1, BUILDS_MAX)):
            if not self._may_begin() or not self._run_build():
                return
            self._nap(IDLE_S)

    def _may_begin(self) -> bool:
        known = self.view.get("request") == self._request
        told = known and (self.view.get("order") or self.view["state"] in ENDED)
        return not self._master.over.is_set() and not told and self._master.fresh() and self._connected()

    def _connected(self) -> bool:
        return self._master.guest(self.worker) == self._instance

    def _run_build(self) -> bool:
        """One build; whether it came to its end."""
        self._builds += 1
        self._build = f"{self.worker}/{self._builds}"
        self._master.news.set()
        end = time.monotonic() + self._random.uniform(*BUILD_S)
        why = None
        while why is None and time.monotonic() < end:
            time.sleep(LOOK_S)
            why = self._interrupted()
        if why is None:
            self.done += 1
        else:
            self.lost.append(LostBuild(self._build, self.worker, self._instance or "", why))
        self._build = None
        self._master.news.set()
        return why is None

    def _interrupted(self) -> Optional[str]:
        if not self._connected():
            return "its instance no longer runs"
        view = self.view
        if view.get("request") == self._request and view["state"] in ENDED and not view["waiting"]:
            # The plugin ends a connection of which the controller says this.
            return f"the controller says {view['state']}"
        return None

    # And back.

    def _release(self) -> None:
        with self._lock:
            self._released, self._request = self._request, None
            self._instance = self._build = None
        self._booting = (None, 0.0)
        self._insist("POST", f"workers/{self.worker}/release", {"request": self._released, "master": MASTER})
        self._master.news.set()

    def _insist(self, method: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
        """Asks until somebody answers: a controller that is killed comes back."""
        while True:
            try:
                return dict(ask(self._master.socket, method, f"/v1/{url}", body))
            except Unreachable:
                time.sleep(LOOK_S)

    def _nap(self, seconds: tuple[float, float]) -> None:
        self._master.over.wait(self._random.uniform(*seconds))


class Master:
    """All desks, and the report."""

    def __init__(self, socket: str, workers: list[str], seed: int, guest: Guest) -> None:
        self.socket = socket
        self.guest = guest
        # No new wishes; what there is is let go.
        self.over = threading.Event()
        # Something is worth a report before its time.
        self.news = threading.Event()
        self.desks = [Desk(self, name, f"{seed}-{name}") for name in workers]
        self.unknown: set[str] = set()
        self._heard = 0.0
        self._ends = threading.Event()
        self._reporter = threading.Thread(target=self._report, daemon=True)

    def start(self) -> None:
        """Begins to want workers."""
        self._reporter.start()
        for desk in self.desks:
            desk.start()

    def let_go(self, seconds: float) -> list[str]:
        """Wants nothing any more; the workers that were not let go in this time."""
        self.over.set()
        end = time.monotonic() + seconds
        for desk in self.desks:
            desk.join(max(0.0, end - time.monotonic()))
        return [desk.worker for desk in self.desks if desk.is_alive()]

    def close(self) -> None:
        """Ends the report."""
        self._ends.set()
        self.news.set()
        self._reporter.join()

    def fresh(self) -> bool:
        """Whether the controller took a report a short time ago."""
        return time.monotonic() - self._heard < FRESH_S

    def _report(self) -> None:
        while not self._ends.is_set():
            self.news.wait(REPORT_S)
            self.news.clear()
            body = {"workers": {desk.worker: desk.said() for desk in self.desks}}
            try:
                answer = ask(self.socket, "POST", f"/v1/masters/{MASTER}/report", body)
            except Unreachable:
                time.sleep(LOOK_S)
                self.news.set()
                continue
            self._heard = time.monotonic()
            self.unknown.update(answer["unknown"])
            for desk in self.desks:
                desk.view = answer["workers"].get(desk.worker, desk.view)
