"""The worker class. It only asks and tells: the controller keeps the record and talks to EC2."""

from __future__ import annotations

import os
import uuid
from typing import Any, Optional
from urllib.parse import quote

from buildbot import config
from buildbot.interfaces import LatentWorkerFailedToSubstantiate
from buildbot.worker.base import AbstractWorker
from buildbot.worker.latent import States
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.python import log

from . import arguments, chooser
from . import options as ec2_options
from .described import Described
from .door import Door, TurnedAway
from .http import LinkError
from .link import Link, link_of
from .mended import MendedLatentWorker
from .patience import either, pause
from .smoke import SmokeBuild
from .view import (
    ENDED,
    FATAL_CODES,
    PROPERTIES,
    USABLE,
    View,
    canary_of,
    cannot_or_failed,
    failure_text,
    info_of,
    is_answered,
    properties_of,
    raise_failure,
)

# How long one question for the outcome of a start waits; it is asked again until there is one.
WAIT_S = 25
# For so long a start waits for a controller that does not answer any more; between two questions then.
AWAY_S = 60
RETRY_S = 1
# Until the controller has said what its policy is; and the default of Buildbot's own class.
IDLE_UNTIL_TOLD_S = 600
NEVER_S = 10 * 365 * 24 * 3600

_WAITS = "its instance is the canary of a new AMI, which is no instance for builds; tried again when that is over"

_OWN_OPTIONS = ("config", "socket", "binary", "autostart")


