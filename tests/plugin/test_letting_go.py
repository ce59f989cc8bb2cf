"""An instance is let go, and what may come meanwhile."""

from __future__ import annotations

import pytest
from buildbot.test.util.patch_delay import patchForDelay
from case import RETRY, STARTED_S, SUCCESS, PluginCase, buildbot_case
from fake_record import Policy
from twisted.internet import defer

DISCONNECT = "buildbot.worker.base.AbstractWorker.disconnect"
START_BUILD = "buildbot.process.builder.Builder.maybeStartBuild"


class IdleTime(PluginCase):
    """When an instance that has nothing to do goes."""

    policy = Policy(idle_timeout=120)

    def test_the_policy_of_the_controller_says_when(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.pass_time(110)
        assert self.record().state == "ready"
        self.pass_time(15)
        assert self.record().state == "gone"
        assert len(self.controller.asked("POST", "/release")) == 1

    def test_the_master_may_say_it_sooner(self) -> None:
        self.start_master(build_wait_timeout=20)
        self.bring_up_idle()
        self.pass_time(25)
        assert self.record().state == "gone"

    def test_nothing_at_all_is_an_instance_for_each_build(self) -> None:
        self.start_master(build_wait_timeout=0)
        self.run_build()
        self.pass_time(3)
        assert self.record().state == "gone"
        self.run_build()
        assert self.launches == 2
        assert self.results() == [SUCCESS, SUCCESS]

    def test_a_build_stops_the_clock(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.pass_time(110)
        self.ask()
        self.pass_time(500)
        assert self.record().state == "busy"
        self.finish()
        assert self.launches == 1

    def test_a_new_policy_holds_for_the_next_idle_time(self) -> None:
        self.start_master()
        self.bring_up()
        self.policy_now(300)
        self.finish()
        self.pass_time(200)
        assert self.record().state == "ready"
        self.pass_time(110)
        assert self.record().state == "gone"

    def policy_now(self, idle: float) -> None:
        """The owner changes the policy file."""
        self.record().policy = Policy(idle_timeout=idle)
        self.controller.policy = self.record().policy
        self.pass_time(6)


class NoIdleLimit(PluginCase):
    """A policy by which an idle instance stays."""

    policy = Policy(idle_timeout=None)

    def test_it_stays_and_serves_the_next_build(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.pass_time(3600)
        assert self.record().state == "ready"
        self.run_build()
        assert self.launches == 1


class OneWorker(PluginCase):
    """An instance that is idle for a second is let go."""

    def setUp(self) -> None:
        super().setUp()
        self.start_master(build_wait_timeout=1)

    def _serves_again(self, results: tuple[int, ...] = (SUCCESS, SUCCESS)) -> None:
        self.pass_until(lambda: self.steps["b1"].running, 10 + 2 * STARTED_S, "the next build")
        self.finish()
        assert self.results() == list(results)

    @buildbot_case("very_late_detached_after_substantiation")
    def test_the_old_connection_ends_only_when_the_next_worker_knocks(self) -> None:
        old = self.bring_up_idle()
        old.severed = True
        self.pass_time(5)
        assert self.record().state == "gone"
        self.ask()
        self.pass_time(10)
        old.cut()
        self._serves_again()
        self.lost_connection_logged()

    @buildbot_case("substantiation_during_stop_instance")
    def test_a_build_comes_while_the_release_is_not_answered(self) -> None:
        self.controller.hold("/release")
        guest = self.bring_up_idle()
        self.pass_time(1)
        guest.cut()
        self.ask()
        self.pass_time(2)
        self.controller.let_through("/release")
        self._serves_again()

    @buildbot_case("substantiation_during_stop_instance_canStartBuild_race")
    def test_a_build_that_was_chosen_before_comes_while_it_is_let_go(self) -> None:
        self.controller.hold("/release")
        self.bring_up_idle()
        self.pass_time(1)
        with patchForDelay(START_BUILD) as delay:
            self.ask()
            assert len(delay) == 1
            self.pass_time(1)
            delay.fire()
            self.controller.let_through("/release")
        self._serves_again()

    @buildbot_case("insubstantiation_during_substantiation_refuses_substantiation")
    def test_a_start_that_is_taken_back_at_once(self) -> None:
        self.ask()
        ended = self.worker().insubstantiate()
        self.pass_time(1)
        self.done(ended)
        assert self.results()[0] == RETRY
        self._serves_again((RETRY, SUCCESS))

    @buildbot_case("substantiation_cancelled_by_insubstantiation_when_waiting_for_insubstantiation")
    def test_a_build_that_waits_for_the_end_is_cancelled_with_it(self) -> None:
        self.controller.hold("/release")
        self.bring_up_idle()
        self.pass_time(1)
        self.ask()
        ended = self.worker().insubstantiate()
        self.controller.let_through("/release")
        self.pass_time(1)
        self.done(ended)
        self.pass_time(1)
        assert self.results()[1] == RETRY
        self._serves_again((SUCCESS, RETRY, SUCCESS))

    @buildbot_case("sever_connection_during_insubstantiation")
    def test_the_connection_is_dead_when_it_is_let_go(self) -> None:
        guest = self.bring_up()
        self.finish()
        with patchForDelay(DISCONNECT) as delay:
            self.pass_time(1)
            guest.severed = True
            delay.fire()
        self.pass_time(100)
        guest.cut()
        self.pass_time(1)
        self.ask()
        self._serves_again()
        self.lost_connection_logged()

    @buildbot_case("sever_connection_during_insubstantiation_and_buildrequest")
    def test_the_connection_is_dead_when_it_is_let_go_and_a_build_waits(self) -> None:
        guest = self.bring_up()
        self.finish()
        with patchForDelay(DISCONNECT) as delay:
            self.pass_time(1)
            self.ask()
            guest.severed = True
            delay.fire()
        self.pass_time(100)
        guest.cut()
        self._serves_again()
        self.lost_connection_logged()

    @buildbot_case("stop_instance_synchronous_exception")
    def test_a_stop_that_raises_does_not_keep_the_next_build_away(self) -> None:
        self.bring_up()

        def explode(fast: bool) -> defer.Deferred:
            raise ValueError("no stop today")

        self.worker().stop_instance = explode
        self.finish()
        self.pass_time(3)
        self.logged(ValueError)
        del self.worker().stop_instance
        self.ask()
        self._serves_again()

    def test_a_release_that_fails_again_and_again_is_said_by_the_reports(self) -> None:
        self.controller.hold("/release")
        self.bring_up_idle()
        self.controller.let_through("/release")
        for _ in range(3):
            self.controller.refuse("/release", "the ledger cannot be written: disk full", "ledger")
        self.pass_time(10)
        assert self.record().state == "gone"
        assert not self.controller.live
        self.ask()
        self._serves_again()

    def test_a_controller_that_is_down_hears_the_release_when_it_is_back(self) -> None:
        self.bring_up()
        self.controller.cut()
        self.finish()
        self.pass_time(120)
        assert self.controller.live
        self.controller.down = False
        self.pass_time(10)
        assert not self.controller.live
        self.ask()
        self._serves_again()

    def test_nobody_is_left_to_be_launched_for(self) -> None:
        self.bring_up_idle()
        self.pass_time(600)
        assert self.launches == 1
        assert self.record().state == "gone"


class Drained(PluginCase):
    """The controller says that an instance shall go."""

    def test_an_idle_one_goes_at_once(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.controller.drain("w1")
        self.pass_time(3)
        assert self.record().state == "gone"

    def test_a_build_is_brought_to_its_end_first_and_no_other_begun(self) -> None:
        self.start_master()
        self.bring_up()
        self.controller.drain("w1")
        self.ask()
        self.pass_time(300)
        assert self.results() == [None], "the build was disturbed, or another one begun"
        self.finish()
        self.pass_time(STARTED_S)
        assert self.launches == 2
        assert self.results() == [SUCCESS, None]
        assert self.steps["b1"].running

    def test_a_build_that_an_interruption_took_is_tried_again_on_another_instance(self) -> None:
        self.start_master()
        self.bring_up()
        self.controller.drain("w1", interrupted=True)
        self.pass_time(120)
        assert self.results() == [None], "the two minutes are the build's"
        self.controller.lose("w1")
        self.lost_connection_logged()
        self.pass_time(2 * STARTED_S)
        assert self.results() == [RETRY, None]
        assert self.launches == 2
        self.finish()
        assert self.property_of("instance", 2) == "i-2"

    def test_a_worker_that_knocks_on_an_instance_that_shall_go_is_turned_away(self) -> None:
        self.start_master()
        guest = self.bring_up_idle()
        guest.cut()
        self.controller.drain("w1")
        self.pass_time(20)
        assert self.record().state == "gone"
        self.run_build()
        assert self.launches == 2

    def test_an_instance_that_somebody_ends_is_replaced(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.controller.lose("w1")
        self.pass_time(10)
        self.run_build()
        assert self.launches == 2
        assert self.results() == [SUCCESS, SUCCESS]

    def test_an_instance_that_stopped_itself_is_no_worker(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.controller.stop_seen("w1")
        self.pass_time(10)
        assert self.worker().conn is None
        assert not self.record().attached
        self.controller.end("i-1")
        self.record().move("gone", self.reactor.seconds())
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]


def test_names_are_of_this_suite() -> None:
    """A delay that patches nothing would prove nothing."""
    for path in (DISCONNECT, START_BUILD):
        module, kind, name = path.rsplit(".", 2)
        assert hasattr(getattr(pytest.importorskip(module), kind), name)
