"""RunInstances: one instance for one token, all or at least so many, tagged from birth."""

from __future__ import annotations

import pytest
from account import TYPE, Account, named, refused, tag_specs, tags_of


def test_the_same_token_gives_the_same_instance(account: Account) -> None:
    first, second = account.run(ClientToken="once"), account.run(ClientToken="once")
    assert first["ReservationId"] == second["ReservationId"]
    assert [one["InstanceId"] for one in first["Instances"]] == [one["InstanceId"] for one in second["Instances"]]
    assert len(account.truth()) == 1


def test_a_repeated_launch_is_answered_with_the_present_state(account: Account) -> None:
    instance = account.running(ClientToken="once")
    again = account.run(ClientToken="once")["Instances"][0]
    assert (again["InstanceId"], again["State"]["Name"]) == (instance, "running")


def test_a_token_is_case_sensitive_and_shown(account: Account) -> None:
    lower, upper = account.launch(ClientToken="once"), account.launch(ClientToken="ONCE")
    assert lower != upper
    assert account.describe(upper)["ClientToken"] == "ONCE"
    assert [one["InstanceId"] for one in account.list(client_token="once")] == [lower]


@pytest.mark.parametrize(
    "change",
    [{"InstanceType": "t3.large"}, {"MaxCount": 2}, {"UserData": "other"}, {"DisableApiTermination": True}],
)
def test_a_token_with_other_parameters_is_refused(account: Account, change: dict) -> None:
    account.launch(ClientToken="once")
    with refused("IdempotentParameterMismatch"):
        account.launch(ClientToken="once", **change)
    assert len(account.truth()) == 1


def test_a_token_whose_instance_is_terminated_is_over(account: Account) -> None:
    instance = account.running(ClientToken="once")
    account.ec2.terminate_instances(InstanceIds=[instance])
    account.reach(instance, "terminated")
    with refused("IdempotentInstanceTerminated"):
        account.launch(ClientToken="once")
    assert len(account.truth()) == 1


def test_a_token_with_a_place_is_of_its_zone(account: Account) -> None:
    here, there = account.subnets()[:2]
    first = account.launch(ClientToken="once", SubnetId=here["SubnetId"])
    assert account.launch(ClientToken="once", SubnetId=here["SubnetId"]) == first
    second = account.launch(ClientToken="once", SubnetId=there["SubnetId"])
    assert second != first
    zones = [account.describe(one)["Placement"]["AvailabilityZone"] for one in (first, second)]
    assert zones == [here["AvailabilityZone"], there["AvailabilityZone"]]


def test_a_token_of_one_account_says_nothing_in_another(account: Account, other: Account) -> None:
    assert account.launch(ClientToken="once") != other.launch(ClientToken="once")
    assert (len(account.truth()), len(other.truth())) == (1, 1)


def test_a_token_is_not_longer_than_64_characters(account: Account) -> None:
    account.launch(ClientToken="t" * 64)
    with refused("InvalidClientToken", "InvalidParameterValue"):
        account.launch(ClientToken="t" * 65)


def test_as_many_as_possible_are_launched(account: Account) -> None:
    answer = account.run(MinCount=1, MaxCount=5)
    assert len({one["InstanceId"] for one in answer["Instances"]}) == 5
    assert sorted(one["AmiLaunchIndex"] for one in answer["Instances"]) == [0, 1, 2, 3, 4]
    assert {one["State"]["Name"] for one in answer["Instances"]} == {"pending"}


@pytest.mark.parametrize(("low", "high"), [(3, 2), (0, 1)])
def test_counts_that_make_no_sense_are_refused(account: Account, low: int, high: int) -> None:
    with refused("InvalidParameterValue", "InvalidParameterCombination"):
        account.launch(MinCount=low, MaxCount=high)
    assert not account.truth()


def test_more_than_the_quota_is_refused_as_a_whole(account: Account) -> None:
    with refused("VcpuLimitExceeded", "InstanceLimitExceeded"):
        account.launch(MinCount=900, MaxCount=900)
    assert not account.truth()


