"""From the wish for a build to a worker that takes it, and everything that may be in the way."""

from __future__ import annotations

from typing import Any

from buildbot.interfaces import LatentWorkerCannotSubstantiate, LatentWorkerFailedToSubstantiate
from case import EXCEPTION, RETRY, STARTED_S, SUCCESS, PluginCase, buildbot_case
from fake_record import BAD_AMI, NO_CAPACITY, NO_RIGHTS, QUOTA, THROTTLED, Failure, Policy
from twisted.internet import defer

# Buildbot's quarantine after a first failure.
QUARANTINE_S = 10


class OneWorker(PluginCase):
    """One worker, one builder."""

    def test_a_build_waits_for_an_instance_and_runs_on_it(self) -> None:
        self.start_master()
        self.run_build()
        assert self.results() == [SUCCESS]
        assert self.launches == 1

    def test_the_build_names_its_instance_also_the_first_on_it(self) -> None:
        self.start_master()
        self.bring_up()
        self.finish()
        self.run_build()
        assert [self.property_of("instance", number) for number in (1, 2)] == ["i-1", "i-1"]

    def test_the_first_build_shows_its_instance_while_it_runs(self) -> None:
        self.start_master()
        self.bring_up()
        assert self.property_of("instance") == "i-1"
        assert self.property_of("latent_ami") == "ami-0debian"
        assert self.property_of("latent_place") == "us-west-2a"
        assert self.property_of("latent_market") == "on-demand"
        assert self.property_of("latent_attempt") == "attempt-i-1"
        assert self.property_of("latent_price") == "$0.1008/h"
        self.finish()

    def test_the_first_build_on_the_next_instance_does_not_name_the_one_before(self) -> None:
        self.start_master(build_wait_timeout=0)
        self.run_build()
        self.pass_time(5)
        self.run_build()
        assert [self.property_of("instance", number) for number in (1, 2)] == ["i-1", "i-2"]

    def test_the_controller_hears_of_connection_and_build(self) -> None:
        self.start_master()
        self.bring_up()
        assert (self.record().state, self.record().attached, self.record().build) == ("busy", True, "b1/1")
        self.finish()
        self.pass_time(1)
        assert (self.record().state, self.record().build) == ("ready", None)

    def test_a_worker_that_is_faster_than_the_answer_is_taken(self) -> None:
        self.controller.hold("w1?wait=25")
        self.boot_s = 0.5
        self.start_master()
        self.ask()
        self.pass_time(10)
        assert self.steps["b1"].running

    @buildbot_case("refused_substantiations_get_requeued")
    def test_refused_for_now_is_tried_again(self) -> None:
        self.start_master()
        self.controller.refuse("/start", "worker w1 is used by the master other", "conflict")
        request = self.ask()
        self.pass_time(1)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert self.results() == [RETRY]
        assert not self.is_claimed(request)
        assert "used by the master other" in self.preparation()

    @buildbot_case("failed_substantiations_get_requeued")
    def test_failed_is_tried_again(self) -> None:
        self.controller.fates = [NO_CAPACITY]
        self.start_master()
        request = self.ask()
        self.pass_time(5)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert self.results() == [RETRY]
        assert not self.is_claimed(request)

    @buildbot_case("failed_substantiations_get_exception")
    def test_what_only_a_person_can_mend_is_not_tried_again(self) -> None:
        self.controller.fates = [BAD_AMI]
        self.start_master()
        self.ask()
        self.pass_time(120)
        self.logged(LatentWorkerCannotSubstantiate)
        assert self.results() == [EXCEPTION]

    @buildbot_case("worker_accepts_builds_after_failure")
    def test_after_failures_it_comes_to_work_by_itself(self) -> None:
        self.controller.fates = [NO_CAPACITY, NO_CAPACITY]
        self.start_master()
        self.ask()
        self.pass_time(5)
        assert len(self.controller.asked("POST", "/start")) == 1, "tried again at once"
        self.pass_time(QUARANTINE_S)
        assert len(self.controller.asked("POST", "/start")) == 2
        self.pass_until(lambda: self.steps["b1"].running, 2 * QUARANTINE_S + STARTED_S, "the third try")
        self.logged(LatentWorkerFailedToSubstantiate)
        assert self.results() == [RETRY, RETRY, None]

    @buildbot_case("stalled_substantiation_then_timeout_get_requeued")
    def test_a_start_without_an_answer_ends_with_missing_timeout(self) -> None:
        self.controller.hold("/start")
        self.start_master(missing_timeout=30)
        request = self.ask()
        self.pass_time(25)
        assert self.results() == [None]
        self.pass_time(6)
        self.logged(defer.TimeoutError)
        assert self.results() == [RETRY]
        assert not self.is_claimed(request)

    def test_a_controller_that_hears_and_never_answers_is_said_to_be_so(self) -> None:
        self.controller.hold("/start")
        self.start_master()
        self.ask()
        # It is asked twice: the first time may have been the one before that is gone.
        self.pass_time(85)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert self.results() == [RETRY]
        assert "did not answer within 40 s" in self.preparation()

    @buildbot_case("stalled_substantiation_then_check_instance_fails_get_requeued")
    def test_an_instance_that_ends_while_it_boots_is_noticed_at_once(self) -> None:
        self.start_master()
        self.ask()
        self.pass_time(10)
        assert self.record().state == "registering"
        self.controller.lose("w1")
        self.pass_time(5)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert self.results() == [RETRY]
        assert "InstanceEnded" in self.preparation()
        assert "ended before its worker connected" in self.preparation()

    def test_a_worker_that_never_connects_ends_with_the_controllers_limit(self) -> None:
        self.boots = False
        self.start_master()
        self.ask()
        self.pass_time(self.policy.connect_deadline + 10)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert self.results()[0] == RETRY
        assert "NeverConnected" in self.preparation()
        assert "look at the instance's console output" in self.preparation()

    def test_a_launch_without_an_outcome_ends_with_the_controllers_limit(self) -> None:
        self.controller.launch_s = None
        self.start_master()
        self.ask()
        self.pass_time(self.policy.launch_deadline + 5)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert self.results()[0] == RETRY
        assert "LaunchDeadline" in self.preparation()

    def test_the_next_build_does_not_wait_for_an_answer_that_never_came(self) -> None:
        self.controller.hold("/start")
        self.start_master(missing_timeout=30)
        self.ask()
        self.pass_time(35)
        self.logged(defer.TimeoutError)
        self.controller.let_through("/start")
        self.pass_until(lambda: self.steps["b1"].running, QUARANTINE_S + STARTED_S, "the next try")

    def test_a_worker_of_no_configuration_is_said_to_be_so(self) -> None:
        self.start_master()
        del self.controller.records["w1"]
        self.ask()
        self.pass_time(1)
        self.logged(LatentWorkerCannotSubstantiate)
        assert self.results() == [EXCEPTION]
        assert "worker w1 is not in the configuration of this controller" in self.preparation()


