"""What people do to a worker on its page, and what CPython's downtime helper does to it."""

from __future__ import annotations

from buildbot.interfaces import LatentWorkerFailedToSubstantiate
from case import RETRY, STARTED_S, SUCCESS, PluginCase
from fake_record import NO_CAPACITY


class GracefulStop(PluginCase):
    """The stop button: the worker shall end when its build is done."""

    def test_of_an_idle_one_and_the_next_build_gets_a_new_instance(self) -> None:
        self.start_master()
        self.restarts = False
        self.bring_up_idle()
        self.guest().restarts = False
        self.press("stop")
        self.pass_time(30)
        assert not self.controller.live, "its instance lives on"
        assert not self.seen()["graceful"]
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]

    def test_of_one_whose_service_manager_starts_it_again(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.press("stop")
        self.pass_time(60)
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]

    def test_of_one_that_builds_waits_for_the_build(self) -> None:
        self.start_master()
        self.bring_up()
        self.guest().restarts = False
        self.press("stop")
        self.ask()
        self.pass_time(300)
        assert self.results() == [None], "the build was disturbed, or another one begun"
        self.finish()
        self.pass_until(lambda: self.steps["b1"].running, 30 + STARTED_S, "the next build")
        self.finish()
        assert self.launches == 2
        assert self.results() == [SUCCESS, SUCCESS]

    def test_of_one_that_has_no_instance_does_no_harm(self) -> None:
        self.start_master()
        self.press("stop")
        self.pass_time(5)
        self.run_build()
        assert self.results() == [SUCCESS]

    def test_of_one_that_is_being_prepared(self) -> None:
        self.start_master()
        self.ask()
        self.pass_time(10)
        self.press("stop")
        self.pass_time(STARTED_S)
        assert self.steps["b1"].running
        self.finish()
        self.run_build()

    def test_the_controller_is_told_that_it_leaves(self) -> None:
        self.start_master()
        self.bring_up()
        self.press("stop")
        self.pass_time(6)
        assert self.record().leaving


class Kill(PluginCase):
    """The kill button: the worker's process ends now."""

    def test_an_idle_one_serves_again(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.press("kill")
        self.pass_time(1)
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]

    def test_its_build_is_tried_again(self) -> None:
        self.start_master()
        self.bring_up()
        self.press("kill")
        self.pass_time(1)
        self.lost_connection_logged()
        self.pass_until(lambda: self.steps["b1"].running, 2 * STARTED_S, "the next try")
        self.finish()
        assert self.results() == [RETRY, SUCCESS]

    def test_the_instance_of_one_that_stays_away_goes(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.guest().restarts = False
        self.press("kill")
        self.pass_time(max(self.policy.idle_timeout, self.policy.connect_deadline) + 10)
        assert self.record().state == "gone"

    def test_one_without_a_connection_does_no_harm(self) -> None:
        self.start_master()
        self.press("kill")
        self.run_build()
        assert self.results() == [SUCCESS]


class Pause(PluginCase):
    """The pause button: no build is begun, and what runs goes on."""

    def test_nothing_is_launched_for_a_paused_one(self) -> None:
        self.start_master()
        self.press("pause")
        self.ask()
        self.pass_time(60)
        assert self.launches == 0
        assert self.results() == []
        self.press("unpause")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the build")

    def test_a_build_that_runs_is_not_disturbed(self) -> None:
        self.start_master()
        self.bring_up()
        self.press("pause")
        self.ask()
        self.pass_time(60)
        self.finish()
        self.pass_time(60)
        assert self.results() == [SUCCESS]
        self.press("unpause")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the next build")

    def test_a_paused_one_that_is_idle_is_let_go(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.press("pause")
        self.pass_time(self.policy.idle_timeout + 10)
        assert self.record().state == "gone"
        self.press("unpause")
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]

    def test_unpause_ends_a_quarantine(self) -> None:
        self.controller.fates = [NO_CAPACITY]
        self.start_master()
        self.ask()
        self.pass_time(3)
        self.logged(LatentWorkerFailedToSubstantiate)
        self.press("pause")
        self.press("unpause")
        assert self.record().state in ("requested", "launching"), "it waits for the quarantine's end"


class Downtime(PluginCase):
    """CPython's helper keeps a worker away for a while with the quarantine, from `canStartBuild`."""

    def _keep_away(self, seconds: float) -> None:
        worker = self.worker()
        worker.quarantine_timeout = seconds
        worker.putInQuarantine()
        worker.resetQuarantine()

    def test_nothing_begins_before_its_end(self) -> None:
        self.start_master()
        self._keep_away(3600)
        self.ask()
        self.pass_time(3500)
        assert self.launches == 0
        self.pass_time(105)
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the build")

    def test_a_build_that_runs_is_not_disturbed_and_the_instance_goes_when_idle(self) -> None:
        self.start_master()
        self.bring_up()
        self._keep_away(3600)
        self.pass_time(60)
        self.finish()
        self.pass_time(self.policy.idle_timeout + 10)
        assert self.results() == [SUCCESS]
        assert self.record().state == "gone"

    def test_the_next_quarantine_begins_small_again(self) -> None:
        self.start_master()
        self._keep_away(60)
        self.pass_time(65)
        self.controller.fates = [NO_CAPACITY]
        self.ask()
        self.pass_time(5)
        self.logged(LatentWorkerFailedToSubstantiate)
        self.pass_until(lambda: self.steps["b1"].running, 10 + STARTED_S, "the next try")


class LongTrouble(PluginCase):
    """Capacity that is away for hours."""

    def test_when_it_is_back_the_build_does_not_wait_an_hour_for_a_quarantine(self) -> None:
        self.start_master()
        self.controller.fates = [NO_CAPACITY] * 1000
        self.ask()
        self.pass_time(3 * 3600)
        self.logged(LatentWorkerFailedToSubstantiate)
        self.controller.fates = []
        self.pass_until(lambda: self.steps["b1"].running, 600 + STARTED_S, "the build")