def test_instance_disk_and_interface_are_tagged_from_birth(account: Account) -> None:
    kinds = ("instance", "volume", "network-interface")
    instance = account.launch(TagSpecifications=tag_specs(*kinds, worker="w1", role="test"))
    wanted = {"worker": "w1", "role": "test"}
    seen = account.describe(instance)
    volume = account.ec2.describe_volumes(Filters=named("attachment.instance-id", instance))["Volumes"][0]
    (card,) = account.ec2.describe_network_interfaces(Filters=named("attachment.instance-id", instance))[
        "NetworkInterfaces"
    ]
    assert tags_of(seen) == tags_of(volume) == wanted
    assert {tag["Key"]: tag["Value"] for tag in card["TagSet"]} == wanted
    ids = [instance, volume["VolumeId"], card["NetworkInterfaceId"]]
    listed = account.ec2.describe_tags(Filters=named("resource-id", *ids))["Tags"]
    assert {(tag["ResourceId"], tag["Key"]) for tag in listed} == {(one, key) for one in ids for key in wanted}


def test_tags_come_and_go(account: Account) -> None:
    instance = account.launch()
    account.ec2.create_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    account.ec2.create_tags(Resources=[instance], Tags=[{"Key": "a", "Value": "3"}])
    account.ec2.delete_tags(Resources=[instance], Tags=[{"Key": "b"}])
    assert tags_of(account.describe(instance)) == {"a": "3"}
    with refused("InvalidInstanceID.NotFound"):
        account.ec2.create_tags(Resources=["i-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "1"}])


def test_a_dry_run_launches_nothing(account: Account) -> None:
    with refused("DryRunOperation", status=412):
        account.launch(DryRun=True)
    instance = account.launch()
    with refused("DryRunOperation", status=412):
        account.ec2.terminate_instances(InstanceIds=[instance], DryRun=True)
    assert [one["state"] for one in account.truth()] in (["pending"], ["running"])


@pytest.mark.parametrize(
    ("option", "codes"),
    [
        ({"ImageId": "ami-00000000000000000"}, ["InvalidAMIID.NotFound"]),
        ({"ImageId": "ami-nonsense"}, ["InvalidAMIID.Malformed"]),
        ({"SubnetId": "subnet-00000000000000000"}, ["InvalidSubnetID.NotFound"]),
        ({"SecurityGroupIds": ["sg-00000000000000000"]}, ["InvalidGroup.NotFound"]),
        ({"KeyName": "nobody's"}, ["InvalidKeyPair.NotFound"]),
        ({"InstanceType": "m5.colossal"}, ["InvalidParameterValue", "InvalidInstanceType"]),
        ({"UserData": "x" * 16385}, ["InvalidUserData.Malformed", "InvalidParameterValue"]),
        ({"Placement": {"AvailabilityZone": "us-west-2z"}}, ["InvalidParameterValue", "InvalidAvailabilityZone"]),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(account: Account, option: dict, codes: list[str]) -> None:
    with refused(*codes):
        account.launch(**option)
    assert not account.truth()


def test_user_data_of_16_kb_fit(account: Account) -> None:
    assert account.launch(UserData="x" * 16384)


def test_what_was_asked_for_is_shown(account: Account) -> None:
    subnet = account.subnets()[0]
    options = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "InstanceMetadataTags": "enabled"}
    instance = account.launch(SubnetId=subnet["SubnetId"], MetadataOptions=options)
    seen = account.describe(instance)
    assert (seen["ImageId"], seen["InstanceType"], seen["SubnetId"]) == (account.image, TYPE, subnet["SubnetId"])
    assert seen["VpcId"] == subnet["VpcId"]
    assert options.items() <= seen["MetadataOptions"].items()
    assert seen["Placement"]["AvailabilityZone"] == subnet["AvailabilityZone"]
    assert seen["PrivateIpAddress"].count(".") == 3
