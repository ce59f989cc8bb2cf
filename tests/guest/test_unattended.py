"""Nobody attends any more: a real master, a real controller and real workers, killed for ever.

The watch in each guest came with the user data of its launch, and runs as its timer would run it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from emulated_ec2 import Instance
from master_process import wait_for
from stack import Options, Stack

LEASE_S = 20
# The printed bound: the lease and a minute.
BOUND_S = LEASE_S + 60
GRACE_S = 25
POLICY = {"lease": f"{LEASE_S}s", "max_lifetime": "1h", "connect_deadline": "60s", "idle_timeout": "never"}


def stack(binary: str, policy: Optional[dict[str, str]] = None, **watch: Any) -> Stack:
    """A fleet whose controller nobody starts again."""
    policy = POLICY | (policy or {})
    return Stack(binary, Options(policy=policy, autostart=False, lease_watch={"look": 1.0, **watch}))


@pytest.fixture
def fleet(binary: str) -> Iterator[Stack]:
    """Two workers, about to build for an hour."""
    with stack(binary) as running:
        yield running


def begin_builds(fleet: Stack) -> list[Instance]:
    """A build of an hour on each worker; their instances."""
    for worker in fleet.workers:
        fleet.force(worker, seconds=3600)
    for worker in fleet.workers:
        fleet.wait_state(worker, "busy", seconds=90)
    return fleet.truth()


def leave_for_ever(fleet: Stack) -> float:
    """SIGKILL of the master and of the controller; when that was."""
    fleet.master.kill()
    fleet.kill_controller(signal.SIGKILL)
    return time.monotonic()


def powered_off(fleet: Stack, instance: Instance) -> dict[str, Any]:
    """What the boot agent tells of the end of a guest."""
    assert fleet.agent is not None
    return fleet.agent.wait_for("lease-watch-ordered", instance.id, timeout=5)


def test_every_instance_is_gone_within_the_lease_and_a_minute(fleet: Stack) -> None:
    instances = begin_builds(fleet)
    assert len(instances) == 2
    # Longer than a lease: what is attended to is left alone.
    held_until = time.monotonic() + 1.5 * LEASE_S
    while time.monotonic() < held_until:
        assert [i.id for i in fleet.truth()] == [i.id for i in instances]
        time.sleep(1)
    assert fleet.agent is not None
    wedged = fleet.agent.wait_for("worker-started", instances[0].id)["pid"]
    os.kill(wedged, signal.SIGSTOP)
    left = leave_for_ever(fleet)
    fleet.wait_gone(seconds=BOUND_S)
    assert time.monotonic() - left <= BOUND_S
    for instance in instances:
        assert "the lease ended" in powered_off(fleet, instance)["said"]
        assert fleet.agent.wait_for("powered-off", instance.id)["behaviour"] == "terminate"
        fleet.agent.wait_for("ended", instance.id, timeout=20)
    with pytest.raises(ProcessLookupError):
        os.kill(wedged, 0)


def test_without_metadata_every_instance_is_gone_within_the_grace(binary: str) -> None:
    with stack(binary, deaf=True, environment={"LATENT_GRACE": GRACE_S}) as fleet:
        instances = begin_builds(fleet)
        left = leave_for_ever(fleet)
        fleet.wait_gone(seconds=GRACE_S + 60)
        assert time.monotonic() - left <= GRACE_S + 60
        for instance in instances:
            assert "the metadata service does not answer" in powered_off(fleet, instance)["said"]


def test_what_is_stopped_and_started_again_is_watched_again(binary: str) -> None:
    """Its old lease is long over at the boot, and its power-off stops it: the owner's disk is kept."""
    with stack(binary, {"on_idle": "stop", "idle_timeout": "2s"}) as fleet:
        fleet.wait_build(fleet.force("baked"), 90)
        (instance,) = fleet.truth("baked")
        fleet.wait_state("baked", "stopped", seconds=60)
        time.sleep(LEASE_S)
        fleet.force("baked", seconds=3600)
        fleet.wait_state("baked", "busy", seconds=90)
        assert [i.id for i in fleet.truth("baked")] == [instance.id], "the same instance"
        left = leave_for_ever(fleet)
        wait_for("it to stop", lambda: fleet.truth("baked")[0].state == "stopped", BOUND_S)
        assert time.monotonic() - left <= BOUND_S
        assert "the lease ended" in powered_off(fleet, instance)["said"]
        assert fleet.agent is not None
        assert fleet.agent.wait_for("powered-off", instance.id)["behaviour"] == "stop"
