"""The worker class. It only asks and tells: the controller keeps the record and talks to EC2."""

from __future__ import annotations

import os
import uuid
from typing import Any, Optional
from urllib.parse import quote

from buildbot import config
from buildbot.interfaces import LatentWorkerCannotSubstantiate, LatentWorkerFailedToSubstantiate
from buildbot.worker.latent import AbstractLatentWorker, States
from twisted.internet import defer
from twisted.python import log

from .http import LinkError
from .link import Link, link_of

# How long one question for the outcome of a start waits; it is asked again until there is one.
WAIT_S = 25
# How long a worker that knocks waits for the controller's word.
ADOPT_LIMIT_S = 10
# Until the controller has said what its policy is.
IDLE_UNTIL_TOLD_S = 600
NEVER_S = 10 * 365 * 24 * 3600

# The controller's states in which an instance is there, or on its way, for a master to take.
_USABLE = ("launching", "registering", "ready", "busy")
# And those in which this master's instance is of no use any more.
_ENDED = ("gone", "terminating", "stopped")
# Errors that no retry mends before a person has acted.
_FATAL_CODES = ("unknown_worker", "configuration", "no_binary", "incompatible", "bad_request")


class LatentEC2Worker(AbstractLatentWorker):
    """A worker on an EC2 instance that comes when a build wants it and goes when it is idle.

    ``config`` names the fleet's latent.toml (default: the one beside master.cfg); ``socket`` the
    controller's socket if it runs elsewhere; ``binary`` the latent program; ``autostart=False``
    leaves the controller to a service manager. Everything else stands in latent.toml.
    """

    name: str
    # Set by the first reconfigService, which Buildbot awaits before anything else.
    _link: Link = None  # type: ignore[assignment]
    _view: Optional[dict[str, Any]] = None
    _request: Optional[str] = None
    _instance: Optional[str] = None
    _released: Optional[str] = None
    # Whether one that knocked is being let in.
    _greeting = False
    # While a start waits for its answer: fires when it need not wait any more.
    _enough: Optional[defer.Deferred[None]] = None
    _policy_idle = True

    def checkConfig(
        self,
        name: str,
        password: Any,
        config: Optional[str] = None,
        socket: Optional[str] = None,
        binary: Optional[str] = None,
        autostart: bool = True,
        build_wait_timeout: Optional[float] = None,
        check_instance_interval: float = 2,
        **kwargs: Any,
    ) -> None:
        _check_options(name, {"config": config, "socket": socket, "binary": binary}, autostart)
        wait = IDLE_UNTIL_TOLD_S if build_wait_timeout is None else build_wait_timeout
        super().checkConfig(name, password, wait, check_instance_interval, **kwargs)

    @defer.inlineCallbacks
    def reconfigService(
        self,
        name: str,
        password: Any,
        config: Optional[str] = None,
        socket: Optional[str] = None,
        binary: Optional[str] = None,
        autostart: bool = True,
        build_wait_timeout: Optional[float] = None,
        check_instance_interval: float = 2,
        **kwargs: Any,
    ) -> Any:
        path = os.path.join(self.master.basedir, config or "latent.toml")
        link = link_of(self.master, path, socket, binary, autostart)
        if self._link is not None and self._link is not link:
            self._link.unregister(self)
            link.register(self)
        self._link = link
        self._policy_idle = build_wait_timeout is None
        wait = IDLE_UNTIL_TOLD_S if build_wait_timeout is None else build_wait_timeout
        yield super().reconfigService(name, password, wait, check_instance_interval, **kwargs)
        self._take_idle_timeout()
        self._show_instance()

    @defer.inlineCallbacks
    def startService(self) -> Any:
        yield super().startService()
        self._link.register(self)

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        self._wait_no_longer()
        yield super().stopService()
        self._link.unregister(self)

    # What this master tells the controller, and what it is told.

    def said(self) -> dict[str, Any]:
        """Everything this master knows of the worker, for the report."""
        attached = self.conn is not None and self.state == States.SUBSTANTIATED
        return {
            "request": self._request or self._released,
            "wanted": self._wanted(),
            "attached": attached,
            "build": self._build_name() if attached else None,
        }

    def _wanted(self) -> bool:
        return self.state in (
            States.SUBSTANTIATING,
            States.SUBSTANTIATING_STARTING,
            States.SUBSTANTIATED,
            States.INSUBSTANTIATING_SUBSTANTIATING,
        )

    def _build_name(self) -> Optional[str]:
        for wfb in self.building:
            builder: Any = getattr(wfb, "builder", None)
            for build in getattr(builder, "building", None) or ():
                if build.workerforbuilder is wfb and build.number is not None:
                    return f"{quote(builder.name, safe='')}/{build.number}"[-128:]
        return None

    def told(self, view: dict[str, Any], after_silence: bool) -> None:
        """Takes in what the controller knows of the worker; `after_silence`, if it could not be told before."""
        before, self._view = self._view, view
        self._take_idle_timeout()
        self._take_instance(view)
        if self.state == States.NOT_SUBSTANTIATED and self._adoptable(view):
            self._adopt()
        elif self.state == States.SUBSTANTIATED and not self.building and self._must_let_go(view):
            log.msg(f"latent: {self.name}: letting go, the controller says {view['state']}")
            self._deferwaiter.add(self._soft_disconnect(stopping_service=True))
        elif self.state == States.SUBSTANTIATED and self.conn is not None and self._has_ended(view):
            # A host that is gone says no farewell: without this its build would hang for hours.
            log.msg(f"latent: {self.name}: ending the connection, the controller says {view['state']}")
            self._deferwaiter.add(self._disconnect(self.conn))
        ordered = before is not None and before.get("order") and not view.get("order")
        if ordered or after_silence:
            # canStartBuild may say yes now where it said no.
            self.botmaster.maybeStartBuildsForWorker(self.name)

    def _adoptable(self, view: dict[str, Any]) -> bool:
        released = self._released is not None and view.get("request") == self._released
        return view["state"] in _USABLE and not view.get("order") and not released

    def _must_let_go(self, view: dict[str, Any]) -> bool:
        return view.get("order") == "drain" or self._has_ended(view)

    def _has_ended(self, view: dict[str, Any]) -> bool:
        # One that still waits for its answer will have an instance: this one's state is of an earlier.
        return view["state"] in _ENDED and view.get("request") == self._request and not view["waiting"]

    def _take_idle_timeout(self) -> None:
        if self._policy_idle and self._view is not None:
            told = self._view.get("idle_timeout_s")
            self.build_wait_timeout = NEVER_S if told is None else told

    def _adopt(self) -> None:
        """Takes over an instance that this master did not start, or started in an earlier life."""
        log.msg(f"latent: {self.name}: adopting {self._view and self._view.get('instance')}")
        self.substantiate(None, None).addErrback(
            lambda failure: log.msg(f"latent: {self.name}: not adopted: {failure.getErrorMessage()}")
        )

    # Buildbot's contract.

    @defer.inlineCallbacks
    def start_instance(self, build: Any) -> Any:
        request = self._request = uuid.uuid4().hex
        enough = self._enough = defer.Deferred()
        began = self.master.reactor.seconds()
        try:
            view = yield _either(self._link.start(self.name, request), enough)
            while view is not None and not _answered(view):
                view = yield _either(self._link.worker(self.name, WAIT_S), enough)
        except LinkError as e:
            raise _cannot_or_failed(self.name, str(e), e.code in _FATAL_CODES) from e
        finally:
            self._enough = None
        if view is None:
            # The worker was faster than the answer, or Buildbot is about to stop it.
            return True
        self._view = view
        _raise_failure(self.name, view)
        self._link.report_soon()
        self._take_instance(view)
        if build is not None and self._instance is not None:
            # This build took the worker's properties before there was an instance.
            build.setProperty("instance", self._instance, "Worker")
        elapsed = self.master.reactor.seconds() - began
        return [view["instance"], view["ami"], f"{elapsed:.1f} s"]

    def _take_instance(self, view: dict[str, Any]) -> None:
        if self._request is not None and view.get("request") == self._request and view["instance"]:
            self._instance = view["instance"]
            self._show_instance()

    def _show_instance(self) -> None:
        """Builds show on which instance they run, in the property that Buildbot's own class uses."""
        if self._instance is not None:
            self.properties.setProperty("instance", self._instance, "Worker")
        elif self.properties.hasProperty("instance"):
            del self.properties.properties["instance"]

    def _wait_no_longer(self) -> None:
        if self._enough is not None and not self._enough.called:
            self._enough.callback(None)

    def insubstantiate(self, fast: bool = False, force_substantiation_build: Any = None) -> Any:
        stopped = super().insubstantiate(fast, force_substantiation_build)
        # Buildbot waits for start_instance before it stops; a start that nobody wants shall not wait. Only
        # now, that it stands in the line for the lock: whatever comes next shall find it stopped.
        self._wait_no_longer()
        return stopped

    @defer.inlineCallbacks
    def stop_instance(self, fast: bool = False) -> Any:
        self._released, self._request = self._request or self._released, None
        self._instance = None
        self._show_instance()
        try:
            yield self._link.release(self.name, self._released)
        except LinkError as e:
            # Not lost: every report says again that this request is no longer wanted.
            log.msg(f"latent: {self.name}: the controller has not heard the release yet: {e}")
        self._link.report_soon()
        return True

    def check_instance(self) -> tuple[bool, str]:
        view = self._view
        if view is None or view.get("request") != self._request:
            return True, ""
        if view.get("failure"):
            return False, _failure_text(view["failure"])
        if view["state"] in ("gone", "terminating"):
            return False, f"the instance is {view['state']}"
        return True, ""

    def canStartBuild(self) -> bool:
        if self.state == States.SUBSTANTIATED and self._view is not None:
            # The controller may take an idle instance away when this master is silent for long; so
            # nothing is begun on it while the last report is half as old as that.
            if self._view.get("order") or not self._link.fresh_within(self._view["master_silence_s"] / 2):
                return False
        return super().canStartBuild()  # type: ignore[no-any-return]

    @defer.inlineCallbacks
    def attached(self, conn: Any) -> Any:
        if self._greeting or self.conn is not None:
            # Two of one name at once: Buildbot would let the start of the first fail for the second.
            self._turn_away(conn, "another of its name was here first")
        self._greeting = True
        try:
            yield self._greet(conn)
        finally:
            self._greeting = False

    @defer.inlineCallbacks
    def _greet(self, conn: Any) -> Any:
        if self.state == States.NOT_SUBSTANTIATED:
            # A worker that outlived a restart of this master knocks before the first report is answered.
            yield self._adopt_now()
            # Should it have gone while the controller was asked, nobody would ever tell: this does.
            yield conn.remotePrint(message="latent: adopted")
        elif self._enough is not None:
            yield self._turn_away_the_last_one(conn)
        yield super().attached(conn)
        # Were the answer to the start waited for any longer, a failure there would end what works.
        self._wait_no_longer()
        if self.state == States.SUBSTANTIATED and not self.building:
            self._setBuildWaitTimer()
        self._link.report_soon()

    @defer.inlineCallbacks
    def _adopt_now(self) -> Any:
        view = yield self._view_now()
        if view is None:
            return
        self._view = view
        if self.state == States.NOT_SUBSTANTIATED and self._adoptable(view):
            self._adopt()

    @defer.inlineCallbacks
    def _turn_away_the_last_one(self, conn: Any) -> Any:
        """Whoever knocks before the start is answered may be on an instance that is about to end.

        A build there would end with it. Turned away, it knocks again as long as it lives.
        """
        view = yield self._view_now()
        if view is None or (view["state"] in _USABLE and not view.get("order")):
            return
        self._turn_away(conn, f"it is on an earlier instance, which is {view['state']}")

    def _turn_away(self, conn: Any, why: str) -> None:
        text = f"latent: {self.name} knocks and is turned away: {why}"
        log.msg(text)
        self._deferwaiter.add(self._disconnect(conn))
        raise RuntimeError(text)

    @defer.inlineCallbacks
    def _view_now(self) -> Any:
        """The controller's word on a worker that knocks; None if there is none in time."""
        enough: defer.Deferred[None] = defer.Deferred()
        timer = self.master.reactor.callLater(ADOPT_LIMIT_S, enough.callback, None)
        try:
            view = yield _either(self._link.worker(self.name), enough)
        except LinkError as e:
            log.msg(f"latent: {self.name} knocks, and the controller cannot be asked: {e}")
            return None
        finally:
            if timer.active():
                timer.cancel()
        if view is None:
            log.msg(f"latent: {self.name} knocks, and the controller has not answered in {ADOPT_LIMIT_S} s")
        return view

    @defer.inlineCallbacks
    def detached(self) -> Any:
        yield super().detached()
        self._link.report_soon()

    def buildStarted(self, wfb: Any) -> None:
        super().buildStarted(wfb)
        self._link.report_soon()

    def buildFinished(self, wfb: Any) -> None:
        super().buildFinished(wfb)
        self._link.report_soon()


