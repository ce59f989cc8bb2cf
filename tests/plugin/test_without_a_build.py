"""Instances that no build asked for, and builds that need another kind of instance."""

from __future__ import annotations

from typing import Any

from buildbot.process.properties import Interpolate
from buildbot_latent.worker import LatentEC2Worker
from case import STARTED_S, SUCCESS, PluginCase, buildbot_case
from twisted.internet import defer


class NoBuild(PluginCase):
    """Buildbot lets a worker be brought up without a build; so are instances adopted."""

    @buildbot_case("supports_no_build_for_substantiation")
    def test_it_is_brought_up_and_let_go(self) -> None:
        self.start_master()
        up = self.worker().substantiate(None, None)
        self.pass_time(STARTED_S)
        assert self.done(up) is True
        down = self.worker().insubstantiate()
        self.pass_time(5)
        self.done(down)
        assert self.record().state == "gone"

    @buildbot_case("supports_no_build_for_substantiation_accepts_build_later")
    def test_a_later_build_runs_on_it(self) -> None:
        self.start_master(build_wait_timeout=1)
        up = self.worker().substantiate(None, None)
        self.pass_until(lambda: up.called, STARTED_S, "the worker")
        self.ask()
        self.pass_time(0.5)
        assert self.steps["b1"].running
        self.finish()
        self.pass_time(3)
        assert self.results() == [SUCCESS]
        assert self.launches == 1
        assert self.record().state == "gone"

    def test_one_that_never_gets_a_build_goes_when_it_is_idle(self) -> None:
        self.start_master(build_wait_timeout=30)
        self.worker().substantiate(None, None)
        self.pass_time(STARTED_S)
        assert self.record().state == "ready"
        self.pass_time(30)
        assert self.record().state == "gone"

    def test_with_no_idle_time_at_all_it_goes_with_the_controllers_word(self) -> None:
        self.start_master(build_wait_timeout=0)
        self.worker().substantiate(None, None)
        self.pass_time(STARTED_S + self.policy.idle_timeout + 10)
        assert self.record().state == "gone"


class KindWorker(LatentEC2Worker):
    """A worker whose instances are of the kind that the first build asks for, as a subclass may do it."""

    builds_may_be_incompatible = True
    kind: Any = None

    @defer.inlineCallbacks
    def start_instance(self, build: Any) -> Any:
        self.kind = yield build.render(Interpolate("%(prop:kind)s"))
        started = yield super().start_instance(build)
        return started

    @defer.inlineCallbacks
    def stop_instance(self, fast: bool = False) -> Any:
        yield super().stop_instance(fast)
        self.kind = None

    @defer.inlineCallbacks
    def isCompatibleWithBuild(self, build_props: Any) -> Any:
        asked = yield build_props.render(Interpolate("%(prop:kind)s"))
        return self.kind in (None, asked)


class Kinds(PluginCase):
    """Builds that need one kind of instance or the other."""

    worker_class = KindWorker

    @buildbot_case("rejects_build_on_instance_with_different_type_timeout_zero")
    def test_the_other_kind_comes_when_the_first_has_gone(self) -> None:
        self._first_then_other(build_wait_timeout=0)
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the other kind")
        self._other_ran()

    @buildbot_case("rejects_build_on_instance_with_different_type_timeout_nonzero")
    def test_the_other_kind_waits_until_the_first_is_idle_for_long_enough(self) -> None:
        self._first_then_other(build_wait_timeout=20)
        self.pass_time(15)
        assert len(self.results()) == 1, "it began on an instance of the wrong kind"
        self.pass_until(lambda: self.steps["b1"].running, 10 + STARTED_S, "the other kind")
        self._other_ran()

    def _first_then_other(self, build_wait_timeout: float) -> None:
        self.start_master(build_wait_timeout=build_wait_timeout)
        self.ask(kind="a")
        self.pass_time(STARTED_S)
        assert self.worker().kind == "a"
        self.ask(kind="b")
        self.finish()

    def _other_ran(self) -> None:
        assert self.worker().kind == "b"
        self.finish()
        assert self.results() == [SUCCESS, SUCCESS]
        assert self.launches == 2
