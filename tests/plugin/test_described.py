"""Workers that stand in master.cfg with the arguments of Buildbot's own class."""

from __future__ import annotations

from typing import Any

from buildbot.interfaces import LatentWorkerCannotSubstantiate, LatentWorkerFailedToSubstantiate
from buildbot.process.properties import Interpolate
from case import EXCEPTION, RETRY, STARTED_S, SUCCESS, PluginCase
from far_end import RETRY_S

OLD = {"instance_type": "m5.large", "ami": "ami-1", "region": "us-west-2"}
BY_BUILD = {**OLD, "ami": Interpolate("%(prop:ami)s")}


class Described(PluginCase):
    """One worker, and what the controller is told of it."""

    def told(self, name: str = "w1") -> Any:
        """What the controller holds of a worker."""
        (of_this_master,) = self.controller.declared.values()
        return of_this_master.get(name)

    def puts(self) -> int:
        """How often it was told."""
        return len([call for call in self.controller.calls if call.method == "PUT"])

    def test_it_is_told_before_anybody_wants_it(self) -> None:
        self.start_master(**OLD)
        assert self.told()["image"]["ami"] == "ami-1"
        assert (self.puts(), self.launches) == (1, 0)
        self.run_build()
        assert self.results() == [SUCCESS]
        assert self.puts() == 1

    def test_a_reconfiguration_is_told_and_disturbs_nothing(self) -> None:
        self.start_master(**OLD)
        guest = self.bring_up()
        self.reconfigure(ami="ami-2")
        assert self.told()["image"]["ami"] == "ami-2"
        assert guest.connected
        self.finish()
        assert self.results() == [SUCCESS]
        self.reconfigure(ami="ami-2", max_builds=1)
        assert self.puts() == 2

    def test_a_worker_that_moves_to_latent_toml_is_told_no_more(self) -> None:
        self.start_master(**OLD)
        self.reconfigure(**dict.fromkeys(OLD))
        assert self.controller.asked("PUT", "/workers")[-1].body == {"workers": {}}
        self.run_build()
        assert self.results() == [SUCCESS]

    def test_what_the_controller_refuses_is_told_in_the_build(self) -> None:
        self.controller.refuses["w1"] = "worker w1: instance_types: no such type"
        self.start_master(**OLD)
        self.ask()
        self.pass_time(5)
        self.logged(LatentWorkerCannotSubstantiate)
        assert self.results() == [EXCEPTION]
        assert "no such type" in self.preparation()
        assert self.controller.asked("POST", "/start") == []

    def test_what_cannot_be_said_fails_its_own_builds_and_not_the_reconfiguration(self) -> None:
        self.start_master(**{**OLD, "user_data": b"\x1f\x8b\xff"})
        self.ask()
        self.pass_time(5)
        self.logged(LatentWorkerCannotSubstantiate)
        assert self.results() == [EXCEPTION]
        assert "can't decode" in self.preparation()
        self.reconfigure(user_data="#!/bin/sh\n")
        self.run_build()
        assert self.results()[-1] == SUCCESS

    def test_a_controller_that_lost_everything_is_told_again(self) -> None:
        self.start_master(**OLD)
        self.controller.records.clear()
        self.controller.declared.clear()
        self.pass_time(12)
        assert self.told()["image"]["ami"] == "ami-1"

    def test_a_build_chooses_its_ami(self) -> None:
        self.start_master(**BY_BUILD)
        assert self.told() is None
        self.ask(ami="ami-7")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "a build to run")
        assert self.told()["image"]["ami"] == "ami-7"
        self.finish()
        assert self.results() == [SUCCESS]

    def test_a_function_of_the_properties_chooses_too(self) -> None:
        self.start_master(**{**OLD, "user_data": lambda props: f"#!/bin/sh\necho {props['branch_of_it']}"})
        self.ask(branch_of_it="3.15")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "a build to run")
        assert self.told()["user_data"] == "#!/bin/sh\necho 3.15"
        self.finish()

    def test_a_warm_instance_is_used_by_builds_that_choose_the_same_and_by_no_others(self) -> None:
        self.start_master(**BY_BUILD, build_wait_timeout=60)
        for ami in ("ami-7", "ami-7"):
            self.ask(ami=ami)
            self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "a build to run")
            self.finish()
        assert self.launches == 1
        self.ask(ami="ami-8")
        self.pass_time(30)
        assert not self.steps["b1"].running
        # The idle one goes when its time is over, and the next is of the other AMI.
        self.pass_until(lambda: self.steps["b1"].running, 60 + 2 * STARTED_S, "the other build to run")
        assert (self.launches, self.told()["image"]["ami"]) == (2, "ami-8")
        self.finish()

    def test_what_a_build_chooses_wrongly_is_told_in_it(self) -> None:
        self.start_master(**{**OLD, "tags": Interpolate("%(prop:ami)s")})
        self.ask(ami="x")
        self.pass_time(5)
        self.logged(LatentWorkerCannotSubstantiate)
        assert self.results() == [EXCEPTION]
        assert "tags='x' must be a dictionary" in self.preparation()

    def test_keys_in_the_configuration_are_told_the_controller_and_nobody_else(self) -> None:
        self.start_master(**OLD, identifier="AKIAEXAMPLE", secret_identifier="very secret")
        assert self.told()["credentials"] == {"access_key": {"id": "AKIAEXAMPLE", "secret": "very secret"}}
        self.run_build()
        said = "\n".join(self.lines)
        assert "very secret" not in said and "AKIAEXAMPLE" not in said
        assert said.count("a role is better") == 1