class FailuresToldApart(PluginCase):
    """What the owner reads in the step that prepares the worker, by what EC2 said."""

    def _fails(self, failure: Failure, result: int, kind: type[Exception]) -> str:
        self.controller.fates = [failure]
        self.start_master()
        self.ask()
        self.pass_time(5)
        self.logged(kind)
        assert self.results() == [result]
        return self.preparation()

    def _tells(self, failure: Failure, result: int, kind: type[Exception]) -> None:
        text = self._fails(failure, result, kind)
        for part in ("launch phase", failure.code, failure.kind, failure.message, failure.cure):
            assert part in text, part

    def test_no_capacity(self) -> None:
        self._tells(NO_CAPACITY, RETRY, LatentWorkerFailedToSubstantiate)

    def test_a_full_quota(self) -> None:
        self._tells(QUOTA, RETRY, LatentWorkerFailedToSubstantiate)

    def test_a_throttle(self) -> None:
        self._tells(THROTTLED, RETRY, LatentWorkerFailedToSubstantiate)

    def test_a_lost_ami(self) -> None:
        self._tells(BAD_AMI, EXCEPTION, LatentWorkerCannotSubstantiate)

    def test_missing_rights(self) -> None:
        self._tells(NO_RIGHTS, EXCEPTION, LatentWorkerCannotSubstantiate)


class TwoWorkers(PluginCase):
    """Two workers of one builder."""

    names = ("w1", "w2")
    builders = {"b1": ["w1", "w2"]}

    @buildbot_case("latent_workers_start_in_parallel")
    def test_both_are_started_at_the_same_time(self) -> None:
        self.controller.launch_s = None
        self.start_master()
        self.ask()
        self.ask()
        self.pass_time(1)
        assert [record.state for record in self.controller.records.values()] == ["launching", "launching"]
        self.controller.launch("w1")
        self.controller.launch("w2")

    def test_the_failure_of_one_is_not_the_others(self) -> None:
        self.start_master()
        self.controller.fates = [NO_CAPACITY]
        self.ask()
        self.pass_time(3)
        self.logged(LatentWorkerFailedToSubstantiate)
        # The request that is tried again goes to the one that is not in quarantine.
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the other worker")
        self.finish()
        assert self.results() == [RETRY, SUCCESS]


class TwoBuilders(PluginCase):
    """Two builders that share a worker."""

    builders = {"b1": ["w1"], "b2": ["w1"]}

    @buildbot_case("worker_multiple_substantiations_succeed")
    def test_one_instance_serves_both(self) -> None:
        self.start_master()
        self.ask("b1")
        self.ask("b2")
        self.pass_time(STARTED_S)
        assert self.steps["b1"].running
        assert self.steps["b2"].running
        self.finish("b1")
        self.finish("b2")
        assert self.results() == [SUCCESS, SUCCESS]
        assert self.launches == 1

    def test_each_of_two_requests_gets_its_own_answer(self) -> None:
        self.controller.fates = [BAD_AMI, BAD_AMI]
        self.start_master()
        self.ask("b1")
        self.ask("b2")
        self.pass_time(2 * QUARANTINE_S)
        self.logged(LatentWorkerCannotSubstantiate)
        assert self.results() == [EXCEPTION, EXCEPTION]

    def test_max_builds_holds(self) -> None:
        self.start_master(max_builds=1)
        self.ask("b1")
        self.ask("b2")
        self.pass_time(STARTED_S)
        assert [self.steps[name].running for name in ("b1", "b2")] == [True, False]
        self.finish("b1")
        self.pass_time(1)
        assert self.steps["b2"].running
        assert self.launches == 1


class ManyWorkers(PluginCase):
    """As many workers as a large master has."""

    names = tuple(f"w{number}" for number in range(50))
    builders = {"b1": list(names)}
    policy = Policy()

    def test_fifty_starts_reach_the_controller_together_and_nothing_else_waits(self) -> None:
        self.controller.launch_s = None
        self.start_master()
        asked: list[Any] = [self.ask_only("b1") for _ in self.names]
        self.pass_time(1)
        for one in asked:
            self.done(one)
        starts = self.controller.asked("POST", "/start")
        assert len(starts) == len(self.names)
        # Meanwhile the master answers, and takes a new configuration.
        assert self.seen("w7")["name"] == "w7"
        self.reconfigure(max_builds=1)
        reports = self.controller.asked("POST", "/report")
        assert len(reports) < 10, "one report speaks of all workers"
