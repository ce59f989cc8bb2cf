"""A negative build_wait_timeout: the master never lets go by itself, and is told so by nobody else."""

from __future__ import annotations

from case import RETRY, STARTED_S, SUCCESS, PluginCase, buildbot_case
from fake_record import Policy


class NeverLetGo(PluginCase):
    """One worker that stays."""

    policy = Policy(idle_timeout=None)

    def setUp(self) -> None:
        super().setUp()
        self.start_master(build_wait_timeout=-1)

    def test_it_stays(self) -> None:
        self.bring_up_idle()
        self.pass_time(3600)
        assert self.record().state == "ready"
        self.run_build()
        assert self.launches == 1

    @buildbot_case("negative_build_timeout_reattach_substantiated")
    def test_a_lost_connection_comes_back_and_the_instance_is_used_on(self) -> None:
        guest = self.bring_up_idle()
        guest.cut()
        self.pass_time(15)
        assert guest.connected
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]
        assert self.launches == 1

    @buildbot_case("negative_build_timeout_reattach_insubstantiating")
    def test_one_that_comes_back_while_it_is_let_go_is_no_worker_of_the_next_build(self) -> None:
        guest = self.bring_up_idle()
        self.controller.hold("/release")
        ended = self.worker().insubstantiate()
        self.pass_time(1)
        guest.cut()
        self.pass_time(15)
        self.flushLoggedErrors(RuntimeError)
        self.controller.let_through("/release")
        self.pass_time(5)
        self.done(ended)
        assert self.record().state == "gone"
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]
        assert self.launches == 2
        self.flushLoggedErrors(RuntimeError)

    @buildbot_case("negative_build_timeout_no_disconnect_insubstantiating")
    def test_a_build_after_it_was_let_go_runs_on_the_next_instance(self) -> None:
        self.bring_up_idle()
        ended = self.worker().insubstantiate()
        self.pass_time(1)
        self.done(ended)
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]
        assert self.launches == 2

    @buildbot_case("negative_build_timeout_insubstantiates_on_master_shutdown")
    def test_it_goes_when_the_master_stops(self) -> None:
        self.bring_up_idle()
        self.stop_master()
        self.pass_time(5)
        assert not self.controller.live

    def test_the_controllers_drain_is_obeyed(self) -> None:
        self.bring_up_idle()
        self.controller.drain("w1")
        self.pass_time(5)
        assert self.record().state == "gone"
        self.run_build()
        assert self.launches == 2


class AfterAKill(PluginCase):
    """The same, when its master is killed."""

    policy = Policy(idle_timeout=None)

    def setUp(self) -> None:
        super().setUp()
        self.start_master(build_wait_timeout=-1)

    def test_it_is_adopted_and_no_twin_launched(self) -> None:
        self.bring_up_idle()
        self.kill_master()
        self.pass_time(5)
        self.start_master(build_wait_timeout=-1)
        self.run_build()
        assert self.launches == 1
        assert self.results() == [SUCCESS, SUCCESS]

    def test_in_a_build_it_is_adopted_and_the_build_tried_again(self) -> None:
        self.bring_up()
        self.kill_master()
        self.pass_time(60)
        self.start_master(build_wait_timeout=-1)
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the build to run again")
        self.finish()
        assert self.launches == 1
        assert self.results() == [RETRY, SUCCESS]
