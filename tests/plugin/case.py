"""What every test here begins with: a whole master of Buildbot's own test package, by a clock that stands.

Nothing happens but by `pass_time`: no thread, no network, no process, no real second. What the master
asks of the controller is answered by `FakeController`; who connects is a `Guest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

import pytest
from buildbot.config import BuilderConfig
from buildbot.db import enginestrategy
from buildbot.interfaces import LatentWorkerSubstantiatiationCancelled
from buildbot.process.factory import BuildFactory
from buildbot.process.results import CANCELLED, EXCEPTION, RETRY, SUCCESS
from buildbot.test.fake.step import BuildStepController
from buildbot.test.util.integration import RunFakeMasterTestCase
from buildbot_latent import link
from buildbot_latent.worker import LatentEC2Worker
from fake_controller import LAUNCH_S, FakeController
from fake_record import Policy
from far_end import BOOT_S, Guest
from twisted.internet import defer, error
from twisted.python import log
from twisted.python.failure import Failure
from twisted.spread import pb

__all__ = ["CANCELLED", "EXCEPTION", "RETRY", "SUCCESS", "PluginCase", "buildbot_case"]

# By then a worker that is asked for has been launched, has knocked and begun its build.
STARTED_S = LAUNCH_S + BOOT_S + 5
# Within this a well master stops, whatever its workers were at.
STOP_S = 60
# More steps of the clock than this in one stretch, and something goes in circles.
STEPS_MAX = 100_000
SOURCE = {"codebase": "", "repository": "", "branch": None, "revision": None, "project": ""}

Test = Callable[..., None]


class Database:
    """The master's, in memory. One engine serves all tests: what it has compiled is the most of its work."""

    real = staticmethod(enginestrategy.create_engine)
    engine: Any = None

    @classmethod
    def connect(cls, url: Any, **kwargs: Any) -> Any:
        """Takes the place of what Buildbot makes engines with; a next life of a master finds what was kept."""
        if cls.engine is None:
            cls.engine = cls.real(url, **kwargs)
        return cls.engine

    @classmethod
    def empty(cls) -> None:
        """Nothing is in it any more."""
        if cls.engine is not None:
            cls.engine.dispose()


def buildbot_case(*names: str) -> Callable[[Test], Test]:
    """Says which scenarios of Buildbot's own suite for latent workers a test stands for."""

    def mark(test: Test) -> Test:
        test.buildbot_cases = names  # type: ignore[attr-defined]
        return test

    return mark


