"""Workers of a latent machine: Buildbot's own, which wakes a host, here in the form that its test package has."""

from __future__ import annotations

from typing import Any

from buildbot.interfaces import LatentWorkerFailedToSubstantiate, LatentWorkerSubstantiatiationCancelled
from buildbot.machine.latent import States
from buildbot.process.results import FAILURE
from buildbot.test.fake.machine import LatentMachineController
from buildbot_latent.worker import LatentEC2Worker
from case import RETRY, STARTED_S, SUCCESS, PluginCase, buildbot_case


class MachineFailed(Exception):
    """What the host says."""


class MachineCase(PluginCase):
    """A master with one machine."""

    wait = 0.0

    def setUp(self) -> None:
        super().setUp()
        self.machine = LatentMachineController("host", build_wait_timeout=self.wait)
        self.machines = [self.machine.machine]
        self.start_master(machine_name="host")

    def state(self) -> Any:
        """The machine's."""
        return self.machine.machine.state

    def comes_up(self) -> None:
        """The machine is there, and the workers after it."""
        self.pass_time(0.1)
        self.machine.start_machine(True)
        self.pass_time(STARTED_S)

    def goes(self, result: Any = True) -> None:
        """The machine goes, and what it says."""
        self.pass_time(1)
        assert self.state() == States.STOPPING
        self.machine.stop_machine(result)
        self.pass_time(1)
        assert self.state() == States.STOPPED

    def stays_away(self) -> None:
        """The machine did not come: nothing is launched, and the build is tried again later."""
        self.pass_time(1)
        self.flushLoggedErrors(LatentWorkerSubstantiatiationCancelled, LatentWorkerFailedToSubstantiate)
        if self.state() == States.STOPPING:
            self.machine.stop_machine()
        assert self.state() == States.STOPPED
        assert self.launches == 0
        assert self.results() == [RETRY]


class OneWorker(MachineCase):
    """One worker on it."""

    def _build(self, result: int) -> None:
        self.ask()
        self.comes_up()
        self.finish(result=result)
        self.goes()
        assert self.results() == [result]
        assert self.record().state == "gone"

    @buildbot_case("1worker_starts_and_stops_after_single_build_success")
    def test_it_comes_and_goes_with_a_build(self) -> None:
        self._build(SUCCESS)

    @buildbot_case("1worker_starts_and_stops_after_single_build_failure")
    def test_it_comes_and_goes_with_a_build_that_fails(self) -> None:
        self._build(FAILURE)

    @buildbot_case("1worker_insubstantiated_after_start_failure")
    def test_a_machine_that_does_not_come_leaves_no_worker(self) -> None:
        self._does_not_come(False)

    @buildbot_case("1worker_eats_exception_from_start_machine")
    def test_a_machine_that_raises_leaves_no_worker(self) -> None:
        self._does_not_come(MachineFailed("start"))
        self.logged(MachineFailed)

    def _does_not_come(self, result: Any) -> None:
        self.ask()
        self.machine.start_machine(result)
        self.stays_away()
        assert self.record().state == "gone"

    @buildbot_case("1worker_eats_exception_from_stop_machine")
    def test_a_machine_that_raises_when_it_shall_go_counts_as_gone(self) -> None:
        self.ask()
        self.comes_up()
        self.finish()
        self.goes(MachineFailed("stop"))
        self.logged(MachineFailed)

    def test_it_serves_again(self) -> None:
        self._build(SUCCESS)
        self.ask()
        self.comes_up()
        self.finish()
        self.goes()
        assert self.results() == [SUCCESS, SUCCESS]


class OneWorkerThatWaits(MachineCase):
    """The machine goes when nothing was built for five seconds."""

    wait = 5.0

    @buildbot_case("1worker_stops_machine_after_timeout")
    def test_it_goes_after_its_time(self) -> None:
        self.ask()
        self.comes_up()
        self.finish()
        self.pass_time(4)
        assert self.state() == States.STARTED
        self.goes()

    @buildbot_case("1worker_does_not_stop_machine_machine_after_timeout_during_build")
    def test_it_does_not_go_while_it_is_used(self) -> None:
        self.ask()
        self.comes_up()
        self.finish()
        self.pass_time(4)
        self.ask()
        self.pass_time(20)
        assert self.state() == States.STARTED
        self.finish()
        self.pass_time(4)
        assert self.state() == States.STARTED
        self.goes()
        assert self.results() == [SUCCESS, SUCCESS]


class TwoWorkers(MachineCase):
    """Two workers on it."""

    names = ("w1", "w2")
    builders = {"b1": ["w1"], "b2": ["w2"]}

    @buildbot_case("2workers_two_builds_start_machine_concurrently")
    def test_two_builds_wake_it_once(self) -> None:
        self.ask("b1")
        assert self.state() == States.STARTING
        self.ask("b2")
        self.comes_up()
        self.finish("b1")
        self.finish("b2")
        self.goes()
        assert self.results() == [SUCCESS, SUCCESS]
        assert [record.state for record in self.controller.records.values()] == ["gone", "gone"]

    @buildbot_case("2workers_insubstantiated_after_one_start_failure")
    def test_a_machine_that_does_not_come_leaves_neither(self) -> None:
        self.ask("b1")
        self.machine.start_machine(False)
        self.stays_away()
        assert [record.state for record in self.controller.records.values()] == ["gone", "gone"]


class AwakeWorker(LatentEC2Worker):
    """One that comes whenever its machine does."""

    starts_without_substantiate = True


class TwoThatComeWithIt(MachineCase):
    """Two workers that come whenever the machine does."""

    names = ("w1", "w2")
    builders = {"b1": ["w1"], "b2": ["w2"]}
    worker_class = AwakeWorker

    @buildbot_case("2workers_build_substantiates_insubstantiates_both_workers")
    def test_a_build_on_the_one_brings_both_and_both_go(self) -> None:
        self.ask("b1")
        self.comes_up()
        assert [record.attached for record in self.controller.records.values()] == [True, True]
        self.finish()
        self.goes()
        assert [record.state for record in self.controller.records.values()] == ["gone", "gone"]
