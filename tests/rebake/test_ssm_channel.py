"""The script comes by Run Command, and what it says comes back so: no console, no user data."""

from __future__ import annotations

from typing import Any

import pytest
from bakehouse import Bakehouse

FAILED = 11


@pytest.fixture(autouse=True)
def usual_builders(bakehouse: Bakehouse) -> Any:
    """Builders with an agent; what one test did to them is no other's."""
    bakehouse.guests().configure(builder={"agent": True})
    yield
    bakehouse.guests().configure(builder={})


def test_an_agent_is_told_what_to_do_and_reboots(bakehouse: Bakehouse) -> None:
    before, old = bakehouse.account(), bakehouse.ami()
    bakehouse.configure(channel="ssm")
    told = bakehouse.bake(old)
    assert told.code == 0, told.out + told.err
    new = bakehouse.ami()
    assert new != old
    (builder,) = bakehouse.of_role("rebake")
    answers = [event["exit_code"] for event in bakehouse.guests().events("ssm-answer", builder.id)]
    assert answers[-1] == 0 and set(answers[:-1]) == {194}
    told = bakehouse.ec2().describe_instance_attribute(InstanceId=builder.id, Attribute="userData")
    assert not told.get("UserData")
    said = bakehouse.journal(bakehouse.last()["id"], "guest_said")[-1]["report"]
    assert said["done"]["reboots"] == len(answers) - 1
    bakehouse.wait_account(before, bakehouse.made(new))


def test_a_script_that_fails_there_leaves_nothing(bakehouse: Bakehouse) -> None:
    before, old = bakehouse.account(), bakehouse.ami()
    bakehouse.configure(channel="ssm")
    bakehouse.guests().configure(builder={"agent": True, "fail": "100 apt-get update\n" * 9})
    told = bakehouse.bake(old)
    assert told.code == FAILED and "failed in update, exit code 100" in told.out, told.out + told.err
    bakehouse.wait_account(before)
    assert bakehouse.ami() == old
