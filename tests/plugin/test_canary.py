"""A worker that is the canary of a new AMI: nothing but the smoke build runs there, once, whatever happens."""

from __future__ import annotations

from typing import Any

from buildbot.interfaces import LatentWorkerFailedToSubstantiate
from buildbot.process.results import FAILURE
from buildbot_latent.smoke import SET_BY, mark_of
from case import CANCELLED, EXCEPTION, RETRY, SOURCE, STARTED_S, SUCCESS, PluginCase

# By then a canary without a build has connected twice and gone.
PASSED_S = 90


class Canaries(PluginCase):
    """One worker, which both builders have, and another that the smoke builder has too."""

    names = ("w1", "w2")
    builders = {"b1": ["w1"], "b2": ["w1", "w2"]}

    def begin(self, smoke: Any = None, **options: Any) -> Any:
        """A canary connects; what the controller knows of it."""
        self.start_master(**options)
        canary = self.controller.set_canary("w1", smoke=smoke)
        self.pass_until(lambda: canary.connected_at, STARTED_S, "the canary to connect")
        return canary

    def builds_smoke(self) -> Any:
        """The same, until its build runs."""
        canary = self.begin("b2")
        self.until_smoke()
        return canary

    def until_smoke(self) -> None:
        """Waits for the smoke build to run."""
        self.pass_until(lambda: self.steps["b2"].running, STARTED_S, "the smoke build to run")
        self.pass_time(1)

    def until(self, canary: Any, phase: str) -> None:
        """Waits for the canary's end."""
        self.pass_until(lambda: canary.phase == phase, PASSED_S, f"a canary that has {phase}")
        self.pass_until(lambda: not self.record().is_canary, 10, "its instance to end")

    def workers_of_builds(self) -> list[int]:
        """On which workers builds ran."""
        return [build.workerid for build in self.builds()]

    def requests(self) -> list[Any]:
        """Every request so far."""
        return list(self.done(self.master.db.buildrequests.getBuildRequests()))

    def test_without_a_build_it_connects_twice_and_is_let_go_twice(self) -> None:
        canary = self.begin()
        self.until(canary, "passed")
        assert (self.launches, self.builds(), self.requests()) == (1, [], [])
        # Nobody asked for it, so nothing would be met after it.
        assert not self.controller.asked("POST", "/start")
        self.run_build()
        assert self.launches == 2

    def test_its_smoke_build_runs_on_it_alone_and_says_what_it_is(self) -> None:
        canary = self.builds_smoke()
        assert canary.phase == "building"
        assert self.workers_of_builds() == [self.worker("w1").workerid]
        shown = {name: self.property_of(name) for name in ("instance", "latent_ami", "latent_canary")}
        assert shown == {"instance": "i-1", "latent_ami": "ami-0new", "latent_canary": "rb1"}
        assert self.property_of("latent_generation") == "2"
        (buildset,) = self.done(self.master.data.get(("buildsets",)))
        assert buildset["reason"] == "latent canary of ami-0new, rebake rb1"
        self.finish("b2")
        self.until(canary, "passed")
        assert canary.built == {"build": "b2/1", "results": SUCCESS}
        assert (self.results(), self.launches) == ([SUCCESS], 1)
        # What was told is told no more.
        said = self.controller.asked("POST", "/report")[-1].body["workers"]["w1"]
        assert "smoke" not in said

    def test_it_runs_there_although_another_worker_of_its_builder_is_idle(self) -> None:
        self.start_master()
        for number in range(3):
            with self.free_moment("w2"):
                self.worker("w1").pause("test")
                self.run_build("b2")
            self.worker("w1").unpause()
            assert self.workers_of_builds()[number] == self.worker("w2").workerid
        canary = self.controller.set_canary("w1", smoke="b2")
        self.until_smoke()
        assert self.workers_of_builds()[-1] == self.worker("w1").workerid
        self.finish("b2")
        self.until(canary, "passed")

    def test_a_smoke_build_that_fails_fails_the_canary(self) -> None:
        canary = self.builds_smoke()
        self.finish("b2", FAILURE)
        self.until(canary, "failed")
        assert canary.built == {"build": "b2/1", "results": FAILURE}
        assert (self.results(), self.launches) == ([FAILURE], 1)

    def test_a_builder_that_is_not_there_is_told(self) -> None:
        canary = self.begin("no such builder")
        self.until(canary, "failed")
        assert canary.built == {"build": "no%20such%20builder/0", "results": EXCEPTION}
        assert any("this master has no builder 'no such builder'" in line for line in self.lines)

    def test_a_builder_without_the_worker_is_told(self) -> None:
        self.builders = {"b1": ["w1"], "b2": ["w2"]}
        canary = self.begin("b2")
        self.until(canary, "failed")
        assert canary.built == {"build": "b2/0", "results": EXCEPTION}
        assert any("the builder 'b2' does not have the worker w1" in line for line in self.lines)
        assert not self.requests()

    def test_an_ordinary_build_waits_until_it_is_over(self) -> None:
        canary = self.builds_smoke()
        request = self.ask("b1")
        self.pass_time(30)
        assert not self.is_claimed(request)
        self.finish("b2")
        self.until(canary, "passed")
        assert not self.steps["b1"].running
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the build that waited")
        assert (self.launches, self.property_of("instance", 2)) == (2, "i-2")
        self.finish()
        assert self.results() == [SUCCESS, SUCCESS]

    def test_a_build_that_came_just_before_the_canary_waits_too(self) -> None:
        self.start_master()
        self.controller.hold("/start")
        request = self.ask("b1")
        canary = self.controller.set_canary("w1")
        self.pass_time(1)
        self.controller.let_through("/start")
        self.pass_until(lambda: canary.connected_at, 2 * STARTED_S, "the canary to connect")
        self.logged(LatentWorkerFailedToSubstantiate)
        assert (self.results(), self.is_claimed(request)) == ([RETRY], False)
        self.until(canary, "passed")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the build that waited")
        self.finish()
        assert self.results() == [RETRY, SUCCESS]
        assert self.launches == 2

    def test_a_build_that_was_chosen_already_does_not_begin_on_it(self) -> None:
        canary = self.builds_smoke()
        worker, asked = self.worker(), iter([True])
        worker.canStartBuild = lambda: next(asked, False)
        request = self.ask("b1")
        self.pass_time(1)
        del worker.canStartBuild
        assert not self.steps["b1"].running
        self.logged(LatentWorkerFailedToSubstantiate)
        self.finish("b2")
        self.until(canary, "passed")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the build that waited")
        self.finish()
        assert self.is_claimed(request)
        assert self.launches == 2

    def test_it_is_not_let_go_because_it_is_idle(self) -> None:
        canary = self.begin("b2", build_wait_timeout=1)
        self.until_smoke()
        self.finish("b2")
        self.until(canary, "passed")
        assert len(self.controller.asked("POST", "/release")) == 0

    def test_a_master_that_is_killed_goes_on_with_the_same_request(self) -> None:
        canary = self.builds_smoke()
        self.kill_master()
        self.pass_time(10)
        self.start_master()
        self.until_smoke()
        assert (self.results(), len(self.requests())) == ([RETRY, None], 1)
        assert self.workers_of_builds() == [self.worker("w1").workerid] * 2
        self.finish("b2")
        self.until(canary, "passed")
        assert canary.built == {"build": "b2/2", "results": SUCCESS}
        assert self.launches == 1

    def test_a_master_that_is_killed_between_wish_and_build_builds_once(self) -> None:
        self.begin("b2")
        self.pass_until(self.requests, 5, "the request")
        self.kill_master()
        canary = self.record().canary
        self.start_master()
        self.until_smoke()
        self.finish("b2")
        self.until(canary, "passed")
        assert len(self.requests()) == 1 and self.results()[-1] == SUCCESS

    def test_a_build_that_ended_while_the_controller_was_away_is_told_by_the_next_master(self) -> None:
        canary = self.builds_smoke()
        self.controller.cut()
        self.finish("b2")
        self.kill_master()
        self.controller.down = False
        self.start_master()
        self.until(canary, "passed")
        assert (canary.built, self.results()) == ({"build": "b2/1", "results": SUCCESS}, [SUCCESS])

    def test_a_connection_that_is_lost_begins_it_again_three_times_at_most(self) -> None:
        canary = self.builds_smoke()
        for _ in range(3):
            assert canary.built is None
            self.guest().cut()
            self.pass_time(30)
        self.lost_connection_logged()
        self.until(canary, "failed")
        assert canary.built == {"build": "b2/3", "results": RETRY}
        self.pass_time(30)
        assert (self.results(), [r.complete for r in self.requests()]) == ([RETRY] * 3, [True])
        assert self.requests()[0].results == CANCELLED

    def test_a_canary_that_is_lost_leaves_no_build_behind(self) -> None:
        canary = self.builds_smoke()
        self.controller.lose("w1")
        self.until(canary, "failed")
        self.pass_time(60)
        self.lost_connection_logged()
        assert (self.results(), [r.results for r in self.requests()]) == ([RETRY], [CANCELLED])
        assert self.launches == 1

    def test_a_reconfiguration_disturbs_nothing(self) -> None:
        canary = self.builds_smoke()
        self.reconfigure(max_builds=1)
        assert self.steps["b2"].running
        request = self.ask("b1")
        self.pass_time(10)
        assert not self.is_claimed(request)
        self.finish("b2")
        self.until(canary, "passed")
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "the build that waited")
        self.finish()

    def test_who_cancels_its_build_fails_it(self) -> None:
        canary = self.builds_smoke()
        self.stop_build()
        self.until(canary, "failed")
        assert canary.built == {"build": "b2/1", "results": CANCELLED}

    def test_a_rebuild_of_it_is_an_ordinary_build(self) -> None:
        canary = self.builds_smoke()
        self.finish("b2")
        self.until(canary, "passed")
        self.done(self.master.data.control("rebuild", {}, ("builds", 1)))
        self.until_smoke()
        self.finish("b2")
        assert self.results() == [SUCCESS, SUCCESS]

    def test_one_that_another_master_runs_is_not_forced_again(self) -> None:
        self.start_master()
        self.boots = False
        canary = self.controller.set_canary("w1", smoke="b2")
        self.pass_until(lambda: self.record().instance, 10, "the canary")
        updates = self.master.data.updates
        builder = self.done(updates.findBuilderId("b2"))
        made = updates.addBuildset(
            waited_for=False,
            builderids=[builder],
            sourcestamps=[SOURCE],
            reason="latent canary of ami-0new, rebake rb1",
            properties={"latent_canary": ("rb1", SET_BY)},
            external_idstring=mark_of("w1", "rb1", "i-1"),
        )
        _, requests = self.done(made)
        db = self.master.db.buildrequests
        self.done(db.claimBuildRequests([requests[builder]]))
        add = updates.addBuild(
            builderid=builder, buildrequestid=requests[builder], workerid=self.worker().workerid
        )
        build, _number = self.done(add)
        self.boots = True
        self.guest().boot()
        self.pass_time(60)
        assert (canary.phase, len(self.requests()), len(self.builds())) == ("connected", 1, 1)
        self.done(updates.finishBuild(build, SUCCESS))
        self.until(canary, "passed")
        assert canary.built == {"build": "b2/1", "results": SUCCESS}

    def test_of_a_worker_that_is_at_another_master_it_forces_nothing(self) -> None:
        self.start_master()
        self.boots = False
        self.controller.elsewhere["w1"] = "another"
        canary = self.controller.set_canary("w1", smoke="b2")
        self.pass_until(lambda: self.record().instance, 10, "the canary")
        record = self.record()
        record.hear({"attached": True, "wanted": True, "request": None, "build": None}, self.controller.now)
        self.pass_time(1)
        canary.phase = "connected"
        self.controller._moved(record)
        self.pass_time(30)
        assert not self.requests()
        self.controller.lose("w1")
        self.pass_time(10)
