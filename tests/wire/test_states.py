"""The life of an instance: every change takes its time, and says its reason."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from account import Account, refused

# EC2's number of each state.
CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def states(answer: dict[str, Any], key: str) -> list[tuple[str, str]]:
    """The states before and after, as a call that changes them tells."""
    return [(one["PreviousState"]["Name"], one["CurrentState"]["Name"]) for one in answer[key]]


def test_a_launch_takes_its_time(slow: Account) -> None:
    instance = slow.launch()
    seen = slow.describe(instance)["State"]
    assert (seen["Name"], seen["Code"]) == ("pending", CODES["pending"])
    assert slow.reach(instance, "running")["State"]["Code"] == CODES["running"]


def test_a_termination_passes_through_shutting_down(account: Account) -> None:
    instance = account.running()
    answer = account.ec2.terminate_instances(InstanceIds=[instance])
    assert states(answer, "TerminatingInstances") == [("running", "shutting-down")]
    seen = account.reach(instance, "terminated")
    assert seen["State"]["Code"] == CODES["terminated"]
    assert seen["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert seen["StateTransitionReason"].startswith("User initiated (")
    assert not seen.get("PrivateIpAddress") and not seen.get("BlockDeviceMappings")


def test_terminating_twice_is_harmless(account: Account) -> None:
    instance = account.running()
    account.ec2.terminate_instances(InstanceIds=[instance])
    account.ec2.terminate_instances(InstanceIds=[instance])
    account.reach(instance, "terminated")
    answer = account.ec2.terminate_instances(InstanceIds=[instance])
    assert states(answer, "TerminatingInstances") == [("terminated", "terminated")]


def test_a_stopped_instance_starts_again_as_the_same(account: Account) -> None:
    instance = account.running()
    before = account.describe(instance)
    answer = account.ec2.stop_instances(InstanceIds=[instance])
    assert states(answer, "StoppingInstances") == [("running", "stopping")]
    stopped = account.reach(instance, "stopped")
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    answer = account.ec2.start_instances(InstanceIds=[instance])
    assert states(answer, "StartingInstances") == [("stopped", "pending")]
    after = account.reach(instance, "running")
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["LaunchTime"] > before["LaunchTime"]
    assert not after.get("StateReason", {}).get("Code")


def test_starting_what_runs_and_stopping_what_is_stopped_changes_nothing(account: Account) -> None:
    instance = account.running()
    assert states(account.ec2.start_instances(InstanceIds=[instance]), "StartingInstances") == [
        ("running", "running")
    ]
    account.ec2.stop_instances(InstanceIds=[instance])
    account.reach(instance, "stopped")
    assert states(account.ec2.stop_instances(InstanceIds=[instance]), "StoppingInstances") == [
        ("stopped", "stopped")
    ]


def test_what_is_terminated_neither_starts_nor_stops(account: Account) -> None:
    instance = account.running()
    account.ec2.terminate_instances(InstanceIds=[instance])
    account.reach(instance, "terminated")
    with refused("IncorrectInstanceState", "IncorrectState"):
        account.ec2.start_instances(InstanceIds=[instance])
    with refused("IncorrectInstanceState", "IncorrectState"):
        account.ec2.stop_instances(InstanceIds=[instance])


def test_what_is_on_its_way_elsewhere_neither_starts_nor_stops(slow: Account) -> None:
    instance = slow.launch()
    with refused("IncorrectInstanceState", "IncorrectState"):
        slow.ec2.stop_instances(InstanceIds=[instance])
    slow.reach(instance, "running")
    slow.ec2.stop_instances(InstanceIds=[instance])
    with refused("IncorrectInstanceState", "IncorrectState"):
        slow.ec2.start_instances(InstanceIds=[instance])


# Hibernation.


def encrypted(account: Account) -> str:
    """An image whose disk is encrypted."""
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30, "Encrypted": True}}
    made = account.ec2.register_image(
        Name="asleep", Architecture="x86_64", RootDeviceName="/dev/sda1", BlockDeviceMappings=[root]
    )
    return str(made["ImageId"])


def test_what_was_launched_for_it_hibernates_and_is_billed_until_it_is_stopped(account: Account) -> None:
    configured = {"HibernationOptions": {"Configured": True}, "InstanceType": "m7i.large"}
    instance = account.running(ImageId=encrypted(account), **configured)
    assert account.describe(instance)["HibernationOptions"] == {"Configured": True}
    with refused("UnsupportedOperation"):
        account.ec2.stop_instances(InstanceIds=[instance], Hibernate=True)
    account.control.advance(180)
    answer = account.ec2.stop_instances(InstanceIds=[instance], Hibernate=True)
    assert states(answer, "StoppingInstances") == [("running", "stopping")]
    before = account.control.bill()["seconds"]
    stopped = account.reach(instance, "stopped")
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedHibernate"
    assert account.control.bill()["seconds"] > before, "it is billed while its memory is written"
    account.ec2.start_instances(InstanceIds=[instance])
    account.reach(instance, "running")


def test_what_was_not_launched_for_it_does_not_hibernate(account: Account) -> None:
    instance = account.running()
    assert account.describe(instance)["HibernationOptions"] == {"Configured": False}
    with refused("UnsupportedHibernationConfiguration"):
        account.ec2.stop_instances(InstanceIds=[instance], Hibernate=True)
    assert account.describe(instance)["State"]["Name"] == "running"


def test_a_launch_that_could_not_hibernate_is_refused(account: Account) -> None:
    configured: dict[str, Any] = {"HibernationOptions": {"Configured": True}}
    with refused("InvalidParameterCombination"):
        account.launch(InstanceType="m7i.large", **configured)
    with refused("UnsupportedHibernationConfiguration"):
        account.launch(ImageId=encrypted(account), InstanceType="g5.xlarge", **configured)
    spot = {"InstanceMarketOptions": {"MarketType": "spot"}}
    with refused("InvalidParameterCombination"):
        account.launch(ImageId=account.image, InstanceType="m7i.large", **spot, **configured)
    able = account.ec2.describe_instance_types(Filters=[{"Name": "hibernation-supported", "Values": ["true"]}])
    names = {one["InstanceType"] for one in able["InstanceTypes"] if one["HibernationSupported"]}
    assert "m7i.large" in names and "g5.xlarge" not in names


def test_a_reboot_is_no_change_of_state(account: Account) -> None:
    instance = account.running()
    account.ec2.reboot_instances(InstanceIds=[instance])
    assert account.describe(instance)["State"]["Name"] == "running"


def test_a_protected_instance_is_not_terminated_nor_any_other_of_the_call(account: Account) -> None:
    subnet = account.subnets()[0]["SubnetId"]
    plain = account.running(SubnetId=subnet)
    guarded = account.running(SubnetId=subnet, DisableApiTermination=True)
    with refused("OperationNotPermitted"):
        account.ec2.terminate_instances(InstanceIds=[plain, guarded])
    assert {one["state"] for one in account.truth()} == {"running"}
    attribute = account.ec2.describe_instance_attribute(InstanceId=guarded, Attribute="disableApiTermination")
    assert attribute["DisableApiTermination"]["Value"] is True
    account.ec2.modify_instance_attribute(InstanceId=guarded, DisableApiTermination={"Value": False})
    account.ec2.terminate_instances(InstanceIds=[plain, guarded])
    account.reach(guarded, "terminated")


@pytest.mark.parametrize(
    ("option", "behaviour", "end"),
    [
        ({}, "stop", "stopped"),
        ({"InstanceInitiatedShutdownBehavior": "stop"}, "stop", "stopped"),
        ({"InstanceInitiatedShutdownBehavior": "terminate"}, "terminate", "terminated"),
    ],
)
def test_a_guest_that_powers_off_obeys_the_shutdown_behaviour(
    account: Account, option: dict[str, str], behaviour: str, end: str
) -> None:
    instance = account.running(**option)
    attribute = account.ec2.describe_instance_attribute(
        InstanceId=instance, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert attribute["InstanceInitiatedShutdownBehavior"]["Value"] == behaviour
    assert account.control.power_off(instance)["shutdown_behavior"] == behaviour
    seen = account.reach(instance, end)
    assert seen["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_the_shutdown_behaviour_can_be_changed(account: Account) -> None:
    instance = account.running()
    account.ec2.modify_instance_attribute(
        InstanceId=instance, InstanceInitiatedShutdownBehavior={"Value": "terminate"}
    )
    account.control.power_off(instance)
    account.reach(instance, "terminated")


def test_what_a_third_party_does_looks_like_what_we_do(account: Account) -> None:
    stopped, ended = account.running(), account.running()
    account.control.meddle(stopped, "stop")
    account.control.meddle(ended, "terminate")
    assert account.reach(stopped, "stopped")["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert account.reach(ended, "terminated")["StateReason"]["Code"] == "Client.UserInitiatedShutdown"


def test_user_data_is_read_back(account: Account) -> None:
    instance = account.launch(UserData="#!/bin/sh\necho ünïcode\n")
    attribute = account.ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")
    assert base64.b64decode(attribute["UserData"]["Value"]).decode() == "#!/bin/sh\necho ünïcode\n"


def test_the_console_shows_what_the_guest_wrote(account: Account) -> None:
    instance = account.running()
    account.control.ask("POST", f"instances/{instance}/console", {"text": "kernel panic\nno init found\n"})
    answer = account.until(lambda: one if (one := console(account, instance)).get("Output") else None)
    assert answer["InstanceId"] == instance
    assert "no init found" in answer["Output"]
    assert answer["Timestamp"]


def console(account: Account, instance: str) -> dict[str, Any]:
    """What EC2 shows of the console; boto3 decodes it."""
    return dict(account.ec2.get_console_output(InstanceId=instance, Latest=True))
