"""The master stops, or is killed, whatever its workers are at; and begins anew."""

from __future__ import annotations

from typing import Any

from buildbot.config.master import MasterConfig
from buildbot.interfaces import LatentWorkerSubstantiatiationCancelled
from case import RETRY, STARTED_S, SUCCESS, PluginCase, buildbot_case
from fake_record import NO_CAPACITY


class Phases:
    """How to bring a worker to each phase of its life."""

    def asking(self: Any) -> None:
        """The start is not answered."""
        self.controller.hold("/start")
        self.ask()
        self.pass_time(1)

    def launching(self: Any) -> None:
        """The launch has no outcome."""
        self.controller.launch_s = None
        self.ask()
        self.pass_time(1)

    def booting(self: Any) -> None:
        """The instance runs, nobody has knocked."""
        self.ask()
        self.pass_time(10)

    def building(self: Any) -> None:
        """A build runs."""
        self.bring_up()

    def idle(self: Any) -> None:
        """Connected, and nothing to do."""
        self.bring_up_idle()

    def letting_go(self: Any) -> None:
        """The release is not answered."""
        self.controller.hold("/release")
        self.bring_up_idle()
        self.worker()._soft_disconnect()
        self.pass_time(1)

    def wanted_again(self: Any) -> None:
        """The release is not answered, and a build waits for the next instance."""
        self.letting_go()
        self.ask()
        self.pass_time(1)