def _either(asked: defer.Deferred[Any], enough: defer.Deferred[None]) -> defer.Deferred[Any]:
    """The answer to a question, or None once `enough` fires: what comes of the question is dropped then."""
    first: defer.Deferred[Any] = defer.Deferred()

    def settle(result: Any) -> None:
        if not first.called:
            first.callback(result)

    asked.addBoth(settle)
    enough.addCallback(lambda _: settle(None))
    return first


def _check_options(name: str, paths: dict[str, Any], autostart: Any) -> None:
    for option, value in paths.items():
        if value is not None and not isinstance(value, str):
            config.error(f"LatentEC2Worker {name!r}: {option}={value!r} must be a path in a string")
    if not isinstance(autostart, bool):
        config.error(f"LatentEC2Worker {name!r}: autostart={autostart!r} must be True or False")


def _answered(view: dict[str, Any]) -> bool:
    pending = view["state"] in ("requested", "launching", "draining", "terminating", "stopped")
    return not (pending and view["waiting"])


def _raise_failure(name: str, view: dict[str, Any]) -> None:
    failure = view.get("failure")
    if failure:
        raise _cannot_or_failed(name, _failure_text(failure), failure["fatal"])
    if view["state"] in _ENDED:
        raise LatentWorkerFailedToSubstantiate(name, f"the instance is {view['state']} already")


def _failure_text(failure: dict[str, Any]) -> str:
    return (
        f"{failure['phase']} phase: {failure['code']} ({failure['kind']}): {failure['message']}; {failure['cure']}"
    )


def _cannot_or_failed(name: str, text: str, fatal: bool) -> Exception:
    kind: type[Exception] = LatentWorkerCannotSubstantiate if fatal else LatentWorkerFailedToSubstantiate
    return kind(name, text)