class Joined(PluginCase):
    """Builds that choose, and meet a start that another has begun."""

    builders = {"b1": ["w1"], "b2": ["w1"]}

    def test_one_that_chooses_another_is_not_begun_while_the_controller_hears_of_the_first(self) -> None:
        self.controller.hold("/workers/w1")
        self.start_master(**BY_BUILD, build_wait_timeout=0)
        self._let_both_come()
        assert self.results() == [None]
        self.controller.let_through("/workers/w1")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the first build")
        self.finish("b1")
        self.pass_until(lambda: self.steps["b2"].running, 2 * STARTED_S, "the other build")
        self.finish("b2")
        assert (self.results(), self.launches) == ([SUCCESS, SUCCESS], 2)

    def test_one_that_was_begun_before_anybody_could_know_is_tried_again(self) -> None:
        self.start_master(**BY_BUILD, build_wait_timeout=1)
        self.controller.hold("/release")
        self.ask("b1", ami="ami-1")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "a build to run")
        self.finish("b1")
        self.pass_time(2)
        self._let_both_come()
        assert self.results() == [SUCCESS, None, None]
        self.controller.let_through("/release")
        self.pass_until(lambda: self.steps["b1"].running, 2 * STARTED_S, "the first build")
        self.pass_time(1)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert self.results() == [SUCCESS, None, RETRY]
        assert "of another kind than this build wants" in self.preparation(3)
        self.finish("b1")
        self.pass_until(lambda: self.steps["b2"].running, 10 + 2 * STARTED_S, "the other build")
        self.finish("b2")
        assert self.results() == [SUCCESS, SUCCESS, RETRY, SUCCESS]
        assert self.property_of("latent_ami", 2) == "ami-7" and self.property_of("latent_ami", 4) == "ami-8"

    def _let_both_come(self) -> None:
        """Both are found to be startable before either is started, as it happens in a busy master."""
        with self.free_moment():
            self.ask("b1", ami="ami-7")
            self.ask("b2", ami="ami-8")


class TwoDescribed(PluginCase):
    """Two of them, so that one can leave."""

    names = ("w1", "w2")
    builders = {"b1": ["w1"]}

    def test_one_that_leaves_is_named_no_more(self) -> None:
        self.start_master(**OLD)
        (told,) = self.controller.declared.values()
        assert sorted(told) == ["w1", "w2"] and None not in told.values()
        self.names = ("w1",)
        self.reconfigure()
        (told,) = self.controller.declared.values()
        assert sorted(told) == ["w1"]

    def test_the_last_that_leaves_is_named_no_more(self) -> None:
        self.start_master(**OLD)
        self.names, self.builders = (), {}
        self.reconfigure()
        assert list(self.controller.declared.values()) == [{}]

    def test_also_if_the_controller_is_away_at_that_moment(self) -> None:
        self.start_master(**OLD)
        self.controller.cut()
        self.names, self.builders = (), {}
        self.reconfigure()
        self.pass_time(10)
        self.controller.down = False
        self.pass_time(10)
        assert list(self.controller.declared.values()) == [{}]
        # And that is the end of it.
        self.pass_time(60)
        due = [part for call in self.reactor.getDelayedCalls() for part in (call.func, *call.args)]
        assert "_report" not in [getattr(part, "__name__", None) for part in due]

    def test_they_go_to_another_controller(self) -> None:
        self.start_master(**OLD)
        self.reconfigure(socket="/other.sock")
        assert {"workers": {}} in [call.body for call in self.controller.asked("PUT", "/workers")]

    def test_the_same_controller_started_in_another_way_is_not_told_that_they_left(self) -> None:
        self.start_master(**OLD)
        self.reconfigure(autostart=False)
        self.pass_time(10)
        told = [call.body["workers"] for call in self.controller.asked("PUT", "/workers")]
        assert len(told) == 2 and all(sorted(one) == ["w1", "w2"] for one in told)
        assert None not in told[-1].values()

    def test_one_that_cannot_say_how_it_is_does_not_silence_the_other(self) -> None:
        self.builders = {"b1": ["w2"]}
        self.start_master(**OLD)
        self.patch(self.worker("w1"), "said", lambda: {}["nothing"])
        self.bring_up()
        assert self.record("w2").build == "b1/1"
        self.logged(KeyError)
        del self.worker("w1").said
        self.finish()


