"""The link of one master to one controller, shared by all its latent workers.

The master says everything it knows of its workers in one report, whole each time: every few seconds,
and at once when something changed. The answer says what the controller knows. A lost report costs
one period and nothing else.
"""

from __future__ import annotations

import re
import socket
import weakref
from collections.abc import Callable
from typing import Any, Optional

from twisted.internet import defer
from twisted.python import log

from .controller import Controller
from .declarations import Declarations
from .http import LinkError
from .patience import pause

REPORT_PERIOD_S = 5.0
# Changes that come together are said together; and workers that come one after the other, as a master starts.
GATHER_S = 0.05
ARRIVE_S = 0.5
# How long one wait for news lasts.
NEWS_S = 25
RETRY_S = 1.0


class Link:
    """Calls to one controller, and the report loop."""

    def __init__(
        self,
        reactor: Any,
        controller: Controller,
        master_id: str,
        declarations: Declarations,
        place: tuple[str, Optional[str]],
    ) -> None:
        self._reactor = reactor
        # The controller's configuration and its socket, by which one is told from another.
        self.place = place
        self._controller = controller
        self.master_id = master_id
        self.declarations = declarations
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
        self._telling = defer.DeferredLock()
        self._said: set[str] = set()
        # Whether the last worker has left, and the controller is still to hear of it.
        self._bereft = False

    # Workers that stand in master.cfg.

    @defer.inlineCallbacks
    def declare(self, name: str, declaration: dict[str, Any]) -> Any:
        """Returns when the controller has taken what it is told of this one worker."""
        self.declarations.set(name, declaration)
        yield self.call("PUT", self._declared_url(name), declaration)
        self.declarations.told({"accepted": [name], "refused": {}})

    @defer.inlineCallbacks
    def tell_declarations(self) -> Any:
        """Returns when the controller has heard of all of them what there is to hear."""
        # Whoever comes meanwhile waits: a start of what is not declared yet would be refused.
        yield self._telling.acquire()
        try:
            body = self.declarations.untold()
            if body is not None:
                self._take_declared((yield self.call("PUT", self._declared_url(), body)))
        except Exception:
            self.declarations.failed()
            raise
        finally:
            self._telling.release()

    def _take_declared(self, answer: dict[str, Any]) -> None:
        self.declarations.told(answer)
        for name, message in answer["refused"].items():
            log.msg(f"latent: {name} is refused: {message}")

    def _declared_url(self, name: Optional[str] = None) -> str:
        return f"/v1/masters/{self.master_id}/workers" + (f"/{name}" if name else "")

    # Calls.

    @defer.inlineCallbacks
    def call(self, method: str, url: str, body: Optional[dict[str, Any]] = None, limit: float = 40) -> Any:
        """One call; a controller that does not answer is started, if allowed, and asked again."""
        if self.declarations.some:
            self._controller.write_config_if_missing()
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

    @defer.inlineCallbacks
    def start(self, name: str, request: str) -> Any:
        yield self.tell_declarations()
        self.declarations.raise_if_refused(name)
        body = {"request": request, "master": self.master_id}
        return (yield self.call("POST", f"/v1/workers/{name}/start", body))

    def admit(self, name: str, peer: Optional[str], info: dict[str, str]) -> defer.Deferred[Any]:
        body = {"master": self.master_id, "peer": peer, "info": info}
        return self.call("POST", f"/v1/workers/{name}/admit", body, limit=15)

    def release(self, name: str, request: Optional[str]) -> defer.Deferred[Any]:
        return self.call("POST", f"/v1/workers/{name}/release", {"request": request, "master": self.master_id})

    def worker(self, name: str, wait: int = 0) -> defer.Deferred[Any]:
        return self.call("GET", f"/v1/workers/{name}?wait={wait}", limit=wait + 15)

    # Reports.

    def register(self, worker: Any) -> None:
        self.workers[worker.name] = worker
        # Whole reports of ever more workers, each a moment after the other, would tell little and cost much.
        self._schedule(ARRIVE_S)

    def unregister(self, worker: Any) -> None:
        self.workers.pop(worker.name, None)
        if not self.workers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hand_over(self, worker: Any) -> None:
        """Another link to the same controller speaks of the worker from now on."""
        self.declarations.hand_over(worker.name)
        self.unregister(worker)

    def withdraw(self, worker: Any) -> None:
        """The worker has left master.cfg; the controller is told, also if no other is left to report."""
        self.declarations.withdraw(worker.name)
        self.unregister(worker)
        self._bereft = not self.workers
        self.report_soon()

    def fresh_within(self, seconds: float) -> bool:
        """Whether the controller took a report this short a time ago."""
        return self._last_report is not None and self._reactor.seconds() - self._last_report <= seconds

    def report_soon(self) -> None:
        self._schedule(GATHER_S)

    def _schedule(self, seconds: float) -> None:
        if not self.workers and not self._bereft:
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
        self._report_once().addErrback(_say_error, "a report failed unexpectedly").addBoth(self._reported)

    def _reported(self, _: Any) -> None:
        self._reporting = False
        again, self._again = self._again, False
        self._schedule(GATHER_S if again else REPORT_PERIOD_S)

    @defer.inlineCallbacks
    def _report_once(self) -> Any:
        try:
            yield self.tell_declarations()
            self._bereft = not self.workers and self.declarations.has_news
            if not self.workers:
                return
            body = {"workers": self._all_said()}
            answer = yield self.call("POST", f"/v1/masters/{self.master_id}/report", body, limit=20)
        except LinkError as e:
            self._complain(str(e))
            self._silent = True
            return
        self._complain_of(answer)
        after_silence, self._silent = self._silent, False
        self._last_report = self._reactor.seconds()
        # Not the greater of both: a ledger that was lost and begun anew counts from 1 again.
        self._seen = answer["seq"]
        if not self._listening:
            self._listening = True
            self._listen().addErrback(_say_error, "the listening loop ended")
        for name, view in answer["workers"].items():
            worker = self.workers.get(name)
            if worker is not None:
                try:
                    worker.told(view, after_silence)
                except Exception:
                    # The others are told all the same.
                    log.err(None, f"latent: {name} could not take in what the controller says")

    def _all_said(self) -> dict[str, Any]:
        said: dict[str, Any] = {}
        for name, worker in self.workers.items():
            try:
                said[name] = worker.said()
            except Exception:
                # The others are spoken of all the same.
                log.err(None, f"latent: {name} could not say how it is")
        return said

    def say_once(self, text: str) -> None:
        """Says what is true of all workers once."""
        if text not in self._said:
            self._said.add(text)
            log.msg(f"latent: {text}")

    def _complain_of(self, answer: dict[str, Any]) -> None:
        # A controller that has lost what it was told is told anew.
        unknown = [name for name in sorted(answer["unknown"]) if not self.declarations.forgotten(name)]
        said = [f"not in the controller's configuration: {', '.join(unknown)}"] if unknown else []
        for name, master in sorted((answer.get("elsewhere") or {}).items()):
            said.append(f"worker {name} is used by the master {master}; configure it in one of them only")
        self._complain("; ".join(said) or None)

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
                yield pause(self._reactor, RETRY_S)
                continue
            if page["last"] != self._seen:
                self._seen = page["last"]
                self.report_soon()
        self._listening = False


def _say_error(failure: Any, what: str) -> None:
    log.err(failure, f"latent: {what}")


_links: weakref.WeakKeyDictionary[Any, dict[tuple[Any, ...], Link]] = weakref.WeakKeyDictionary()


def link_of(
    master: Any,
    controller: tuple[str, Optional[str], Optional[str], bool],
    configured: Callable[[Any], set[str]],
) -> Link:
    """The link of this master to this controller (config, socket, binary, autostart); all its workers share it.

    `configured` gives the names of our workers in its master.cfg.
    """
    known = weakref.ref(master)
    links = _links.setdefault(master, {})
    if controller not in links:
        link = Link(
            master.reactor,
            Controller(master.reactor, *controller),
            master_name(master),
            Declarations(lambda: configured(known())),
            controller[:2],
        )
        links[controller] = link
    return links[controller]


def master_name(master: Any) -> str:
    """A name for this master that a restart does not change and that the interface takes."""
    raw = getattr(master, "name", None) or f"{socket.gethostname()}-{master.basedir}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", raw).strip("-")[-64:] or "master"
