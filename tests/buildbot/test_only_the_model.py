"""What no emulator but our own model of EC2 can show: tokens, lag, failures after the answer, leftovers."""

from __future__ import annotations

from typing import Any

import pytest
from emulator import chosen_kind
from fleet import GONE_S, RETRY, SUCCESS, Fleet
from master_process import wait_for
from sim_control import SimControl

pytestmark = pytest.mark.skipif(chosen_kind() != "sim", reason="moto does none of this")


@pytest.fixture
def sim(fleet: Fleet) -> Any:
    """The side entrance of the model; no fault is left behind."""
    control = SimControl(fleet.endpoint)
    yield control
    control.clear_faults()


def tokens(fleet: Fleet) -> list[str]:
    """The tokens of all launch calls that were sent."""
    return [form["ClientToken"] for form in fleet.gate.forms("RunInstances")]


def test_a_launch_whose_answer_is_lost_is_sent_again_and_gives_the_same_instance(
    fleet: Fleet, sim: SimControl
) -> None:
    # No listing shows the instance before the call is repeated.
    sim.fault("lag", rate=1.0)
    sim.fault("reply-lost", action="RunInstances", times=2)
    request = fleet.force("baked")
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.launched()) == len(fleet.builds(request)) == 1
    assert len(set(tokens(fleet))) == 1


def test_a_controller_that_dies_before_the_answer_asks_again_for_the_same_instance(
    fleet: Fleet, sim: SimControl
) -> None:
    listing = fleet.gate.hold_call("DescribeInstances")
    hold = fleet.gate.hold_answer("RunInstances")
    request = fleet.force("injected")
    hold.wait()
    # Of this controller, and not the first one of the next.
    listing.wait()
    assert len(fleet.launched()) == 1
    # The next controller's first listings do not show it.
    sim.fault("lag", rate=1.0)
    fleet.kill_controller()
    hold.drop()
    assert fleet.wait_build(request)["results"] == SUCCESS
    fleet.wait_gone(GONE_S)
    assert len(fleet.launched()) == len(set(tokens(fleet))) == 1


def test_the_end_of_the_console_stands_in_the_build_whose_worker_never_connected(
    fleet: Fleet, sim: SimControl
) -> None:
    fleet.set_policy(connect_deadline="4s")
    assert fleet.agent is not None
    fleet.agent.configure(fates=[{"fate": "never"}])
    request = fleet.force("injected")
    fleet.wait_state("injected", "registering")
    text = f"\x1b[31mbuildbot-worker: no route to host, password {fleet.options.password}\n"
    sim.ask("POST", f"instances/{fleet.launched()[0]}/console", {"text": text})
    build = fleet.wait_ended(request)
    fleet.agent.configure(fates=[])
    fleet.set_policy()
    said = fleet.preparation(build)
    assert "The end of the instance's console:" in said and "no route to host" in said
    assert fleet.options.password not in said and "\x1b" not in said
    assert fleet.wait_build(request)["results"] == SUCCESS


def test_nothing_is_left_of_an_instance(fleet: Fleet) -> None:
    assert fleet.run("baked")["results"] == SUCCESS
    fleet.wait_gone(GONE_S)
    ec2 = fleet.ec2()
    wait_for("the disks to go", lambda: not ec2.describe_volumes()["Volumes"])
    wait_for("the interfaces to go", lambda: not ec2.describe_network_interfaces()["NetworkInterfaces"])


def test_the_interface_carries_every_tag_too(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="3s")
    fleet.run("baked")
    (instance,) = fleet.instances("baked")
    (card,) = fleet.ec2().describe_network_interfaces()["NetworkInterfaces"]
    assert {tag["Key"]: tag["Value"] for tag in card["TagSet"]} == {
        tag["Key"]: tag["Value"] for tag in instance["Tags"]
    }


def test_a_launch_that_was_accepted_and_fails_is_retried_with_ec2s_reason(fleet: Fleet, sim: SimControl) -> None:
    sim.fault("async-failure", rate=1.0)
    request = fleet.force("baked")
    build = fleet.wait_ended(request)
    sim.clear_faults()
    assert build["results"] == RETRY
    assert "InstanceEnded" in fleet.preparation(build)
    assert fleet.wait_build(request)["results"] == SUCCESS


def test_an_instance_that_is_long_in_ending_keeps_nobody_waiting(fleet: Fleet, sim: SimControl) -> None:
    sim.fault("stuck-ending", rate=1.0)
    assert fleet.run("baked")["results"] == SUCCESS
    fleet.wait_gone(GONE_S)
    sim.clear_faults()
    assert fleet.run("baked")["results"] == SUCCESS
    assert len(fleet.launched()) == 2
    # What is on its way out still is no business of the next test.
    fleet.changed = True


def test_an_idle_instance_that_somebody_stops_is_not_left_to_cost(fleet: Fleet, sim: SimControl) -> None:
    fleet.set_policy(idle_timeout="60s")
    assert fleet.run("injected")["results"] == SUCCESS
    (instance,) = fleet.launched()
    sim.meddle(instance, "stop")
    wait_for("it to be stopped", lambda: sim.instance(instance)["state"] == "stopped")
    assert fleet.run("injected")["results"] == SUCCESS
    fleet.latent("stop", "injected")
    fleet.wait_gone(GONE_S)


def test_a_guest_that_powers_off_ends_its_instance(fleet: Fleet, sim: SimControl) -> None:
    fleet.set_policy(idle_timeout="60s")
    assert fleet.run("baked")["results"] == SUCCESS
    (instance,) = fleet.launched()
    assert sim.power_off(instance)["shutdown_behavior"] == "terminate"
    fleet.wait_gone(GONE_S)
    fleet.wait_state("baked", "gone")
    assert fleet.gate.count("TerminateInstances") == 0