class BothStyles(PluginCase):
    """One worker that stands in master.cfg, and one of latent.toml."""

    names = ("w1", "w2")
    builders = {"b1": ["w1"], "b2": ["w2"]}

    def config(self) -> dict[str, Any]:
        """w1 has the arguments of the old class."""
        said = super().config()
        said["workers"] = [self.worker_class("w1", "secret", **OLD), self.worker_class("w2", "secret")]
        return said

    def test_each_is_what_it_says(self) -> None:
        self.start_master()
        (told,) = self.controller.declared.values()
        assert sorted(told) == ["w1"]
        self.run_build("b1")
        self.run_build("b2")
        assert self.results() == [SUCCESS, SUCCESS]
        assert (self.worker("w1").build_wait_timeout, self.launches) == (600, 2)


class Restarted(PluginCase):
    """A master whose database outlives it."""

    durable = True

    def test_a_warm_instance_of_a_worker_that_is_refused_is_not_adopted_again_and_again(self) -> None:
        self.start_master(**OLD, build_wait_timeout=600)
        self.bring_up_idle()
        self.kill_master()
        self.controller.refuses["w1"] = "worker w1: no such type"
        self.start_master(**{**OLD, "ami": "ami-2"}, build_wait_timeout=600)
        self.pass_time(60)
        assert len([line for line in self.lines if "not adopted" in line]) == 1
        self.flushLoggedErrors()
        self.controller.end("i-1")

    def _restarted_with_a_warm_instance(self) -> None:
        """Of ami-7; what it was started with, the master has forgotten."""
        self.start_master(**BY_BUILD, build_wait_timeout=60)
        self.ask(ami="ami-7")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "a build to run")
        self.finish()
        self.kill_master()

    def _runs(self, ami: str, launches: int, seconds: float = 2 * STARTED_S) -> None:
        self.pass_until(lambda: self.steps["b1"].running, seconds, "a build to run")
        self.finish()
        assert self.launches == launches
        assert self.property_of("latent_ami", len(self.results())) == ami

    def test_an_instance_that_was_taken_over_is_used_by_builds_that_choose_the_same(self) -> None:
        self._restarted_with_a_warm_instance()
        self.start_master(**BY_BUILD, build_wait_timeout=60)
        self.pass_time(RETRY_S + 1)
        self.ask(ami="ami-7")
        self._runs("ami-7", 1)
        assert self.results() == [SUCCESS, SUCCESS]

    def test_an_instance_that_was_taken_over_is_used_by_no_others(self) -> None:
        self._restarted_with_a_warm_instance()
        self.start_master(**BY_BUILD, build_wait_timeout=60)
        self.pass_time(RETRY_S + 1)
        assert self.guest().connected
        self.ask(ami="ami-8")
        self.pass_time(30)
        assert self.results() == [SUCCESS]
        self._runs("ami-8", 2, 60 + 2 * STARTED_S)
        assert self.results() == [SUCCESS, SUCCESS]

    def test_a_build_that_comes_first_and_is_given_one_of_another_kind_lets_it_go(self) -> None:
        self._restarted_with_a_warm_instance()
        self.controller.hold("/report")
        self.start_master(**BY_BUILD, build_wait_timeout=60)
        self.ask(ami="ami-8")
        self.pass_time(1)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert self.results() == [SUCCESS, RETRY]
        assert "i-1 was there before, of another kind" in self.preparation(2)
        self.controller.let_through("/report")
        self._runs("ami-8", 2, 10 + 2 * STARTED_S)

    def test_nor_does_it_run_on_one_that_knocks_before_the_start_is_answered(self) -> None:
        self._restarted_with_a_warm_instance()
        self.controller.hold("/report")
        self.controller.hold("/start")
        self.start_master(**BY_BUILD, build_wait_timeout=60)
        self.ask(ami="ami-8")
        self.pass_time(RETRY_S + 1)
        self.logged(LatentWorkerFailedToSubstantiate)
        assert self.results() == [SUCCESS, RETRY]
        self.controller.let_through("/start")
        self.controller.let_through("/report")
        self._runs("ami-8", 2, 60 + 10 + 2 * STARTED_S)
