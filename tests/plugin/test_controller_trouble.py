"""The controller is silent, late, begun anew, or has lost what it knew."""

from __future__ import annotations

from buildbot.interfaces import LatentWorkerCannotSubstantiate, LatentWorkerFailedToSubstantiate
from case import EXCEPTION, RETRY, STARTED_S, SUCCESS, PluginCase
from fake_record import Policy

QUARANTINE_S = 10


class Silent(PluginCase):
    """Nobody answers."""

    policy = Policy(master_silence=60)

    def test_a_master_that_starts_without_it_works_when_it_is_there(self) -> None:
        self.controller.down = True
        self.start_master()
        self.ask()
        self.pass_time(2)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert "no controller answers on" in self.preparation()
        self.controller.down = False
        self.pass_until(lambda: self.steps["b1"].running, QUARANTINE_S + STARTED_S, "the next try")
        self.finish()
        assert self.results() == [RETRY, SUCCESS]

    def test_a_build_that_runs_is_not_disturbed(self) -> None:
        self.start_master()
        self.bring_up()
        self.controller.cut()
        self.pass_time(1800)
        assert self.results() == [None]
        self.controller.down = False
        self.pass_time(10)
        assert self.record().build == "b1/1"
        self.finish()
        assert self.results() == [SUCCESS]

    def test_nothing_is_begun_on_an_instance_that_the_controller_may_take_away(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.controller.cut()
        self.pass_time(self.policy.master_silence / 2 + 1)
        self.ask()
        self.pass_time(10)
        assert self.results() == [SUCCESS]
        self.controller.down = False
        self.pass_until(lambda: self.steps["b1"].running, 10, "the build, once it was heard")
        assert self.launches == 1

    def test_a_short_silence_keeps_nobody_waiting(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.controller.cut()
        self.pass_time(10)
        self.ask()
        self.pass_time(1)
        assert self.steps["b1"].running

    def test_the_trouble_is_said_once_and_its_end_once(self) -> None:
        self.start_master()
        self.pass_time(10)
        self.controller.cut()
        self.pass_time(120)
        self.controller.down = False
        self.pass_time(10)
        assert sum("no controller answers" in line for line in self.lines) == 1
        assert sum("the controller answers again" in line for line in self.lines) == 1

    def test_it_is_not_asked_without_end(self) -> None:
        self.controller.down = True
        self.start_master()
        before = len(self.controller.calls)
        self.pass_time(600)
        assert len(self.controller.calls) - before < 600, "more than once a second"

    def test_after_a_restart_while_a_start_waits_the_build_comes_to_run(self) -> None:
        self._restarts_while_a_start_waits()
        self.pass_until(lambda: self.steps["b1"].running, 60 + QUARANTINE_S + STARTED_S, "the build")
        self.flushLoggedErrors(LatentWorkerFailedToSubstantiate)
        self.finish()
        assert self.results()[-1] == SUCCESS

    def test_a_restart_while_a_start_waits_costs_no_build_its_instance(self) -> None:
        self._restarts_while_a_start_waits()
        self.pass_until(lambda: self.steps["b1"].running, 60, "the build")
        self.flushLoggedErrors(LatentWorkerFailedToSubstantiate)
        assert self.results() == [None]

    def _restarts_while_a_start_waits(self) -> None:
        self.controller.launch_s = 30
        self.start_master()
        self.ask()
        self.pass_time(10)
        self.controller.cut()
        self.pass_time(2)
        self.controller.down = False

    def test_one_of_another_version_is_told_apart(self) -> None:
        self.start_master()
        self.controller.refuse("/start", "what answers is not a latent controller", "incompatible")
        self.ask()
        self.pass_time(1)
        self.logged(LatentWorkerCannotSubstantiate)
        assert self.results() == [EXCEPTION]

    def test_a_ledger_that_cannot_be_written_is_tried_again(self) -> None:
        self.start_master()
        self.controller.refuse("/start", "the ledger cannot be written: disk full; nothing was done", "ledger")
        self.ask()
        self.pass_time(1)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert "disk full" in self.preparation()
        self.pass_until(lambda: self.steps["b1"].running, QUARANTINE_S + STARTED_S, "the next try")


class LostMemory(PluginCase):
    """The ledger is lost, and begun anew from what lives."""

    def _end(self) -> None:
        """The request that a release names is not known any more: the instance goes by its limits."""
        self.stop_master()
        self.pass_time(self.policy.idle_timeout + self.policy.connect_deadline)
        super()._end()
        assert not self.controller.live

    def _forgets(self) -> None:
        self.controller.cut()
        self.pass_time(5)
        self.controller.forget()
        self.controller.down = False
        self.pass_time(10)

    def test_a_build_that_runs_is_not_disturbed(self) -> None:
        self.start_master()
        self.bring_up()
        self._forgets()
        assert (self.record().state, self.record().build) == ("busy", "b1/1")
        self.finish()
        assert self.results() == [SUCCESS]
        assert self.launches == 1

    def test_an_idle_instance_serves_the_next_build(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self._forgets()
        self.run_build()
        assert self.launches == 1

    def test_an_instance_that_boots_comes_to_its_build(self) -> None:
        self.start_master()
        self.ask()
        self.pass_time(10)
        self._forgets()
        self.pass_until(lambda: self.steps["b1"].running, 60 + STARTED_S, "the build")
        self.finish()
        assert self.results()[-1] == SUCCESS

    def test_news_are_heard_by_the_new_count(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self._forgets()
        self.pass_time(1)
        self.controller.drain("w1")
        # At once, and not with the next report.
        self.pass_time(0.5)
        assert self.worker().conn is None


class Late(PluginCase):
    """Answers that come when nobody waits for them any more."""

    def test_a_report_that_is_answered_late_does_not_bring_back_what_is_over(self) -> None:
        self.start_master(build_wait_timeout=1)
        self.bring_up()
        self.controller.hold("/report")
        self.finish()
        self.pass_time(5)
        self.controller.let_through("/report")
        self.pass_time(10)
        assert self.record().state == "gone"
        assert self.launches == 1
        assert self.worker().conn is None

    def test_what_was_released_is_not_adopted_again_by_an_old_word(self) -> None:
        self.start_master(build_wait_timeout=1)
        self.controller.hold("/release")
        self.bring_up_idle()
        self.pass_time(10)
        self.controller.let_through("/release")
        self.pass_time(10)
        assert len(self.controller.asked("POST", "/start")) == 1
        assert self.record().state == "gone"

    def test_a_controller_that_answers_nothing_for_long_does_not_harm_the_next_builds(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.controller.mute = True
        self.pass_time(600)
        self.controller.mute = False
        self.pass_time(60)
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]


class News(PluginCase):
    """What the controller says is heard at once."""

    def test_an_order_is_heard_within_a_second(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.pass_time(20)
        self.controller.drain("w1")
        self.pass_time(1)
        assert self.record().state in ("terminating", "gone")

    def test_reports_go_on_when_nothing_happens(self) -> None:
        self.start_master()
        self.bring_up_idle()
        before = len(self.controller.asked("POST", "/report"))
        self.pass_time(60)
        reports = len(self.controller.asked("POST", "/report")) - before
        assert 10 <= reports <= 30

    def test_an_unknown_name_is_said_once(self) -> None:
        del self.controller.records["w1"]
        self.start_master()
        self.pass_time(60)
        assert sum("not in the controller's configuration: w1" in line for line in self.lines) == 1