class Stops(PluginCase, Phases):
    """`buildbot stop`: within seconds, and nothing is left that costs."""

    def _stops_from(self, phase: Any) -> None:
        self.start_master()
        phase()
        stopped = self.tested_master.shutdown()
        # A build that runs is killed after 5 s.
        self.pass_time(10)
        assert stopped.called, "the master does not stop while this lasts"
        self.done(stopped)
        for path in list(self.controller._held):
            self.controller.let_through(path)
        if self.record().state == "launching" and self.controller.launch_s is None:
            self.controller.launch("w1")
        self.pass_time(5)
        assert not self.controller.live
        self.assert_let_go()

    def assert_let_go(self) -> None:
        """The controller was told, or will see by itself."""
        assert self.record().state in ("gone", "requested"), self.record()

    def test_while_the_launch_has_no_outcome(self) -> None:
        self._stops_from(self.launching)

    def test_while_the_instance_boots(self) -> None:
        self._stops_from(self.booting)

    def test_while_a_build_runs(self) -> None:
        self._stops_from(self.building)

    def test_while_it_is_idle(self) -> None:
        self._stops_from(self.idle)

    def test_while_nothing_was_ever_asked(self) -> None:
        self._stops_from(lambda: None)

    def test_while_a_build_is_in_quarantine(self) -> None:
        self.controller.fates = [NO_CAPACITY]
        self.start_master()
        self.ask()
        self.pass_time(5)
        self.flushLoggedErrors()
        self.stop_master()

    def test_while_the_controller_is_down(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.controller.cut()
        stopped = self.tested_master.shutdown()
        self.pass_time(10)
        assert stopped.called
        # What was idle goes when its master has been silent for long.
        self.controller.down = False
        self.pass_time(self.policy.idle_timeout + self.policy.master_silence + 10)
        assert not self.controller.live

    def test_while_the_controller_does_not_answer(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.controller.mute = True
        stopped = self.tested_master.shutdown()
        self.pass_time(90)
        assert stopped.called
        self.controller.mute = False
        self.pass_time(self.policy.idle_timeout + self.policy.master_silence + 10)

    def test_after_a_connection_that_died_in_silence(self) -> None:
        self.start_master()
        guest = self.bring_up_idle()
        guest.severed = True
        stopped = self.tested_master.shutdown()
        self.pass_time(5)
        guest.cut()
        self.pass_time(5)
        assert stopped.called
        self.lost_connection_logged()


class Removed(PluginCase, Phases):
    """A worker is taken out of the configuration; that waits for it, and comes to its end."""

    def _remove_all(self) -> Any:
        config = MasterConfig.loadFromDict({"workers": [], "multiMaster": True}, "<dict>")
        return self.master.workers.reconfigServiceWithBuildbotConfig(config)

    @buildbot_case("stopservice_during_insubstantiation_completes")
    def test_while_it_is_let_go(self) -> None:
        self.start_master()
        self.letting_go()
        removed = self._remove_all()
        self.pass_time(1)
        assert not removed.called
        self.controller.let_through("/release")
        self.pass_time(1)
        self.done(removed)
        assert self.record().state == "gone"

    @buildbot_case("stopservice_during_substantiation_completes[with_substantiation_failure]")
    def test_while_its_launch_is_about_to_fail(self) -> None:
        self.start_master()
        self.launching()
        removed = self._remove_all()
        self.controller.fail("w1", NO_CAPACITY)
        self.pass_time(2)
        self.done(removed)
        self.flushLoggedErrors()
        assert self.record().state == "gone"

    @buildbot_case("stopservice_during_substantiation_completes[without_worker_connecting]")
    def test_while_its_instance_boots(self) -> None:
        self.boots = False
        self.start_master()
        self.booting()
        removed = self._remove_all()
        self.pass_time(2)
        self.done(removed)
        self.flushLoggedErrors()
        assert self.record().state == "gone"

    @buildbot_case("stopservice_during_substantiation_completes[with_worker_connecting]")
    def test_while_its_worker_connects(self) -> None:
        self.start_master()
        self.ask()
        self.pass_time(2.5)
        self.guest().ignores = {"builders"}
        self.pass_time(STARTED_S)
        assert self.worker().conn is not None
        removed = self._remove_all()
        self.guest().cut()
        self.pass_time(5)
        self.done(removed)
        self.lost_connection_logged()
        self.flushLoggedErrors()
        assert self.record().state == "gone"

    def test_while_the_start_is_not_answered(self) -> None:
        self.start_master()
        self.asking()
        removed = self._remove_all()
        self.pass_time(1)
        self.done(removed)
        self.flushLoggedErrors()
        # Nobody speaks of it any more: what the late start brings ends with connect_deadline.
        self.controller.let_through("/start")
        self.pass_time(self.policy.connect_deadline + 10)
        assert self.record().state == "gone"

    def test_the_quarantine_of_its_last_build_ends_in_peace(self) -> None:
        self.start_master()
        self.asking()
        removed = self._remove_all()
        self.pass_time(1)
        self.done(removed)
        self.logged(LatentWorkerSubstantiatiationCancelled)
        # There is no master for it any more when that time is over; what it raised then would be found.
        self.pass_time(60)
        self.controller.let_through("/start")
        self.pass_time(self.policy.connect_deadline + 10)


class Killed(PluginCase, Phases):
    """SIGKILL; its next life finds what there is, adopts what lives and launches no twin."""

    def _goes_on_after(self, phase: Any, away: float = 5) -> None:
        self.start_master()
        phase()
        self.kill_master()
        self.pass_time(away)
        self.controller.launch_s = 2.0
        for path in list(self.controller._held):
            self.controller.let_through(path)
        if self.record().state == "launching":
            self.controller.launch("w1")
        self.start_master()
        self.pass_time(3)

    def _one_instance_serves(self, results: list[int]) -> None:
        self.pass_until(lambda: self.steps["b1"].running, 2 * STARTED_S, "the build to run")
        self.finish()
        assert self.results() == results
        assert self.launches == 1

    def test_while_the_start_was_not_answered(self) -> None:
        self._goes_on_after(self.asking)
        self._one_instance_serves([RETRY, SUCCESS])

    def test_while_the_launch_had_no_outcome(self) -> None:
        self._goes_on_after(self.launching)
        self._one_instance_serves([RETRY, SUCCESS])

    def test_while_the_instance_booted(self) -> None:
        self._goes_on_after(self.booting)
        self._one_instance_serves([RETRY, SUCCESS])

    def test_while_a_build_ran(self) -> None:
        self._goes_on_after(self.building)
        self._one_instance_serves([RETRY, SUCCESS])

    def test_while_it_was_idle(self) -> None:
        self._goes_on_after(self.idle)
        self.ask()
        self._one_instance_serves([SUCCESS, SUCCESS])

    def test_while_it_was_let_go(self) -> None:
        self._goes_on_after(self.letting_go)
        self.ask()
        self.pass_until(lambda: self.steps["b1"].running, 2 * STARTED_S, "the build to run")
        self.finish()
        assert self.results() == [SUCCESS, SUCCESS]

    def test_in_the_middle_of_a_stop(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.controller.hold("/release")
        self.tested_master.shutdown()
        self.pass_time(1)
        self.kill_master()
        self.controller.let_through("/release")
        self.pass_time(5)
        assert not self.controller.live
        self.start_master()
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]

    def test_one_that_is_adopted_and_never_given_a_build_goes_when_it_is_idle(self) -> None:
        self._goes_on_after(self.idle)
        self.pass_time(20)
        assert self.guest().connected
        self.pass_time(self.policy.idle_timeout + 10)
        assert self.record().state == "gone"
        assert len(self.controller.asked("POST", "/release")) == 1

    def test_a_worker_that_knocks_before_the_first_report_is_let_in(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.kill_master()
        self.controller.hold("/report")
        self.start_master()
        self.pass_time(20)
        assert self.guest().connected
        self.controller.let_through("/report")
        self.run_build()
        assert self.launches == 1

    def test_one_that_was_to_go_is_not_adopted(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.kill_master()
        self.controller.drain("w1")
        self.start_master()
        self.pass_time(20)
        assert self.record().state == "gone"
        self.run_build()
        assert self.launches == 2

    def test_master_and_controller_both(self) -> None:
        self.start_master()
        self.bring_up()
        self.kill_master()
        self.controller.cut()
        self.pass_time(10)
        self.controller.down = False
        self.controller.forget()
        self.start_master()
        self._one_instance_serves([RETRY, SUCCESS])
