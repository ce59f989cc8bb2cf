"""The link of one master to one controller, shared by all its latent workers.

The master says everything it knows of its workers in one report, whole each time: every few seconds,
and at once when something changed. The answer says what the controller knows. A lost report costs
one period and nothing else.
"""

from __future__ import annotations

import re
import socket
import weakref
from typing import Any, Optional

from twisted.internet import defer
from twisted.python import log

from .controller import Controller
from .http import LinkError

REPORT_PERIOD_S = 5.0
# Changes that come together are said together.
GATHER_S = 0.05
# How long one wait for news lasts.
NEWS_S = 25
RETRY_S = 1.0


class Link:
    """Calls to one controller, and the report loop."""

    def __init__(self, reactor: Any, controller: Controller, master_id: str) -> None:
        self._reactor = reactor
        self._controller = controller
        self.master_id = master_id
        self.workers: dict[str, Any] = {}
        self._timer: Any = None
        self._reporting = False
        self._again = False
        self._listening = False
        self._silent = False
        self._last_report: Optional[float] = None
        self._seen = 0
        self._greeted = False
        self._complained: Optional[str] = None

    # Calls.

    @defer.inlineCallbacks
    def call(self, method: str, url: str, body: Optional[dict[str, Any]] = None, limit: float = 40) -> Any:
        """One call; a controller that does not answer is started, if allowed, and asked again."""
        client = yield self._controller.client()
        if self._greeted:
            try:
                return (yield client.request(method, url, body, limit))
            except LinkError as e:
                if not e.unreachable:
                    raise
        # Whoever answers from now on may be another controller, of another version.
        self._greeted = False
        yield self._controller.ensure_running()
        self._greeted = True
        return (yield client.request(method, url, body, limit))

    def start(self, name: str, request: str) -> defer.Deferred[Any]:
        return self.call("POST", f"/v1/workers/{name}/start", {"request": request, "master": self.master_id})

    def release(self, name: str, request: Optional[str]) -> defer.Deferred[Any]:
        return self.call("POST", f"/v1/workers/{name}/release", {"request": request, "master": self.master_id})

    def worker(self, name: str, wait: int = 0) -> defer.Deferred[Any]:
        return self.call("GET", f"/v1/workers/{name}?wait={wait}", limit=wait + 15)

    # Reports.

    def register(self, worker: Any) -> None:
        self.workers[worker.name] = worker
        self.report_soon()

    def unregister(self, worker: Any) -> None:
        self.workers.pop(worker.name, None)
        if not self.workers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def fresh_within(self, seconds: float) -> bool:
        """Whether the controller took a report this short a time ago."""
        return self._last_report is not None and self._reactor.seconds() - self._last_report <= seconds

    def report_soon(self) -> None:
        self._schedule(GATHER_S)

    def _schedule(self, seconds: float) -> None:
        if not self.workers:
            return
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= self._reactor.seconds() + seconds:
                return
            self._timer.cancel()
        self._timer = self._reactor.callLater(seconds, self._report)

    def _report(self) -> None:
        self._timer = None
        if self._reporting:
            self._again = True
            return
        self._reporting = True
        done = self._report_once().addErrback(  # type: ignore[call-overload]
            log.err, "latent: a report failed unexpectedly"
        )
        done.addBoth(self._reported)

    def _reported(self, _: Any) -> None:
        self._reporting = False
        again, self._again = self._again, False
        self._schedule(GATHER_S if again else REPORT_PERIOD_S)

    @defer.inlineCallbacks
    def _report_once(self) -> Any:
        body = {"workers": {name: worker.said() for name, worker in self.workers.items()}}
        try:
            answer = yield self.call("POST", f"/v1/masters/{self.master_id}/report", body, limit=20)
        except LinkError as e:
            self._complain(str(e))
            self._silent = True
            return
        self._complain(None)
        after_silence, self._silent = self._silent, False
        self._last_report = self._reactor.seconds()
        # Not the greater of both: a ledger that was lost and begun anew counts from 1 again.
        self._seen = answer["seq"]
        if not self._listening:
            self._listening = True
            self._listen().addErrback(log.err, "latent: the listening loop ended")  # type: ignore[call-overload]
        for name in answer["unknown"]:
            self._complain(f"worker {name} is not in the controller's configuration")
        for name, view in answer["workers"].items():
            worker = self.workers.get(name)
            if worker is not None:
                worker.told(view, after_silence)

    def _complain(self, message: Optional[str]) -> None:
        """Says a trouble once, and its end once."""
        if message == self._complained:
            return
        if message is not None:
            log.msg(f"latent: {message}")
        elif self._complained is not None:
            log.msg("latent: the controller answers again")
        self._complained = message

    @defer.inlineCallbacks
    def _listen(self) -> Any:
        """Reports whenever the controller's record moves, so that news come at once."""
        while self.workers:
            try:
                client = yield self._controller.client()
                page = yield client.request(
                    "GET", f"/v1/events?after={self._seen}&wait={NEWS_S}", limit=NEWS_S + 15
                )
            except LinkError:
                if not self._silent:
                    # A report starts the controller again, if that is allowed.
                    self.report_soon()
                yield self._pause(RETRY_S)
                continue
            if page["last"] != self._seen:
                self._seen = page["last"]
                self.report_soon()
        self._listening = False

    def _pause(self, seconds: float) -> defer.Deferred[None]:
        paused: defer.Deferred[None] = defer.Deferred()
        self._reactor.callLater(seconds, paused.callback, None)
        return paused


_links: weakref.WeakKeyDictionary[Any, dict[tuple[Any, ...], Link]] = weakref.WeakKeyDictionary()


def link_of(master: Any, config: str, sock: Optional[str], binary: Optional[str], autostart: bool) -> Link:
    """The link of this master for this configuration; all its workers share it."""
    key = (config, sock, binary, autostart)
    links = _links.setdefault(master, {})
    if key not in links:
        controller = Controller(master.reactor, config, sock, binary, autostart)
        links[key] = Link(master.reactor, controller, master_name(master))
    return links[key]


def master_name(master: Any) -> str:
    """A name for this master that a restart does not change and that the interface takes."""
    raw = getattr(master, "name", None) or f"{socket.gethostname()}-{master.basedir}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", raw).strip("-")[-64:] or "master"
