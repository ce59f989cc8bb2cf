"""EC2 refuses, is away, or takes an instance: every build gets a reason, and nothing is left."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from fleet import EXCEPTION, GONE_S, RETRY, SUCCESS, Fleet
from master_process import wait_for

# Longer than any of these tests waits for a boot.
NEVER_S = 600.0


# EC2 refuses.


def test_an_ami_that_does_not_exist_fails_the_build_until_the_owner_corrects_it(fleet: Fleet) -> None:
    fleet.changed = True
    manifest = fleet.folder / "amis" / "baked.toml"
    right = manifest.read_text()
    manifest.write_text(right.replace(fleet.seeded["amis"]["baked"], "ami-00000000000000000"))
    reload(fleet)
    build = fleet.run("baked")
    assert build["results"] == EXCEPTION
    says(fleet, build, "launch phase", "InvalidAMIID.NotFound", "the owner corrects the image manifest")
    manifest.write_text(right)
    reload(fleet)
    assert fleet.run("baked")["results"] == SUCCESS
    assert len(fleet.launched()) == 1


@pytest.mark.parametrize(
    ("code", "status", "cure"),
    [
        ("UnauthorizedOperation", 403, "the owner checks the role, its trust policy and its permissions"),
        ("InvalidParameterValue", 400, "the owner corrects the image manifest"),
    ],
)
def test_a_refusal_that_only_a_person_can_mend_fails_the_build(
    fleet: Fleet, code: str, status: int, cure: str
) -> None:
    fleet.gate.refuse("RunInstances", code, "you shall not", status)
    build = fleet.run("baked")
    assert build["results"] == EXCEPTION
    says(fleet, build, "launch phase", code, "you shall not", cure)
    assert not fleet.launched()
    fleet.gate.clear()
    # The refusal is remembered for a moment: until then the answer is the same, without a call.
    wait_for("a build that succeeds", lambda: fleet.run("baked")["results"] == SUCCESS)


def test_a_full_quota_is_told_and_tried_again(fleet: Fleet) -> None:
    fleet.gate.refuse("RunInstances", "VcpuLimitExceeded", "you have requested more vCPU capacity than your limit")
    request = fleet.force("injected")
    build = fleet.wait_ended(request)
    assert build["results"] == RETRY
    says(fleet, build, "launch phase", "VcpuLimitExceeded (quota)", "the owner asks AWS for a higher quota")
    fleet.gate.clear()
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.launched()) == 1


def test_without_capacity_for_the_first_type_the_second_is_used(fleet: Fleet) -> None:
    fleet.gate.refuse(
        "RunInstances",
        "InsufficientInstanceCapacity",
        status=500,
        fits=lambda form: form["InstanceType"] == "m5.large",
    )
    request = fleet.force("baked")
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert [i["InstanceType"] for i in fleet.instances("baked")] == ["t3.large"]
    assert len(fleet.builds(request)) == 1
    tokens = [form["ClientToken"] for form in fleet.gate.forms("RunInstances")]
    assert len(tokens) == len(set(tokens)) == 2


def test_without_capacity_anywhere_the_build_is_retried_until_there_is_some(fleet: Fleet) -> None:
    fleet.set_policy(launch_deadline="2s")
    fleet.gate.refuse("RunInstances", "InsufficientInstanceCapacity", status=500)
    request = fleet.force("baked")
    build = fleet.wait_ended(request)
    assert build["results"] == RETRY
    says(fleet, build, "launch phase", "NoCapacity", "add instance types, subnets or a second market")
    fleet.gate.clear()
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.launched()) == 1


@pytest.mark.parametrize(("code", "status"), [("RequestLimitExceeded", 503), ("InternalError", 500)])
def test_throttles_and_passing_faults_only_delay_a_build(fleet: Fleet, code: str, status: int) -> None:
    fleet.gate.refuse("RunInstances", code, status=status, times=2)
    request = fleet.force("injected")
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.builds(request)) == len(fleet.launched()) == 1
    tokens = [form["ClientToken"] for form in fleet.gate.forms("RunInstances")]
    assert len(tokens) == 3 and len(set(tokens)) == 1


def test_refused_terminations_are_repeated_until_they_are_accepted(fleet: Fleet) -> None:
    fleet.gate.refuse("TerminateInstances", "RequestLimitExceeded", status=503, times=2)
    fleet.run("baked")
    fleet.wait_gone(GONE_S)
    assert fleet.gate.count("TerminateInstances") == 3


def test_an_account_that_cannot_be_listed_fails_builds_with_the_reason(fleet: Fleet) -> None:
    fleet.gate.clear()
    fleet.gate.refuse("DescribeInstances", "AuthFailure", "AWS was not able to validate the credentials", 401)
    # One look that fails may be a passing fault; three are an answer.
    wait_for("three looks", lambda: fleet.gate.count("DescribeInstances") >= 3)
    assert "cannot be listed: AuthFailure" in fleet.latent("status").stdout
    build = fleet.run("baked")
    assert build["results"] == EXCEPTION
    says(fleet, build, "AuthFailure (credentials)", "not able to validate", "the owner checks the role")
    fleet.gate.clear()
    wait_for("the controller to list again", lambda: "cannot be listed" not in fleet.latent("status").stdout)
    assert fleet.run("baked")["results"] == SUCCESS


# EC2 is away, or somebody else answers.


def test_a_build_waits_for_ec2_that_is_away_at_the_start(fleet: Fleet) -> None:
    fleet.gate.down()
    fleet.rebuild()
    fleet.changed = True
    request = fleet.force("baked")
    wait_for("status to say so", lambda: "cannot be listed: Unreachable" in fleet.latent("status").stdout)
    assert fleet.worker("baked")["held"] == "waiting for a complete listing"
    fleet.gate.up()
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.builds(request)) == len(fleet.launched()) == 1


def test_ec2_that_goes_away_does_not_disturb_a_build(fleet: Fleet) -> None:
    request = fleet.force("baked", seconds=2)
    fleet.wait_building("baked")
    fleet.gate.down()
    assert fleet.wait_build(request)["results"] == SUCCESS
    wait_for("status to say so", lambda: "cannot be listed" in fleet.latent("status").stdout)
    assert len(fleet.truth()) == 1
    fleet.gate.up()
    fleet.wait_gone(GONE_S)
    assert len(fleet.builds(request)) == len(fleet.launched()) == 1


def test_a_lost_answer_to_a_launch_gives_one_instance(fleet: Fleet) -> None:
    hold = fleet.gate.hold_answer("RunInstances")
    request = fleet.force("injected")
    hold.wait()
    hold.drop()
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.builds(request)) == len(fleet.launched()) == 1


@pytest.mark.parametrize("action", ["DescribeInstances", "RunInstances", "TerminateInstances"])
def test_an_answer_that_is_not_ec2s_proves_nothing(fleet: Fleet, action: str) -> None:
    # Heard by EC2, and answered by something in between.
    fleet.gate.garble(action, after=True, times=2)
    request = fleet.force("baked")
    assert fleet.wait_build(request)["results"] == SUCCESS
    fleet.wait_gone(GONE_S)
    assert len(fleet.launched()) == 1


def test_nothing_is_launched_while_listings_cannot_be_read(fleet: Fleet) -> None:
    fleet.set_policy(launch_deadline="2s")
    fleet.gate.garble("DescribeInstances")
    wait_for("the controller to see it", lambda: "NotAnEc2Answer" in fleet.latent("status").stdout)
    fleet.kill_controller()
    request = fleet.force("baked")
    build = fleet.wait_ended(request)
    assert build["results"] == RETRY
    says(fleet, build, "launch phase", "NoListing", "NotAnEc2Answer", "is something between latent and EC2?")
    assert fleet.gate.count("RunInstances") == 0
    fleet.gate.clear()
    assert fleet.wait_build(request)["results"] == SUCCESS


def test_a_listing_that_was_begun_before_a_launch_does_not_end_it(fleet: Fleet) -> None:
    fleet.set_policy(absence_grace="1s")
    listing = fleet.gate.hold_answer("DescribeInstances")
    fleet.gate.refuse("DescribeInstances", "InternalError", status=500)
    listing.wait()
    request = fleet.force("injected", seconds=3)
    fleet.wait_building("injected")
    listing.let_go()
    assert fleet.wait_build(request)["results"] == SUCCESS
    fleet.gate.clear()
    fleet.wait_gone(GONE_S)
    assert len(fleet.builds(request)) == len(fleet.launched()) == 1


def test_a_listing_from_before_a_start_does_not_undo_it(fleet: Fleet) -> None:
    fleet.set_policy(on_idle="stop")
    fleet.run("baked")
    fleet.wait_state("baked", "stopped", seconds=GONE_S)
    start = fleet.gate.hold_call("StartInstances")
    request = fleet.force("baked")
    start.wait()
    listed = fleet.gate.count("DescribeInstances")
    wait_for("two listings that show it stopped", lambda: fleet.gate.count("DescribeInstances") >= listed + 2)
    assert fleet.worker("baked")["state"] == "registering"
    start.let_go()
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert fleet.gate.count("StartInstances") == len(fleet.builds(request)) == len(fleet.launched()) == 1


def test_a_worker_may_connect_before_its_launch_is_answered(fleet: Fleet) -> None:
    fleet.gate.refuse("DescribeInstances", "InternalError", status=500)
    answer = fleet.gate.hold_answer("RunInstances")
    request = fleet.force("injected")
    answer.wait()
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert fleet.worker("injected")["state"] == "launching"
    fleet.gate.clear()
    fleet.wait_gone(GONE_S)
    assert len(fleet.builds(request)) == len(fleet.launched()) == 1


def test_a_build_does_not_begin_on_an_instance_that_is_about_to_end(fleet: Fleet) -> None:
    fleet.run("baked")
    assert fleet.agent is not None
    hold = fleet.gate.hold_call("TerminateInstances")
    hold.wait()
    # Its worker is still there, and knocks again after the master has let it go.
    request = fleet.force("baked", seconds=2)
    wait_for("the worker to knock", lambda: "knocks and is turned away" in fleet.master.log())
    hold.let_go()
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.builds(request)) == 1 and len(fleet.launched()) == 2


# Instances end, or are of no use.


def test_an_instance_that_ends_before_its_worker_connects_is_told_at_once(fleet: Fleet) -> None:
    assert fleet.agent is not None
    fleet.agent.configure(boot_delay=NEVER_S)
    request = fleet.force("baked")
    fleet.wait_state("baked", "registering")
    fleet.agent.configure(boot_delay=0.1)
    fleet.end_instances()
    build = fleet.wait_ended(request, seconds=10)
    assert build["results"] == RETRY
    says(
        fleet,
        build,
        "connect phase",
        "InstanceEnded",
        "ended before its worker connected",
        "see the reason EC2 gives",
    )
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.launched()) == 2


def test_an_idle_instance_that_ends_is_replaced_for_the_next_build(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="60s")
    assert fleet.run("baked")["results"] == SUCCESS
    fleet.end_instances()
    fleet.wait_state("baked", "gone")
    request = fleet.force("baked")
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.launched()) == 2


def test_a_build_whose_instance_ends_is_retried_on_another(fleet: Fleet) -> None:
    request = fleet.force("injected", seconds=1.5)
    fleet.wait_building("injected")
    fleet.end_instances()
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert [build["results"] for build in fleet.builds(request)] == [RETRY, SUCCESS]
    assert len(fleet.launched()) == 2


def test_a_build_whose_instance_ends_without_a_word_is_retried_on_another(fleet: Fleet) -> None:
    request = fleet.force("baked", seconds=4)
    fleet.wait_building("baked")
    assert fleet.agent is not None
    # A host that is gone closes no connection: neither does a process that sleeps.
    pid = fleet.agent.wait_for("worker-started", fleet.launched()[0])["pid"]
    os.kill(pid, signal.SIGSTOP)
    fleet.end_instances()
    # The boot agent ends what does not listen after three seconds; it is not that long.
    assert fleet.wait_ended(request, seconds=2.5)["results"] == RETRY
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.launched()) == 2


def test_a_worker_that_never_connects_fails_its_build_and_ends_its_instance(fleet: Fleet) -> None:
    fleet.set_policy(connect_deadline="2s")
    assert fleet.agent is not None
    fleet.agent.configure(fates=[{"fate": "never"}])
    request = fleet.force("injected")
    build = fleet.wait_ended(request)
    fleet.agent.configure(fates=[])
    fleet.set_policy()
    assert build["results"] == RETRY
    says(fleet, build, "connect phase", "NeverConnected", "did not connect within 2s", "console output")
    assert fleet.wait_build(request)["results"] == SUCCESS
    first = fleet.launched()[0]
    assert first not in [instance.id for instance in fleet.truth()]


def test_a_guest_that_powers_itself_off_is_replaced(fleet: Fleet) -> None:
    assert fleet.agent is not None
    fleet.agent.configure(fates=[{"worker": "baked", "fate": "poweroff", "seconds": 0, "from": "boot"}])
    request = fleet.force("baked")
    assert fleet.wait_ended(request)["results"] == RETRY
    fleet.agent.configure(fates=[])
    assert fleet.wait_build(request)["results"] == SUCCESS


def test_two_guests_with_one_identity_are_not_two_workers(fleet: Fleet) -> None:
    assert fleet.agent is not None
    fleet.agent.configure(fates=[{"fate": "twice"}])
    assert fleet.run("baked")["results"] == SUCCESS
    fleet.wait_gone(GONE_S)
    assert len(fleet.launched()) == 1


def reload(fleet: Fleet) -> None:
    """Lets the controller read its files again."""
    taken = fleet.controller_log().count("configuration read again")
    for pid in fleet.controller_pids():
        os.kill(pid, signal.SIGHUP)
    wait_for("the new files", lambda: fleet.controller_log().count("configuration read again") > taken)


def says(fleet: Fleet, build: dict[str, Any], *parts: str) -> None:
    """The build says why it did not begin: phase, code, and what to do."""
    text = fleet.preparation(build)
    assert not [part for part in parts if part not in text], text
