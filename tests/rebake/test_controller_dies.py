"""The controller is killed in several steps, and the master in the canary: it ends as if nothing had been."""

from __future__ import annotations

import json

import pytest
from bakehouse import Bakehouse
from fleet import SUCCESS
from master_process import wait_for

# Calls of EC2, before which and after which the controller dies.
CALLS = ["CreateSecurityGroup", "RunInstances", "CreateImage", "TerminateInstances"]


def begin(bakehouse: Bakehouse) -> str:
    """Orders a rebake that nobody follows; its id."""
    told = bakehouse.bake(bakehouse.ami(), "--detach", "--json")
    assert told.code == 0, told.err
    return str(json.loads(told.out)["id"])


def restart(bakehouse: Bakehouse) -> None:
    """The plugin starts the next controller."""
    wait_for("the next controller", lambda: bakehouse.latent("status").returncode == 0, 60)


def ends_well(bakehouse: Bakehouse, rebake: str, old: str) -> None:
    """It is promoted and used; one builder, one canary, one AMI, and nothing else."""
    ended = bakehouse.wait_ended(rebake)
    assert ended["outcome"]["how"] == "done", ended
    assert bakehouse.ami() == ended["ami"] != old
    builders = bakehouse.of_role("rebake")
    assert len(builders) == 1, builders
    lines = (bakehouse.state / "rebakes" / f"{rebake}.jsonl").read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", CALLS)
def test_killed_around_a_call(bakehouse: Bakehouse, call: str, when: str) -> None:
    before, old = bakehouse.account(), bakehouse.ami()
    hold = bakehouse.gate.hold_call(call) if when == "before" else bakehouse.gate.hold_answer(call)
    rebake = begin(bakehouse)
    hold.wait(90)
    bakehouse.kill_controller()
    hold.drop()
    restart(bakehouse)
    hold.let_go()
    ends_well(bakehouse, rebake, old)
    allowed = made_by(bakehouse, rebake)
    bakehouse.wait_account(before, allowed)


@pytest.mark.parametrize("step", ["update", "canary"])
def test_killed_in_a_step_that_takes_its_time(bakehouse: Bakehouse, step: str) -> None:
    before, old = bakehouse.account(), bakehouse.ami()
    rebake = begin(bakehouse)
    bakehouse.wait_step(step)
    bakehouse.kill_controller()
    restart(bakehouse)
    ends_well(bakehouse, rebake, old)
    bakehouse.wait_account(before, made_by(bakehouse, rebake))


def test_the_master_is_killed_in_the_canary(bakehouse: Bakehouse) -> None:
    before, old = bakehouse.account(), bakehouse.ami()
    rebake = begin(bakehouse)
    bakehouse.wait_step("canary")
    wait_for("the canary", lambda: bakehouse.of_role("canary"), 60)
    bakehouse.master.kill()
    bakehouse.start_master()
    ends_well(bakehouse, rebake, old)
    assert bakehouse.run("baked")["results"] == SUCCESS
    bakehouse.wait_gone()
    bakehouse.wait_account(before, made_by(bakehouse, rebake))


def made_by(bakehouse: Bakehouse, rebake: str) -> frozenset[str]:
    """The AMI of a rebake, and its snapshots."""
    (ami,) = bakehouse.ec2().describe_images(
        Owners=["self"], Filters=[{"Name": "tag:latent:rebake-id", "Values": [rebake]}]
    )["Images"]
    return bakehouse.made(ami["ImageId"])