class LatentEC2Worker(MendedLatentWorker):
    """A worker on an EC2 instance that comes when a build wants it and goes when it is idle.

    ``LatentEC2Worker(name, password)`` finds everything else in latent.toml. With the arguments of
    Buildbot's ``EC2LatentWorker`` it is described here instead; ``owner`` names whose account it is.

    ``config`` names the fleet's latent.toml (default: the one beside master.cfg); ``socket`` the
    controller's socket if it runs elsewhere; ``binary`` the latent program; ``autostart=False``
    leaves the controller to a service manager.
    """

    # Buildbot asks before each build whether the instance fits; of a worker whose builds choose, it has to.
    builds_may_be_incompatible = False

    # From the first configuration on.
    _link: Link
    _door: Door
    _view: Optional[View] = None
    _request: Optional[str] = None
    _instance: Optional[str] = None
    _released: Optional[str] = None
    # While a start waits for its answer: fires when it need not wait any more.
    _enough: Optional[defer.Deferred[Any]] = None
    _policy_idle = True
    # What master.cfg says of its instances, if it does.
    _described: Optional[Described] = None
    # The build that its instance was started for.
    _started_for: Any = None
    # Whether one that knocked is being let in.
    _greeting = False
    # Whether it was asked to shut down, and to be as new when its instance is gone.
    _leaving = False
    # An instance that this master could not take over.
    _not_adopted: Optional[str] = None
    # Whether the last build could not begin on its instance.
    _suspect = False
    # The instance that it took over as a canary: no request of this master has brought that.
    _canary: Optional[str] = None
    # From the first configuration on.
    smoke_build: SmokeBuild

    def checkConfig(self, name: str, password: Any, *args: Any, **kwargs: Any) -> None:
        given = arguments.taken(name, args, kwargs)
        ours = {key: kwargs.pop(key) for key in _OWN_OPTIONS if key in kwargs}
        arguments.check_own(name, ours)
        if given is not None and ec2_options.is_declared(given):
            for mistake in ec2_options.mistakes(given):
                config.error(f"LatentEC2Worker {name!r}: {mistake}")
        wait, interval = arguments.timing(kwargs)
        super().checkConfig(name, password, IDLE_UNTIL_TOLD_S if wait is None else wait, interval, **kwargs)

    @defer.inlineCallbacks
    def reconfigService(self, name: str, password: Any, *args: Any, **kwargs: Any) -> Any:
        given = ec2_options.taken_from(args, kwargs)
        ours = {key: kwargs.pop(key) for key in _OWN_OPTIONS if key in kwargs}
        self._take_link(**ours)
        wait, interval = arguments.timing(kwargs)
        self._policy_idle = wait is None
        idle = IDLE_UNTIL_TOLD_S if wait is None else wait
        yield super().reconfigService(name, password, idle, interval, **kwargs)
        yield self._describe(given, kwargs.get("missing_timeout"))
        self._take_idle_timeout()
        self._show_instance()

    def _take_link(
        self,
        config: Optional[str] = None,
        socket: Optional[str] = None,
        binary: Optional[str] = None,
        autostart: bool = True,
    ) -> None:
        path = os.path.join(self.master.basedir, config or "latent.toml")
        link = link_of(self.master, (path, socket, binary, autostart), _names)
        before = getattr(self, "_link", link)
        if before is not link:
            if before.place == link.place:
                # The same controller, started in another way: from now on the other link speaks of it.
                before.hand_over(self)
            else:
                before.withdraw(self)
            link.register(self)
        self._link, self._door = link, Door(self.master.reactor, self.name, link)
        if not hasattr(self, "smoke_build"):
            self.smoke_build = SmokeBuild(self)
        chooser.install(self.master)

    @defer.inlineCallbacks
    def _describe(self, given: dict[str, Any], missing_timeout: Optional[float]) -> Any:
        """Takes what master.cfg says of its instances, as it does for Buildbot's own class."""
        self._not_adopted = None
        before, self._described = self._described, None
        if ec2_options.is_declared(given):
            for key in ec2_options.FIXED:
                given[key] = yield self.renderSecrets(given[key])
            wait = IDLE_UNTIL_TOLD_S if self._policy_idle else self.build_wait_timeout
            self._described = Described(self.name, given, (wait, missing_timeout), before)
            self._described.tell(self._link)
        else:
            self._link.declarations.withdraw(self.name)
        dynamic = self._described is not None and self._described.is_dynamic
        self.builds_may_be_incompatible = dynamic or type(self).builds_may_be_incompatible
        if self.running:
            # One that only starts is about to be registered, and told of with the others that do.
            self._link.report_soon()

    @defer.inlineCallbacks
    def isCompatibleWithBuild(self, build_props: Any) -> Any:
        return self._described is None or (yield self._described.fits(build_props, self._own_view()))

    @defer.inlineCallbacks
    def startService(self) -> Any:
        yield super().startService()
        self._link.register(self)

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        self._wait_no_longer()
        has_left = self.name not in _names(self.master)
        yield super().stopService()
        if has_left:
            # It is not in master.cfg any more, and does not only end with its master.
            self._link.withdraw(self)
        else:
            self._link.unregister(self)

    # What this master tells the controller, and what it is told.

    def said(self) -> dict[str, Any]:
        """Everything this master knows of the worker, for the report."""
        attached = self.conn is not None and self.state == States.SUBSTANTIATED
        smoke = self.smoke_build.said()
        build = self._build_name() if attached else None
        if attached and build is None and self.building:
            # It has begun, and the master's database is about to give it its number: that is said at once.
            self._link.report_soon()
        return {
            "request": self._request or self._released,
            "wanted": self._wanted(),
            "attached": attached,
            "build": build,
            "leaving": bool(self._graceful),
            **({"smoke": smoke} if smoke is not None else {}),
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

    def told(self, view: View, after_silence: bool) -> None:
        """Takes in what the controller knows of the worker; `after_silence`, if it could not be told before."""
        before, self._view = self._view, view
        if after_silence:
            self._not_adopted = None
        self._take_idle_timeout()
        self._take_instance(view)
        if canary_of(view) is not None and self._canary is None:
            # A start that is under way would bring the canary to an ordinary build.
            self._wait_no_longer()
        if self.state == States.NOT_SUBSTANTIATED and self._adoptable(view):
            self._adopt()
        elif self.state == States.SUBSTANTIATED and not self.building and self._must_let_go(view):
            self._let_go(f"the controller says {view.get('order') or view['state']}")
        elif self.state == States.SUBSTANTIATED and self.conn is not None and self._has_ended(view):
            # A host that is gone says no farewell: without this its build would hang for hours.
            log.msg(f"latent: {self.name}: ending the connection, the controller says {view['state']}")
            self._deferwaiter.add(self._disconnect(self.conn))
        self.smoke_build.look(view)
        ordered = before is not None and before.get("order") and not view.get("order")
        if ordered or after_silence or (canary_of(before) is not None and canary_of(view) is None):
            # canStartBuild may say yes now where it said no.
            self.botmaster.maybeStartBuildsForWorker(self.name)

    def _let_go(self, why: str) -> None:
        log.msg(f"latent: {self.name}: letting go, {why}")
        self._deferwaiter.add(self._soft_disconnect(stopping_service=True))

    def _adoptable(self, view: View) -> bool:
        canary = canary_of(view)
        if canary is not None:
            over = canary["phase"] in ("passed", "failed")
            return view["state"] in USABLE and bool(view["instance"]) and not view.get("order") and not over
        released = self._released is not None and view.get("request") == self._released
        tried = view.get("instance") is not None and view.get("instance") == self._not_adopted
        return view["state"] in USABLE and not view.get("order") and not released and not tried

    def _must_let_go(self, view: View) -> bool:
        return view.get("order") == "drain" or self._has_ended(view)

    def _has_ended(self, view: View) -> bool:
        if self._canary is not None:
            return view["state"] in ENDED or view.get("instance") != self._canary
        # One that still waits for its answer will have an instance: this one's state is of an earlier.
        return view["state"] in ENDED and view.get("request") == self._request and not view["waiting"]

    def _take_idle_timeout(self) -> None:
        if self._policy_idle and self._view is not None:
            told = self._view.get("idle_timeout_s")
            self.build_wait_timeout = NEVER_S if told is None else told

    def _adopt(self) -> None:
        """Takes over an instance that this master did not start, or started in an earlier life."""
        instance: Optional[str] = self._view.get("instance") if self._view is not None else None
        log.msg(f"latent: {self.name}: adopting {instance}")

        def failed(failure: Any) -> None:
            # Not tried at every report: what it is about holds until something changes.
            self._not_adopted = instance
            log.msg(f"latent: {self.name}: not adopted: {failure.getErrorMessage()}")

        self.substantiate(None, None).addErrback(failed)

    # Buildbot's contract.

    def substantiate(self, wfb: Any, build: Any) -> Any:
        if build is not None and canary_of(self._view) is not None and not self.smoke_build.is_of(build):
            # It was chosen for this worker a moment before that was known.
            return defer.fail(LatentWorkerFailedToSubstantiate(self.name, _WAITS))
        is_warm = self.substantiated
        ready = super().substantiate(wfb, build)
        if build is not None and not is_warm:
            ready.addCallback(self._check_build, build)
        if build is not None:
            # It took the worker's properties before there was an instance, or while there was another.
            ready.addCallback(self._tell_build, build)
        return ready

    @defer.inlineCallbacks
    def _check_build(self, ready: Any, build: Any) -> Any:
        """Refuses a build that has joined a start before it could be known what that would bring."""
        if ready and self.builds_may_be_incompatible and not (yield self._is_for(build)):
            why = "its instance is of another kind than this build wants, which is tried again when it has gone"
            raise LatentWorkerFailedToSubstantiate(self.name, why)
        return ready

    @defer.inlineCallbacks
    def _is_for(self, build: Any) -> Any:
        if build is not self._started_for:
            return (yield self.isCompatibleWithBuild(build.getProperties()))
        # What it chose is not asked a second time: a function may say something else then.
        return self._described is None or self._described.is_of(self._own_view())

    @defer.inlineCallbacks
    def _tell_build(self, ready: Any, build: Any) -> Any:
        shown = properties_of(self._own_view())
        for name, value in shown.items():
            build.setProperty(name, value, "Worker")
        if shown and build.buildid is not None:
            # Buildbot writes what a build begins with, and then not before its end.
            yield self.master.data.updates.setBuildProperties(build.buildid, build)
        return ready

    def _take_canary(self, view: View) -> bool:
        """Takes over a canary's instance. It is asked for by nobody: a request would be met after it."""
        self._canary = self._instance = view["instance"]
        self._show_instance()
        return True

    @defer.inlineCallbacks
    def start_instance(self, build: Any) -> Any:
        if build is None and self._view is not None and canary_of(self._view) is not None:
            return self._take_canary(self._view)
        request = self._request = uuid.uuid4().hex
        self._started_for = build
        enough = self._enough = defer.Deferred()
        began = self.master.reactor.seconds()
        try:
            if self._described is not None:
                yield self._described.tell_for(self._link, build)
            view = yield either(self._link.start(self.name, request), enough)
            while view is not None and not is_answered(view) and canary_of(view) is None:
                view = yield either(self._ask_again(enough), enough)
        except LinkError as e:
            raise cannot_or_failed(self.name, str(e), e.code in FATAL_CODES) from e
        finally:
            self._enough = None
        if canary_of(view or self._view) is not None:
            raise LatentWorkerFailedToSubstantiate(self.name, _WAITS)
        if view is None:
            # The worker was faster than the answer, or Buildbot is about to stop it.
            return True
        self._view = view
        raise_failure(self.name, view)
        self._link.report_soon()
        self._take_instance(view)
        if self._described is not None and not self._described.is_of(view):
            why = f"{view['instance']} was there before, of another kind than this build wants, and is let go"
            raise LatentWorkerFailedToSubstantiate(self.name, why)
        elapsed = self.master.reactor.seconds() - began
        return [view["instance"], view["ami"], f"{elapsed:.1f} s"]

    @defer.inlineCallbacks
    def _ask_again(self, enough: defer.Deferred[Any]) -> Any:
        """What has become of a start; it is durable, so a controller that is away a short time knows it still."""
        end = self.master.reactor.seconds() + AWAY_S
        while True:
            try:
                return (yield self._link.worker(self.name, WAIT_S))
            except LinkError as e:
                if not e.unreachable or enough.called or self.master.reactor.seconds() >= end:
                    raise
            yield pause(self.master.reactor, RETRY_S)

    def _own_view(self) -> Optional[View]:
        """What the controller says of the instance of the present request."""
        view = self._view
        if view is None or self._instance is None or view.get("instance") != self._instance:
            return None
        return view

    def _take_instance(self, view: View) -> None:
        if self._request is not None and view.get("request") == self._request and view["instance"]:
            self._instance = view["instance"]
            self._show_instance()

    def _show_instance(self) -> None:
        """Builds show on which instance they run, among it the property that Buildbot's own class uses."""
        shown = properties_of(self._own_view())
        for name in PROPERTIES.values():
            if name in shown:
                self.properties.setProperty(name, shown[name], "Worker")
            else:
                self.properties.properties.pop(name, None)

    def _wait_no_longer(self) -> None:
        if self._enough is not None and not self._enough.called:
            self._enough.callback(None)

    def insubstantiate(self, fast: bool = False, force_substantiation_build: Any = None) -> Any:
        stopped = super().insubstantiate(fast, force_substantiation_build)
        # Buildbot waits for start_instance before it stops; a start that nobody wants shall not wait. Only
        # now, that it stands in the line for the lock: whatever comes next shall find it stopped.
        self._wait_no_longer()
        stopped.addCallback(self._insubstantiated)
        return stopped

    def _insubstantiated(self, result: Any) -> Any:
        if self.state == States.NOT_SUBSTANTIATED:
            self._has_left()
        return result

    @defer.inlineCallbacks
    def stop_instance(self, fast: bool = False) -> Any:
        self._released, self._request = self._request or self._released, None
        canary, self._canary = self._canary, None
        self._instance = self._started_for = None
        self._show_instance()
        if self._described is not None:
            self._described.ended()
        self._suspect = False
        self._has_left()
        if canary is not None:
            # What nobody asked for is not given back: the controller hears that it is let go.
            self._link.report_soon()
            return True
        try:
            yield self._link.release(self.name, self._released)
        except LinkError as e:
            # Not lost: every report says again that this request is no longer wanted.
            log.msg(f"latent: {self.name}: the controller has not heard the release yet: {e}")
        self._link.report_soon()
        return True

    def check_instance(self) -> tuple[bool, str]:
        view = self._view
        if view is not None and self._canary is not None:
            return not self._must_let_go(view), f"the canary's worker is {view['state']}"
        if view is None or view.get("request") != self._request:
            return True, ""
        if view.get("failure"):
            return False, failure_text(view["failure"])
        if view["state"] in ("gone", "terminating"):
            return False, f"the instance is {view['state']}"
        return True, ""

    def canStartBuild(self) -> bool:
        return canary_of(self._view) is None and self._can_start()

    def may_smoke(self) -> bool:
        """Whether the smoke build may begin on its canary."""
        return self._canary is not None and self.substantiated and self._can_start()

    def _can_start(self) -> bool:
        if self.state == States.SUBSTANTIATED and self._view is not None:
            # The controller may take an idle instance away when this master is silent for long; so
            # nothing is begun on it while the last report is half as old as that.
            if self._view.get("order") or not self._link.fresh_within(self._view["master_silence_s"] / 2):
                return False
        return bool(super().canStartBuild())

    def putInQuarantine(self) -> None:
        self._suspect = self.state == States.SUBSTANTIATED and self._canary is None
        super().putInQuarantine()

    def resetQuarantine(self) -> None:
        self._suspect = False
        super().resetQuarantine()

    def _soft_disconnect(self, fast: bool = False, stopping_service: bool = False) -> Any:
        if self._canary is not None and not stopping_service:
            # It is not let go of because it is idle: the controller says when it has shown enough.
            return defer.succeed(None)
        return super()._soft_disconnect(fast, stopping_service)

    # A worker that connects, works and leaves.

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
        request = self._request
        try:
            yield self._door.ask(conn)
            yield self._recognise()
        except TurnedAway as e:
            self._turn_away(conn, str(e))
        conn.info = {**conn.info, **info_of(self._own_view(), conn.info.get("host"))}
        # Should it have gone while the controller was asked, nobody would ever tell: this does.
        yield conn.remotePrint(message="latent: let in")
        if request is not None and self._request != request:
            self._turn_away(conn, "it was let go of while it knocked")
        yield self._attach(conn)
        # Were the answer to the start waited for any longer, a failure there would end what works.
        self._wait_no_longer()
        if self._leaving:
            # Buildbot has just forgotten it.
            self._graceful = True
        if self.state == States.SUBSTANTIATED and not self.building:
            self._setBuildWaitTimer()
        self._link.report_soon()

    @defer.inlineCallbacks
    def _attach(self, conn: Any) -> Any:
        if self.state not in (States.SUBSTANTIATING_STARTING, States.SUBSTANTIATED):
            # Buildbot's own refusal would wait for the end of a connection of which nobody tells.
            self._turn_away(conn, f"this master is not ready for it: {self.state.name}")
        why: Any = "its instance is let go"
        try:
            if self.state == States.SUBSTANTIATED:
                # Its connection was lost, and its instance is the same: Buildbot's own class would not have it.
                yield AbstractWorker.attached(self, conn)
            else:
                # What fails here is told the builds that wait, and not us.
                yield super().attached(conn)
        except Exception as e:
            why = e
        else:
            if self.state == States.SUBSTANTIATED:
                return
        if self.conn is conn:
            # Its login is not done, so nobody else would tell those who wait for its end.
            conn.notifyDisconnected()
            self._detached_sub.unsubscribe()
            yield conn.waitShutdown()
        self._turn_away(conn, f"it cannot be attached: {why}")

    @defer.inlineCallbacks
    def _recognise(self) -> Any:
        """Knows its instance from here on: the first build on it shows it, and it may be one to adopt."""
        view = self._view = yield self._door.view()
        if self.state == States.SUBSTANTIATED and self._suspect:
            raise TurnedAway("the last build could not begin on its instance, which is replaced")
        if self.state == States.NOT_SUBSTANTIATED:
            # A worker that outlived a restart of this master knocks before the first report is answered.
            if not self._adoptable(view):
                raise TurnedAway(f"nobody wants it, it is {view['state']}")
            self._adopt()
        if canary_of(view) is not None and self._canary != view["instance"]:
            self._wait_no_longer()
            raise TurnedAway("its instance is a canary, and a build waits here for another; it may knock again")
        self._instance = view.get("instance") or self._instance
        self._show_instance()

    def _turn_away(self, conn: Any, why: str) -> None:
        text = f"latent: {self.name} knocks and is turned away: {why}"
        log.msg(text)
        # Its end is not waited for: PB tells of that only where somebody was let in.
        conn.loseConnection()
        # The one refusal after which a worker knocks again; at any other its process ends.
        raise UnauthorizedLogin(text)

    @defer.inlineCallbacks
    def detached(self) -> Any:
        yield super().detached()
        self._link.report_soon()

    def shutdownRequested(self) -> None:
        """Somebody, or the worker itself, asks for its end: its build ends, its instance goes, it is as new."""
        self._leaving = self._graceful = True
        self._update_graceful()
        self._leave_if_idle()
        self._link.report_soon()

    def _leave_if_idle(self) -> None:
        if not self._leaving or self.building:
            return
        if self.state == States.SUBSTANTIATED:
            self._let_go("it was asked to shut down")
        elif self.state == States.NOT_SUBSTANTIATED:
            self._has_left()

    def _has_left(self) -> None:
        if self._leaving:
            self._leaving = self._graceful = False
            self._update_graceful()
            self.botmaster.maybeStartBuildsForWorker(self.name)

    def buildStarted(self, wfb: Any) -> None:
        super().buildStarted(wfb)
        self._link.report_soon()

    def buildFinished(self, wfb: Any) -> None:
        super().buildFinished(wfb)
        self._leave_if_idle()
        self._link.report_soon()


def _names(master: Any) -> set[str]:
    """Of our workers in master.cfg."""
    return {worker.name for worker in master.config.workers if isinstance(worker, LatentEC2Worker)}
