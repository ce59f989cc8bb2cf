"""Spot: a request has a life of its own, and may outlive its instance."""

from __future__ import annotations

from typing import Any

from account import TYPE, Account, named, refused, tag_specs

PENDING = {"pending-evaluation", "pending-fulfillment"}


def ask(account: Account, **options: Any) -> str:
    """Requests one spot instance; the request's id."""
    spec = {"ImageId": account.image, "InstanceType": TYPE}
    made = account.ec2.request_spot_instances(LaunchSpecification=spec, InstanceCount=1, **options)
    return str(made["SpotInstanceRequests"][0]["SpotInstanceRequestId"])


def show(account: Account, request: str) -> dict[str, Any]:
    """A request as EC2 shows it."""
    found = account.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])
    return dict(found["SpotInstanceRequests"][0])


def reach(account: Account, request: str, status: str) -> dict[str, Any]:
    """Lets time pass until the request has this status."""
    return dict(
        account.until(lambda: one if (one := show(account, request))["Status"]["Code"] == status else None)
    )


def test_a_request_is_open_until_it_is_fulfilled(slow: Account) -> None:
    spec = {"ImageId": slow.image, "InstanceType": TYPE}
    (made,) = slow.ec2.request_spot_instances(LaunchSpecification=spec)["SpotInstanceRequests"]
    assert (made["State"], made["Status"]["Code"] in PENDING) == ("open", True)
    assert reach(slow, made["SpotInstanceRequestId"], "fulfilled")["State"] == "active"


def test_a_fulfilled_request_has_an_instance(account: Account) -> None:
    request = ask(account)
    done = reach(account, request, "fulfilled")
    assert (done["State"], done["Type"]) == ("active", "one-time")
    instance = account.reach(done["InstanceId"], "running")
    assert (instance["InstanceLifecycle"], instance["SpotInstanceRequestId"]) == ("spot", request)


def test_a_price_that_is_too_low_is_not_fulfilled(account: Account) -> None:
    request = ask(account, SpotPrice="0.0001")
    assert reach(account, request, "price-too-low")["State"] == "open"
    account.control.advance(600)
    assert not account.truth()
    account.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])
    assert reach(account, request, "canceled-before-fulfillment")["State"] == "cancelled"


def test_cancelling_a_request_leaves_its_instance(account: Account) -> None:
    request = ask(account)
    instance = reach(account, request, "fulfilled")["InstanceId"]
    account.reach(instance, "running")
    account.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])
    assert reach(account, request, "request-canceled-and-instance-running")["State"] == "cancelled"
    assert account.describe(instance)["State"]["Name"] == "running"


def test_a_terminated_instance_closes_its_one_time_request(account: Account) -> None:
    request = ask(account)
    instance = reach(account, request, "fulfilled")["InstanceId"]
    account.reach(instance, "running")
    account.ec2.terminate_instances(InstanceIds=[instance])
    assert reach(account, request, "instance-terminated-by-user")["State"] == "closed"
    account.control.advance(600)
    assert len(account.truth()) == 1


def test_a_persistent_request_launches_again_until_it_is_cancelled(account: Account) -> None:
    request = ask(account, Type="persistent")
    first = reach(account, request, "fulfilled")["InstanceId"]
    account.reach(first, "running")
    account.ec2.terminate_instances(InstanceIds=[first])
    account.until(lambda: show(account, request).get("InstanceId") not in (None, first))
    second = show(account, request)["InstanceId"]
    account.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])
    account.ec2.terminate_instances(InstanceIds=[second])
    account.reach(second, "terminated")
    account.control.advance(600)
    assert len(account.truth()) == 2


def test_a_launch_may_be_of_spot(account: Account) -> None:
    market = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}
    instance = account.running(InstanceMarketOptions=market, ClientToken="once")
    seen = account.describe(instance)
    assert seen["InstanceLifecycle"] == "spot"
    request = show(account, seen["SpotInstanceRequestId"])
    assert (request["State"], request["InstanceId"]) == ("active", instance)
    assert account.launch(InstanceMarketOptions=market, ClientToken="once") == instance


def test_an_unknown_request_is_refused(account: Account) -> None:
    with refused("InvalidSpotInstanceRequestID.NotFound"):
        show(account, "sir-01234567")


def test_the_price_of_yesterday_is_told(account: Account) -> None:
    prices = account.ec2.describe_spot_price_history(
        InstanceTypes=[TYPE], ProductDescriptions=["Linux/UNIX"], Filters=named("availability-zone", "us-west-2a")
    )["SpotPriceHistory"]
    assert prices
    assert {one["InstanceType"] for one in prices} == {TYPE}
    assert {one["AvailabilityZone"] for one in prices} == {"us-west-2a"}
    assert all(float(one["SpotPrice"]) > 0 for one in prices)


def fleet(account: Account, count: int, *overrides: dict[str, str]) -> dict[str, Any]:
    """CreateFleet of the kind that answers at once."""
    data = {"ImageId": account.image, "InstanceType": TYPE}
    template = account.ec2.create_launch_template(LaunchTemplateName="workers", LaunchTemplateData=data)
    chosen = {"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"], "Version": "$Latest"}
    return dict(
        account.ec2.create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[{"LaunchTemplateSpecification": chosen, "Overrides": list(overrides)}],
            TargetCapacitySpecification={
                "TotalTargetCapacity": count,
                "DefaultTargetCapacityType": "on-demand",
            },
            TagSpecifications=tag_specs("instance", fleet="f1"),
        )
    )


def test_a_fleet_answers_at_once_with_what_it_got(account: Account) -> None:
    subnet = account.subnets()[0]["SubnetId"]
    answer = fleet(account, 3, {"SubnetId": subnet})
    launched = [one for group in answer["Instances"] for one in group["InstanceIds"]]
    assert len(launched) == 3 and not answer["Errors"]
    assert {one["InstanceId"] for one in account.list(**{"tag:fleet": "f1"})} == set(launched)


def test_a_fleet_that_gets_only_a_part_says_both(account: Account) -> None:
    good, bad = account.subnets()[0]["SubnetId"], "subnet-00000000000000000"
    answer = fleet(account, 2, {"SubnetId": bad}, {"SubnetId": good})
    assert answer["Errors"] and answer["Instances"]
    assert answer["Errors"][0]["ErrorCode"] == "InvalidSubnetID.NotFound"
    assert len(account.truth()) == sum(len(group["InstanceIds"]) for group in answer["Instances"])
