"""A build is stopped while its worker is still being prepared."""

from __future__ import annotations

from typing import Any

from buildbot.interfaces import LatentWorkerSubstantiatiationCancelled
from buildbot.process.results import CANCELLED
from case import RETRY, STARTED_S, SUCCESS, PluginCase, buildbot_case


class OneWorker(PluginCase):
    """One worker, one builder."""

    def _ends_with(self, result: int) -> None:
        """The worker is let go, and serves the next build."""
        self.pass_time(2)
        assert self.results()[0] == result
        assert not self.controller.live
        assert self.record().state in ("gone", "requested", "launching")

    def _stop_the_first_when_new(self, result: int) -> None:
        def stop(_: Any, build: dict[str, Any]) -> None:
            if build["buildid"] == 1:
                said = {"reason": "no reason", "results": result}
                self.master.mq.produce(("control", "builds", "1", "stop"), said)

        self.done(self.master.mq.startConsuming(stop, ("builds", None, "new")))

    @buildbot_case("substantiation_is_cancelled_by_build_stop")
    def test_while_its_instance_boots(self) -> None:
        self.start_master()
        self.ask()
        self.pass_time(10)
        self.stop_build()
        self._ends_with(CANCELLED)

    def test_while_its_launch_has_no_outcome(self) -> None:
        self.controller.launch_s = None
        self.start_master()
        self.ask()
        self.pass_time(10)
        self.stop_build()
        self.pass_time(1)
        assert self.results() == [CANCELLED], "it waits for the launch"
        self.controller.launch("w1")
        self._ends_with(CANCELLED)

    def test_while_nobody_answers(self) -> None:
        self.controller.hold("/start")
        self.start_master()
        self.ask()
        self.stop_build()
        self.pass_time(1)
        assert self.results() == [CANCELLED], "it waits for the answer"
        self.controller.let_through("/start")
        self._ends_with(CANCELLED)

    def test_the_next_build_is_not_harmed_by_the_late_answer(self) -> None:
        self.controller.hold("/start")
        self.start_master()
        self.ask()
        self.stop_build()
        self.ask()
        self.pass_time(1)
        self.controller.let_through("/start")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the next build")
        self.finish()
        assert self.results() == [CANCELLED, SUCCESS]

    def test_a_start_that_arrives_after_it_was_taken_back_leaves_nothing(self) -> None:
        self.controller.hold("/start")
        self.start_master()
        self.ask()
        self.stop_build()
        self.pass_time(1)
        assert len(self.controller.asked("POST", "/release")) == 1
        self.controller.let_through("/start")
        # The report says it again: this request is not wanted.
        self.pass_time(10)
        assert self.record().state == "gone"
        assert not self.controller.live

    @buildbot_case("build_stop_with_cancelled_during_substantiation")
    def test_as_soon_as_it_is_there_for_good(self) -> None:
        self.start_master()
        self._stop_the_first_when_new(CANCELLED)
        self.ask()
        # Buildbot itself hears of a stop at this moment only when the worker is there.
        self.pass_time(STARTED_S)
        assert self.results() == [CANCELLED]
        self.run_build()

    @buildbot_case("build_stop_with_retry_during_substantiation")
    def test_as_soon_as_it_is_there_to_be_tried_again(self) -> None:
        self.start_master()
        self._stop_the_first_when_new(RETRY)
        self.ask()
        self.pass_time(STARTED_S)
        assert self.results() == [RETRY, None]
        assert self.steps["b1"].running


class TwoBuilders(PluginCase):
    """Two builders that share a worker."""

    builders = {"b1": ["w1"], "b2": ["w1"]}

    def test_the_one_is_stopped_while_it_is_prepared_and_the_other_runs_afterwards(self) -> None:
        self.start_master()
        self.ask("b1")
        self.ask("b2")
        self.pass_time(10)
        self.stop_build()
        self.pass_until(lambda: self.steps["b2"].running, 2 * STARTED_S, "the other build")
        self.finish("b2")
        assert self.results() == [CANCELLED, SUCCESS]

    def test_two_wait_for_one_instance_and_the_one_is_stopped(self) -> None:
        self.start_master()
        self._let_both_wait()
        self.pass_time(10)
        self.stop_build()
        self.pass_time(1)
        self.flushLoggedErrors(LatentWorkerSubstantiatiationCancelled)
        # Buildbot ends the substantiation for both; what was not stopped is tried again.
        assert self.results()[:2] == [CANCELLED, RETRY]
        self.pass_until(lambda: self.steps["b2"].running, 10 + 2 * STARTED_S, "the other build")
        self.finish("b2")
        assert self.results() == [CANCELLED, RETRY, SUCCESS]

    def _let_both_wait(self) -> None:
        """Both are found to be startable before either is started, as it happens in a busy master."""
        with self.free_moment():
            self.ask("b1")
            self.ask("b2")
        assert self.results() == [None, None]
        assert len(self.controller.asked("POST", "/start")) == 1
