"""Two masters share one controller, each with workers of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fleet import EXCEPTION, GONE_S, MASTER_EXTRA, RETRY, SUCCESS, Fleet
from fleet_files import MASTER_CFG
from master_process import MasterProcess, wait_for


class SecondMaster:
    """A master in a folder of its own; everything else is the fleet's."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.master = MasterProcess(fleet.folder / "second", fleet.environment)

    def start(self, *workers: str) -> None:
        """Starts it with these workers of the fleet."""
        self.master.write(master_cfg(self.fleet, workers, f", config={str(self.fleet.config)!r}"))
        self.master.start(builders=len(workers))

    def force(self, worker: str, seconds: float = 0) -> int:
        """Asks for a build, as the fleet's own `force` does."""
        asked = self.master.control(
            f"forceschedulers/force-{worker}", "force", builderNames=[worker], seconds=str(seconds)
        )
        return int(next(iter(asked[1].values())))

    def result(self, request: int) -> int:
        """The result of a request, when it is complete."""

        def done() -> object:
            found = self.master.rest(f"buildrequests/{request}")["buildrequests"][0]
            return (found["results"],) if found["complete"] else None

        return int(wait_for(f"request {request} of the second master", done, 60)[0])


def master_cfg(fleet: Fleet, workers: tuple[str, ...], options: str = "") -> str:
    """The fleet's master.cfg with some of its workers and builders left out."""
    text = MASTER_CFG.replace("@OPTIONS@", options).replace("@PASSWORD@", fleet.options.password)
    return text.replace("@EXTRA@", f"{MASTER_EXTRA}\n{only(workers)}")


def only(workers: tuple[str, ...]) -> str:
    """Python of a master.cfg that keeps these alone."""
    return (
        f"keep = {workers!r}\n"
        'c["workers"] = [one for one in c["workers"] if one.name in keep]\n'
        'c["builders"] = [one for one in c["builders"] if one.name in keep]\n'
        'c["schedulers"] = [one for one in c["schedulers"] if one.name[6:] in keep]\n'
    )


@pytest.fixture
def second(fleet: Fleet) -> Iterator[SecondMaster]:
    """A second master that has not started; the first one has the worker `injected` alone."""
    fleet.halt()
    second = SecondMaster(fleet)
    try:
        # A worker in an AMI connects to the master that stands in the AMI.
        assert fleet.agent is not None
        images = fleet.agent_config()["images"]
        images[fleet.seeded["amis"]["baked"]]["master"] = f"127.0.0.1:{second.master.pb_port}"
        fleet.agent.configure(images=images)
        fleet.options.master_extra = f"{MASTER_EXTRA}\n{only(('injected',))}"
        fleet.options.policy["idle_timeout"] = "20s"
        fleet.write_fleet()
        fleet.write_master()
        fleet.master.start(builders=1)
        wait_for("the controller", lambda: fleet.latent("status").returncode == 0)
        yield second
    finally:
        second.master.close()


def test_two_masters_build_at_the_same_time_through_one_controller(fleet: Fleet, second: SecondMaster) -> None:
    second.start("baked")
    ours, theirs = fleet.force("injected", seconds=2), second.force("baked", seconds=2)
    fleet.wait_state("injected", "busy")
    fleet.wait_state("baked", "busy")
    assert (fleet.wait_build(ours)["results"], second.result(theirs)) == (SUCCESS, SUCCESS)
    assert len(fleet.controller_pids()) == 1
    assert len(fleet.launched("baked")) == len(fleet.launched("injected")) == 1


def test_the_death_of_one_master_does_not_concern_the_workers_of_the_other(
    fleet: Fleet, second: SecondMaster
) -> None:
    second.start("baked")
    request = second.force("baked", seconds=4)
    fleet.wait_state("baked", "busy")
    fleet.master.kill()
    assert second.result(request) == SUCCESS
    # And the controller, which the dead one had started, still serves.
    assert second.result(second.force("baked")) == SUCCESS
    assert len(fleet.launched()) == 1


def test_a_worker_that_another_master_uses_is_refused_to_the_second(fleet: Fleet, second: SecondMaster) -> None:
    assert fleet.run("injected")["results"] == SUCCESS
    second.start("baked", "injected")
    request = second.force("injected")

    def ended() -> object:
        builds = second.master.rest(f"buildrequests/{request}/builds")["builds"]
        return [one for one in builds if one["complete"]]

    build = wait_for("the build of the second master", ended, 30)[0]
    assert build["results"] in (RETRY, EXCEPTION)
    steps = second.master.rest(f"builds/{build['buildid']}/steps")["steps"]
    logs = [log for step in steps for log in second.master.rest(f"steps/{step['stepid']}/logs")["logs"]]
    said = [second.master.rest(f"logs/{log['logid']}/contents")["logchunks"][0]["content"] for log in logs]
    # The other master is named: a master's name on the wire ends with its folder.
    assert re.search(re.escape(fleet.folder.name) + "(?!-second)", "".join(said)), said
    assert len(fleet.launched("injected")) == 1
    if build["results"] == RETRY:
        # It would be tried again until the first master has nothing of the worker any more.
        second.master.control(f"buildrequests/{request}", "cancel", reason="seen enough")
    # What is its own it can use, and the first master keeps what it had.
    assert second.result(second.force("baked")) == SUCCESS
    assert fleet.run("injected")["results"] == SUCCESS
    assert len(fleet.launched("injected")) == 1
    fleet.latent("stop", "injected")
    fleet.latent("stop", "baked")
    fleet.wait_gone(GONE_S)
