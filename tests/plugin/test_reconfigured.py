"""The master reads its configuration again, at any time."""

from __future__ import annotations

from buildbot.interfaces import LatentWorkerSubstantiatiationCancelled
from case import CANCELLED, RETRY, STARTED_S, SUCCESS, PluginCase, buildbot_case
from fake_record import Record


class AnOption(PluginCase):
    """An option of the worker changes."""

    def _shuts_down_cleanly(self) -> None:
        ended = self.clean_master_shutdown(quick=True)
        self.pass_time(10)
        self.done(ended)
        self.flushLoggedErrors(LatentWorkerSubstantiatiationCancelled)
        # The step of the test package calls its interruption a cancellation.
        assert self.results()[0] in (RETRY, CANCELLED)
        self.stop_master()
        self.pass_time(5)
        assert self.record().state == "gone"

    @buildbot_case("reconfigservice_during_substantiation_clean_shutdown_after[before_start_instance_no_worker]")
    def test_before_the_launch_and_nobody_connects(self) -> None:
        self.boots = False
        self.controller.launch_s = None
        self.start_master()
        self.ask()
        self.pass_time(1)
        self.reconfigure(max_builds=3)
        self.controller.launch("w1")
        self.pass_time(1)
        assert self.worker().max_builds == 3
        assert self.worker().password == "secret"
        self._shuts_down_cleanly()

    @buildbot_case("reconfigservice_during_substantiation_clean_shutdown_after[before_start_instance_with_worker]")
    def test_before_the_launch_and_the_worker_connects(self) -> None:
        self.controller.launch_s = None
        self.start_master()
        self.ask()
        self.pass_time(1)
        self.reconfigure(max_builds=3)
        self.controller.launch("w1")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the build")
        self._shuts_down_cleanly()

    @buildbot_case("reconfigservice_during_substantiation_clean_shutdown_after[after_start_instance_no_worker]")
    def test_after_the_launch_and_nobody_connects(self) -> None:
        self.boots = False
        self.start_master()
        self.ask()
        self.pass_time(10)
        self.reconfigure(max_builds=3)
        self.pass_time(1)
        self._shuts_down_cleanly()

    @buildbot_case("reconfigservice_during_substantiation_clean_shutdown_after[after_start_instance_with_worker]")
    def test_after_the_launch_and_the_worker_connects(self) -> None:
        self.start_master()
        self.ask()
        self.pass_time(10)
        self.reconfigure(max_builds=3)
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the build")
        self._shuts_down_cleanly()

    def test_a_build_that_runs_is_not_disturbed(self) -> None:
        self.start_master()
        self.bring_up()
        self.reconfigure(max_builds=3, build_wait_timeout=30, properties={"colour": "red"})
        self.pass_time(60)
        assert self.results() == [None]
        self.finish()
        assert self.results() == [SUCCESS]
        assert self.launches == 1

    def test_the_next_build_still_names_its_instance(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.reconfigure(properties={"colour": "red"})
        self.run_build()
        assert self.property_of("colour", 2) == "red"
        assert self.property_of("instance", 2) == "i-1"

    def test_another_idle_time_holds_from_the_next_build_on(self) -> None:
        self.start_master(build_wait_timeout=300)
        self.bring_up_idle()
        self.reconfigure(build_wait_timeout=20)
        self.run_build()
        self.pass_time(25)
        assert self.record().state == "gone"

    def test_while_it_is_let_go(self) -> None:
        self.start_master(build_wait_timeout=1)
        self.controller.hold("/release")
        self.bring_up_idle()
        self.pass_time(1)
        self.reconfigure(max_builds=3)
        self.controller.let_through("/release")
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]

    def test_while_the_controller_is_down(self) -> None:
        self.start_master()
        self.controller.cut()
        self.reconfigure(max_builds=3)
        self.controller.down = False
        self.pass_time(6)
        self.run_build()
        assert self.results() == [SUCCESS]

    def test_a_new_password_is_asked_of_the_next_that_knocks(self) -> None:
        self.start_master()
        self.bring_up()
        self.reconfigure(missing_timeout=77)
        worker = self.worker()
        assert worker.missing_timeout == 77
        assert self.guest().connected

    def test_nothing_changed_and_nothing_happens(self) -> None:
        self.start_master()
        self.bring_up_idle()
        before = len(self.controller.asked("POST", "/start"))
        worker = self.worker()
        self.reconfigure()
        assert self.worker() is worker
        assert len(self.controller.asked("POST", "/start")) == before
        assert self.guest().connected


class Builders(PluginCase):
    """Builders come and go."""

    def _builders(self, **builders: list[str]) -> None:
        self.builders = builders
        self.reconfigure()
        self.pass_time(2)

    def test_one_that_is_removed_and_comes_back_is_served(self) -> None:
        self.start_master()
        self.run_build()
        self._builders(b2=["w1"])
        self._builders(b1=["w1"], b2=["w1"])
        self.run_build("b1")
        self.run_build("b2")
        assert self.results() == [SUCCESS, SUCCESS, SUCCESS]

    def test_the_only_one_is_removed_and_comes_back_and_is_served(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self._builders()
        self._builders(b1=["w1"])
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]

    def test_one_that_is_removed_and_comes_back_while_its_worker_is_prepared(self) -> None:
        self.start_master()
        self.ask()
        self.pass_time(10)
        self._goes_and_comes_back()
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the build of the one that went")
        self._serves_again()

    def test_one_that_is_removed_and_comes_back_while_it_builds(self) -> None:
        self.start_master()
        self.bring_up()
        self._goes_and_comes_back()
        self._serves_again()

    def _goes_and_comes_back(self) -> None:
        self._builders(b2=["w1"])
        self._builders(b1=["w1"], b2=["w1"])

    def _serves_again(self) -> None:
        self.finish()
        # Buildbot itself cannot record the end of a build whose builder is gone.
        self.logged(AttributeError)
        self.run_build("b2")
        self.run_build("b1")

    def test_one_more_is_served_by_the_instance_that_is_there(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self._builders(b1=["w1"], b2=["w1"])
        self.run_build("b2")
        assert self.launches == 1

    def test_one_moves_to_another_worker_and_back(self) -> None:
        self.controller.records["w2"] = Record("w2", self.policy)
        self.start_master()
        self.run_build()
        self.names = ("w1", "w2")
        self._builders(b1=["w2"])
        self.run_build()
        self._builders(b1=["w1"])
        self.run_build()
        assert [worker for worker, _ in self.controller.launched] == ["w1", "w2"]
        assert self.results() == [SUCCESS] * 3


class Workers(PluginCase):
    """A worker is removed and comes back."""

    def test_its_instance_goes_with_it(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self._without_it()
        self.pass_time(5)
        assert not self.controller.live

    def test_it_comes_back_and_serves(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self._without_it()
        self.pass_time(5)
        self.names, self.builders = ("w1",), {"b1": ["w1"]}
        self.reconfigure()
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]
        assert self.launches == 2

    def test_its_build_is_tried_again_on_another(self) -> None:
        self.controller.records["w2"] = Record("w2", self.policy)
        self.start_master()
        self.bring_up()
        self.names, self.builders = ("w2",), {"b1": ["w2"]}
        self.begin_reconfigure()
        self.pass_time(10)
        self.done(self.reconfigured)
        assert self.record("w1").state == "gone"
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the next try")
        self.finish()
        assert self.results()[-1] == SUCCESS

    def _without_it(self) -> None:
        self.names, self.builders = (), {}
        self.begin_reconfigure()
        self.pass_time(5)
        self.done(self.reconfigured)
