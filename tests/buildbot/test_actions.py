"""What an admin clicks in the web interface: whatever it was, the worker can be used again afterwards.

Everything goes through the REST interface, as the pages do; nothing is restarted.
"""

from __future__ import annotations

from typing import Any

import pytest
from fleet import CANCELLED, GONE_S, SUCCESS, Fleet
from master_process import wait_for

# Longer than it takes to begin a build on a warm worker.
NOTHING_S = 3.0
# A launch, a boot and a build, on a busy machine; one that is wedged never builds.
USABLE_S = 30.0


def seen(fleet: Fleet, worker: str = "baked") -> dict[str, Any]:
    """The worker as the master's interface shows it."""
    return dict(fleet.master.rest(f"workers/{worker}")["workers"][0])


def act(fleet: Fleet, method: str, worker: str = "baked") -> None:
    """One of the actions of a worker's page."""
    fleet.master.control(f"workers/{seen(fleet, worker)['workerid']}", method, reason="a test")


def is_usable(fleet: Fleet, worker: str = "baked") -> None:
    """A build on it succeeds."""
    assert fleet.wait_build(fleet.force(worker), USABLE_S)["results"] == SUCCESS


def stop_build(fleet: Fleet, request: int) -> None:
    """The stop button of a build, which ends by it."""
    build = fleet.builds(request)[0]
    fleet.master.control(f"builds/{build['buildid']}", "stop", reason="no longer wanted")
    assert fleet.wait_build(request)["results"] == CANCELLED


def stop_while_it_launches(fleet: Fleet) -> None:
    """A build is stopped before EC2 has answered its launch, which it does then."""
    hold = fleet.gate.hold_call("RunInstances")
    request = fleet.force("baked")
    hold.wait()
    stop_build(fleet, request)
    hold.let_go()


def test_force_on_a_cold_and_on_a_warm_worker(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="5s")
    assert fleet.run("baked")["results"] == SUCCESS
    is_usable(fleet)
    assert len(fleet.launched()) == 1


def test_graceful_stop_of_an_idle_worker(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="3s")
    fleet.changed = True
    assert fleet.run("baked")["results"] == SUCCESS
    act(fleet, "stop")
    fleet.wait_gone(GONE_S)
    is_usable(fleet)


def test_graceful_stop_in_a_build(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="3s")
    fleet.changed = True
    request = fleet.force("baked", seconds=2)
    fleet.wait_building("baked")
    act(fleet, "stop")
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.builds(request)) == 1
    fleet.wait_gone(GONE_S)
    is_usable(fleet)


def test_kill_of_an_idle_worker(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="3s")
    assert fleet.run("baked")["results"] == SUCCESS
    act(fleet, "kill")
    fleet.wait_gone(GONE_S)
    fleet.set_policy()
    is_usable(fleet)


def test_kill_in_a_build(fleet: Fleet) -> None:
    request = fleet.force("baked", seconds=3)
    fleet.wait_building("baked")
    act(fleet, "kill")
    # The build is retried on the same worker.
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.builds(request)) == 2
    is_usable(fleet)


def test_pause_keeps_builds_away_until_unpause(fleet: Fleet) -> None:
    act(fleet, "pause")
    wait_for("the pause", lambda: seen(fleet)["paused"])
    request = fleet.force("baked")
    with pytest.raises(TimeoutError):
        wait_for("a build or an instance", lambda: fleet.builds(request) or fleet.launched(), NOTHING_S)
    act(fleet, "unpause")
    assert fleet.wait_build(request)["results"] == SUCCESS


def test_a_pause_in_a_build_lets_it_finish_and_the_instance_go(fleet: Fleet) -> None:
    request = fleet.force("baked", seconds=2)
    fleet.wait_building("baked")
    act(fleet, "pause")
    assert fleet.wait_build(request)["results"] == SUCCESS
    fleet.wait_gone(GONE_S)
    act(fleet, "unpause")
    is_usable(fleet)


def test_stop_of_a_build_that_prepares_its_worker_leaves_nothing(fleet: Fleet) -> None:
    stop_while_it_launches(fleet)
    wait_for("the launch", lambda: fleet.launched())
    fleet.wait_gone(GONE_S)
    stop_while_it_launches(fleet)
    # At once, while that launch is still answered.
    is_usable(fleet)


def test_stop_of_a_build_whose_worker_has_not_connected(fleet: Fleet) -> None:
    assert fleet.agent is not None
    fleet.agent.configure(fates=[{"worker": "baked", "fate": "never"}])
    request = fleet.force("baked")
    fleet.wait_state("baked", "registering")
    stop_build(fleet, request)
    fleet.wait_gone(GONE_S)
    fleet.agent.configure(fates=[])
    is_usable(fleet)


def test_stop_of_a_running_build(fleet: Fleet) -> None:
    request = fleet.force("baked", seconds=30)
    fleet.wait_building("baked")
    stop_build(fleet, request)
    is_usable(fleet)
