"""DescribeInstances and its relatives: exact pages, known filters, whole failures."""

from __future__ import annotations

from typing import Any

import pytest
from account import TYPE, Account, named, refused, tag_specs

NOBODY = "i-0123456789abcdef0"


def ids(page: dict[str, Any]) -> list[str]:
    """The instances of one page."""
    return [one["InstanceId"] for reservation in page["Reservations"] for one in reservation["Instances"]]


def twelve(account: Account) -> set[str]:
    """Twelve instances of several reservations."""
    return {made for count in (1, 4, 7) for made in account.launch_all(MinCount=count, MaxCount=count)}


def test_pages_are_exact_and_whole(account: Account) -> None:
    launched = twelve(account)
    pages, token = [], {}
    while True:
        page = account.ec2.describe_instances(MaxResults=5, **token)
        pages.append(ids(page))
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    assert [len(page) for page in pages] == [5, 5, 2]
    assert {one for page in pages for one in page} == launched


def test_a_listing_without_pages_is_whole(account: Account) -> None:
    launched = twelve(account)
    answer = account.ec2.describe_instances()
    assert set(ids(answer)) == launched
    assert not answer.get("NextToken")


@pytest.mark.parametrize("count", [4, 1001])
def test_pages_have_limits(account: Account, count: int) -> None:
    with refused("InvalidParameterValue", "InvalidMaxResults"):
        account.ec2.describe_instances(MaxResults=count)


def test_pages_and_ids_do_not_go_together(account: Account) -> None:
    instance = account.launch()
    with refused("InvalidParameterCombination"):
        account.ec2.describe_instances(InstanceIds=[instance], MaxResults=5)


def test_a_token_for_the_next_page_expires(account: Account) -> None:
    twelve(account)
    token = account.ec2.describe_instances(MaxResults=5)["NextToken"]
    account.control.advance(2 * 24 * 3600)
    with refused("InvalidPaginationToken", "InvalidNextToken", "InvalidParameterValue"):
        account.ec2.describe_instances(MaxResults=5, NextToken=token)


def test_a_token_that_was_never_given_is_refused(account: Account) -> None:
    with refused("InvalidPaginationToken", "InvalidNextToken", "InvalidParameterValue"):
        account.ec2.describe_instances(MaxResults=5, NextToken="bm9uc2Vuc2U")


def test_an_unknown_filter_is_refused(account: Account) -> None:
    with refused("InvalidParameterValue") as refusal:
        account.ec2.describe_instances(Filters=named("shoe-size", "44"))
    assert "shoe-size" in str(refusal.value)


@pytest.mark.parametrize("call", ["describe_images", "describe_volumes", "describe_snapshots", "describe_subnets"])
def test_other_listings_refuse_unknown_filters_too(account: Account, call: str) -> None:
    with refused("InvalidParameterValue"):
        getattr(account.ec2, call)(Filters=named("shoe-size", "44"))


def test_filters_choose(account: Account) -> None:
    subnet = account.subnets()[1]
    tagged = account.launch(TagSpecifications=tag_specs("instance", **{"latent:worker": "w1"}))
    placed = account.launch(SubnetId=subnet["SubnetId"], InstanceType="t3.large")
    account.reach(tagged, "running")
    account.reach(placed, "running")

    def found(*filters: dict[str, Any]) -> set[str]:
        return set(ids(account.ec2.describe_instances(Filters=list(filters))))

    def one(name: str, *values: str) -> dict[str, Any]:
        return named(name, *values)[0]

    assert found(one("tag:latent:worker", "w1")) == {tagged}
    assert found(one("tag:latent:worker", "w?")) == found(one("tag-key", "latent:*")) == {tagged}
    assert found(one("tag:latent:worker", "W1")) == set()
    assert found(one("instance-type", TYPE)) == {tagged}
    assert found(one("instance-id", tagged, NOBODY)) == {tagged}
    assert found(one("subnet-id", subnet["SubnetId"]), one("instance-type", "t3.*")) == {placed}
    assert found(one("availability-zone", subnet["AvailabilityZone"]), one("image-id", account.image)) >= {placed}
    assert found(one("tag:latent:worker", "w1"), one("instance-type", "t3.large")) == set()
    account.ec2.terminate_instances(InstanceIds=[placed])
    account.reach(placed, "terminated")
    assert found(one("instance-state-name", "running", "pending")) == {tagged}
    assert found(one("instance-state-name", "terminated")) == {placed}


@pytest.mark.parametrize("call", ["describe", "terminate", "stop", "start", "reboot"])
def test_one_unknown_id_fails_the_whole_call(account: Account, call: str) -> None:
    instance = account.running()
    with refused("InvalidInstanceID.NotFound") as refusal:
        getattr(account.ec2, f"{call}_instances")(InstanceIds=[instance, NOBODY])
    assert NOBODY in str(refusal.value)
    assert [one["state"] for one in account.truth()] == ["running"]


@pytest.mark.parametrize("call", ["describe", "terminate", "stop", "start", "reboot"])
def test_a_malformed_id_is_told_apart(account: Account, call: str) -> None:
    with refused("InvalidInstanceID.Malformed"):
        getattr(account.ec2, f"{call}_instances")(InstanceIds=["worker-1"])


def test_another_accounts_instance_cannot_be_seen_or_ended(account: Account, other: Account) -> None:
    instance = account.running()
    assert not other.list()
    with refused("InvalidInstanceID.NotFound"):
        other.ec2.describe_instances(InstanceIds=[instance])
    with refused("InvalidInstanceID.NotFound", "OperationNotPermitted", "UnauthorizedOperation"):
        other.ec2.terminate_instances(InstanceIds=[instance])
    assert account.truth()[0]["state"] == "running"


def test_another_region_is_another_list(account: Account) -> None:
    account.launch()
    assert not account.client(region="eu-west-1").describe_instances()["Reservations"]


def test_the_status_of_running_instances_is_listed(account: Account) -> None:
    runs, stopped = account.running(), account.running()
    account.ec2.stop_instances(InstanceIds=[stopped])
    account.reach(stopped, "stopped")
    shown = account.ec2.describe_instance_status()["InstanceStatuses"]
    assert [one["InstanceId"] for one in shown] == [runs]
    assert shown[0]["InstanceState"]["Name"] == "running"
    every = account.ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
    assert {one["InstanceId"] for one in every} == {runs, stopped}


def test_what_has_ended_is_forgotten_after_a_while(account: Account) -> None:
    instance = account.running()
    account.ec2.terminate_instances(InstanceIds=[instance])
    account.reach(instance, "terminated")
    account.control.advance(2 * 3600)
    assert not account.list()
    with refused("InvalidInstanceID.NotFound"):
        account.describe(instance)
    assert account.truth()[0]["state"] == "terminated"