class PluginCase(RunFakeMasterTestCase):
    """One master, one controller, and the guests on its instances."""

    # Worker names, and the builders with theirs.
    names: tuple[str, ...] = ("w1",)
    builders: dict[str, list[str]] = {"b1": ["w1"]}
    policy = Policy()
    worker_class = LatentEC2Worker

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def mktemp(self) -> str:
        """Where a master lives: its next life finds it there."""
        return str(self.folder / "master")

    def setUp(self) -> None:
        super().setUp()
        Database.empty()
        self.patch(enginestrategy, "create_engine", Database.connect)
        self.controller = FakeController(self.reactor, self.names, self.policy)
        self.controller.on_launched = self._launched
        self.controller.on_ended = self._ended
        self.patch(link, "Controller", lambda *_, **__: self.controller)
        self.guests: dict[str, Guest] = {}
        # Whether a guest boots by itself; how long that takes; whether its service manager restarts it.
        self.boots, self.boot_s, self.restarts = True, BOOT_S, True
        self.options: dict[str, Any] = {}
        self.machines: list[Any] = []
        self.steps = {name: BuildStepController() for name in ("b1", "b2")}
        self.lines: list[str] = []
        log.addObserver(self._observe)
        self.addCleanup(log.removeObserver, self._observe)

    def _end(self) -> None:
        """Every test ends here, before what Buildbot's own test case cleans up."""
        if self.tested_master.is_master_shutdown:
            return
        self._heal()
        self.pass_time(10)
        self.stop_master()
        self.pass_time(30)
        unheard = [line for line in self.lines if line.startswith("Unhandled exception from deferred")]
        assert not unheard, unheard
        assert not self.controller.live, "an instance lives on that nobody wants"
        assert not any(r.waits for r in self.controller.records.values()), "a request that nobody waits for"
        self._assert_no_worker_was_ended()

    def _assert_no_worker_was_ended(self) -> None:
        """By a refusal; but for Buildbot's own of a second one, which stands before the plugin."""
        refusals = {text for guest in self.guests.values() for text in guest.ended_at}
        assert refusals <= {"rejecting duplicate worker"}, refusals

    def _heal(self) -> None:
        self.controller.down = self.controller.mute = False
        for path in list(self.controller._held):
            self.controller.let_through(path)
        for guest in self.guests.values():
            guest.severed, guest.ignores, guest.troubles = False, set(), {}
            if not guest.lives:
                guest.cut()

    # The master.

    def config(self) -> dict[str, Any]:
        """What its master.cfg says."""
        workers = [self.worker_class(name, "secret", **self.options) for name in self.names]
        builders = [
            BuilderConfig(name=name, workernames=names, factory=BuildFactory([self.steps[name].step]))
            for name, names in self.builders.items()
        ]
        return {
            "workers": workers,
            "builders": builders,
            "machines": self.machines,
            "protocols": {"null": {}},
            "multiMaster": True,
            "collapseRequests": False,
            "db_url": "sqlite://",
        }

    def start_master(self, **options: Any) -> None:
        """Starts a master whose workers have these options."""
        self.options = options
        self.done(self.setup_master(self.config()))
        self.addCleanup(self._end)
        self.pass_time(1)

    def reconfigure(self, **options: Any) -> None:
        """It reads its configuration again: the same, but for these options of its workers."""
        self.begin_reconfigure(**options)
        self.pass_time(1)
        assert self.reconfigured.called, "the reconfiguration has not come to its end"
        self.done(self.reconfigured)

    def begin_reconfigure(self, **options: Any) -> None:
        """The same, and its end is not waited for."""
        self.options = {**self.options, **options}
        self.reconfigured = self.reconfig_master(self.config())

    def stop_master(self) -> None:
        """Stops it, as `buildbot stop` does; that comes to its end, whatever its workers were at."""
        stopped = self.tested_master.shutdown()
        self.pass_until(lambda: stopped.called, STOP_S, "the master to stop")
        self.done(stopped)
        # Builds that were being prepared are said to have been stopped.
        self.flushLoggedErrors(LatentWorkerSubstantiatiationCancelled)

    def kill_master(self) -> None:
        """Its process is gone between two instructions."""
        for timer in self.reactor.getDelayedCalls():
            if not self.controller.owns(timer) and not any(g.owns(timer) for g in self.guests.values()):
                timer.cancel()
        self.tested_master.is_master_shutdown = True
        self.master.running = False
        for call in self.controller.calls:
            call.answer = defer.Deferred()
        for guest in self.guests.values():
            guest.orphan()
        self.steps = {name: BuildStepController() for name in self.steps}

    # Time.

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, from one thing that is due to the next."""
        end = self.reactor.seconds() + seconds
        for _ in range(STEPS_MAX):
            due = [call.getTime() for call in self.reactor.getDelayedCalls()]
            following = min(due, default=end)
            if following > end:
                break
            self.reactor.rightNow = max(following, self.reactor.rightNow)
            self.reactor.advance(0)
            if following >= end and not any(
                t <= end for t in (c.getTime() for c in self.reactor.getDelayedCalls())
            ):
                break
        else:
            raise AssertionError("time does not pass: something is due again and again")
        self.reactor.rightNow = end

    def pass_until(self, true: Callable[[], Any], seconds: float, what: str) -> None:
        """Lets time pass until something is true."""
        end = self.reactor.seconds() + seconds
        while not true():
            assert self.reactor.seconds() < end, f"waited {seconds} s in vain for {what}"
            self.pass_time(0.1)

    def done(self, deferred: Any) -> Any:
        """What came of something that has come to its end."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        assert results, "it has not come to its end"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    # Builds.

    def ask(self, builder: str = "b1", **properties: Any) -> int:
        """Somebody wants a build; the id of the request."""
        _, requests = self.done(self.ask_only(builder, **properties))
        self.pass_time(0.1)
        (request,) = requests.values()
        return int(request)

    def ask_only(self, builder: str, **properties: Any) -> Any:
        """The same, and no time passes."""
        updates = self.master.data.updates
        builder_id = self.done(updates.findBuilderId(builder))
        said = {name: (value, "test") for name, value in properties.items()}
        return updates.addBuildset(
            waited_for=False, builderids=[builder_id], sourcestamps=[SOURCE], properties=said
        )

    def builds(self) -> list[Any]:
        """Every build so far."""
        return list(self.done(self.master.db.builds.getBuilds()))

    def results(self) -> list[Optional[int]]:
        """What became of each; None of one that is not over."""
        return [build.results for build in self.builds()]

    def run_build(self, builder: str = "b1") -> None:
        """One build from the wish to its end."""
        self.ask(builder)
        self.pass_until(lambda: self.steps[builder].running, STARTED_S, "a build to run")
        self.finish(builder)

    def finish(self, builder: str = "b1", result: int = SUCCESS) -> None:
        """The step that runs comes to its end, and the build with it."""
        self.steps[builder].finish_step(result)
        self.pass_time(0.5)

    def is_claimed(self, request: int) -> bool:
        """Whether a master has taken on a request."""
        return bool(self.done(self.master.db.buildrequests.getBuildRequest(request)).claimed)

    def stop_build(self, number: int = 1) -> None:
        """Somebody presses a build's stop button."""
        self.done(self.master.data.control("stop", {"reason": "test"}, ("builds", number)))
        self.pass_time(0.1)

    def preparation(self, number: int = 1) -> str:
        """What the step that prepares the worker says of a build."""
        get = self.master.data.get
        step = self.done(get(("builds", number, "steps", "worker_preparation")))
        logs = self.done(get(("steps", step["stepid"], "logs")))
        texts = [self.done(get(("logs", one["logid"], "raw")))["raw"] for one in logs if one["type"] != "h"]
        return "\n".join(texts)

    def property_of(self, name: str, number: int = 1) -> Any:
        """A property of a build, as anybody sees it."""
        properties = self.done(self.master.data.get(("builds", number, "properties")))
        return properties.get(name, (None, None))[0]

    # Workers.

    def worker(self, name: str = "w1") -> Any:
        """The master's object."""
        return self.master.workers.workers[name]

    def seen(self, name: str = "w1") -> dict[str, Any]:
        """What the master's interface says of a worker."""
        return dict(self.done(self.master.data.get(("workers", name))))

    def press(self, action: str, name: str = "w1") -> None:
        """Somebody presses a button on a worker's page: stop, kill, pause or unpause."""
        number = self.worker(name).workerid
        self.done(self.master.data.control(action, {"reason": "test"}, ("workers", number)))
        self.pass_time(0.5)

    @contextmanager
    def free_moment(self, name: str = "w1") -> Iterator[None]:
        """A moment in which a worker is said to be free, whatever it is at."""
        worker = self.worker(name)
        worker.canStartBuild = lambda: True
        try:
            yield
        finally:
            del worker.canStartBuild

    def record(self, name: str = "w1") -> Any:
        """What the controller knows of it."""
        return self.controller.records[name]

    def guest(self, name: str = "w1") -> Guest:
        """The worker on its last instance."""
        return next(guest for guest in reversed(self.guests.values()) if guest.worker == name)

    @property
    def launches(self) -> int:
        """How many instances were launched so far."""
        return len(self.controller.launched)

    def bring_up(self, builder: str = "b1") -> Guest:
        """A build runs; the guest that it runs on."""
        self.ask(builder)
        self.pass_until(lambda: self.steps[builder].running, STARTED_S, "a build to run")
        # The report that says so, and what follows from it.
        self.pass_time(1)
        return self.guest(self.builders[builder][0])

    def bring_up_idle(self) -> Guest:
        """A build has run, and its worker has nothing to do; the guest."""
        guest = self.bring_up()
        self.finish()
        self.pass_time(1)
        return guest

    def logged(self, *kinds: type[BaseException]) -> list[Failure]:
        """The errors of these kinds that were logged, of which there must be one; they count as expected."""
        errors: list[Failure] = self.flushLoggedErrors(*kinds)
        assert errors, f"no {kinds} was logged"
        return errors

    def lost_connection_logged(self) -> None:
        """What Buildbot says of messages that a connection took with it, if there were any."""
        self.flushLoggedErrors(pb.PBConnectionLost, pb.DeadReferenceError, error.ConnectionLost)

    def _launched(self, worker: str, instance: str) -> None:
        guest = self.guests[instance] = Guest(self, worker, instance)
        if self.boots:
            guest.boot(self.boot_s)

    def _ended(self, instance: str) -> None:
        if instance in self.guests:
            self.guests[instance].die()

    def _observe(self, event: dict[str, Any]) -> None:
        self.lines.append(str(log.textFromEventDict(event)))
