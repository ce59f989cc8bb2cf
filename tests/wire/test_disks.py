"""Disks and interfaces end with their instance, or stay and cost."""

from __future__ import annotations

from typing import Any

from account import Account, named, refused

DATA = "/dev/sdf"


def disks(account: Account, instance: str) -> dict[str, dict[str, Any]]:
    """The volumes of an instance, by device."""
    found = account.ec2.describe_volumes(Filters=named("attachment.instance-id", instance))["Volumes"]
    return {volume["Attachments"][0]["Device"]: volume for volume in found}


def end(account: Account, instance: str) -> None:
    """Terminates it and waits for that."""
    account.ec2.terminate_instances(InstanceIds=[instance])
    account.reach(instance, "terminated")


def test_a_disk_goes_with_its_instance_unless_it_was_told_to_stay(account: Account) -> None:
    stays = {"DeviceName": DATA, "Ebs": {"VolumeSize": 10, "DeleteOnTermination": False}}
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20, "DeleteOnTermination": True}}
    instance = account.running(BlockDeviceMappings=[root, stays])
    before = disks(account, instance)
    assert {name: volume["Size"] for name, volume in before.items()} == {"/dev/sda1": 20, DATA: 10}
    assert {volume["State"] for volume in before.values()} == {"in-use"}
    with refused("VolumeInUse"):
        account.ec2.delete_volume(VolumeId=before[DATA]["VolumeId"])
    end(account, instance)
    account.until(lambda: not volumes(account, before["/dev/sda1"]["VolumeId"]))
    (left,) = account.until(lambda: volumes(account, before[DATA]["VolumeId"]))
    assert left["State"] == "available"
    account.ec2.delete_volume(VolumeId=left["VolumeId"])
    account.until(lambda: not volumes(account, left["VolumeId"]))


def test_a_disk_keeps_while_its_instance_is_stopped(account: Account) -> None:
    instance = account.running()
    (before,) = disks(account, instance).values()
    account.ec2.stop_instances(InstanceIds=[instance])
    account.reach(instance, "stopped")
    assert [one["State"] for one in volumes(account, before["VolumeId"])] == ["in-use"]


def test_a_volume_that_is_gone_is_not_found(account: Account) -> None:
    with refused("InvalidVolume.NotFound"):
        account.ec2.describe_volumes(VolumeIds=["vol-0123456789abcdef0"])
    with refused("InvalidVolume.NotFound"):
        account.ec2.delete_volume(VolumeId="vol-0123456789abcdef0")


def test_an_interface_goes_with_its_instance(account: Account) -> None:
    instance = account.running()
    (card,) = cards(account, instance)
    assert card["Status"] == "in-use"
    with refused("InvalidParameterValue", "InvalidNetworkInterface.InUse"):
        account.ec2.delete_network_interface(NetworkInterfaceId=card["NetworkInterfaceId"])
    end(account, instance)
    account.until(lambda: not cards(account, instance))


def volumes(account: Account, volume: str) -> list[dict[str, Any]]:
    """The volume, if a listing shows it."""
    found = account.ec2.describe_volumes(Filters=named("volume-id", volume))["Volumes"]
    return [one for one in found if one["State"] != "deleting"]


def cards(account: Account, instance: str) -> list[dict[str, Any]]:
    """The network interfaces of an instance."""
    return list(
        account.ec2.describe_network_interfaces(Filters=named("attachment.instance-id", instance))[
            "NetworkInterfaces"
        ]
    )
