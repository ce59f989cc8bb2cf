"""The side entrance: the truth, the clock, the bill, and the metadata that guests see."""

from __future__ import annotations

import datetime
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from account import REGION, TYPE, Account, refused, tag_specs
from sim_server import SimServer, Weather

REQUIRED = {"HttpTokens": "required", "InstanceMetadataTags": "enabled"}


def test_a_guest_learns_who_it_is(account: Account) -> None:
    instance = account.running(
        UserData="WORKER_NAME=w1\n",
        MetadataOptions=REQUIRED,
        TagSpecifications=tag_specs("instance", **{"latent:worker": "w1"}),
    )
    seen, imds = account.describe(instance), account.imds(instance)
    assert imds.get("user-data") == "WORKER_NAME=w1\n"
    assert imds.get("meta-data/instance-id") == instance
    assert imds.get("meta-data/ami-id") == account.image
    assert imds.get("meta-data/instance-type") == TYPE
    assert imds.get("meta-data/placement/availability-zone") == seen["Placement"]["AvailabilityZone"]
    assert imds.get("meta-data/local-ipv4") == seen["PrivateIpAddress"]
    assert imds.get("meta-data/tags/instance/latent:worker") == "w1"
    assert imds.get("meta-data/spot/instance-action") is None
    assert imds.get("meta-data/nothing-of-this-name") is None


def test_a_guest_without_user_data_has_none(account: Account) -> None:
    assert account.imds(account.running()).get("user-data") is None


def test_tags_are_in_the_metadata_only_where_they_are_enabled(account: Account) -> None:
    instance = account.running(TagSpecifications=tag_specs("instance", worker="w1"))
    assert account.imds(instance).get("meta-data/tags/instance/worker") is None


def test_metadata_that_need_a_token_are_not_given_without(account: Account) -> None:
    instance = account.running(MetadataOptions=REQUIRED)
    url = f"{account.endpoint}/_sim/imds/{instance}/latest/meta-data/instance-id"
    for headers in ({}, {"X-aws-ec2-metadata-token": "made up"}):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                urllib.request.Request(url, headers=headers)
            )
        assert refusal.value.code == 401
        refusal.value.close()


def test_the_truth_has_no_lag(slow: Account) -> None:
    instance = slow.launch(TagSpecifications=tag_specs("instance", worker="w1"))
    (true,) = slow.truth()
    assert (true["id"], true["account"], true["region"]) == (instance, slow.id, "us-west-2")
    assert (true["image"], true["tags"], true["state"]) == (slow.image, {"worker": "w1"}, "pending")


def test_the_trace_tells_what_was_called_and_what_happened(account: Account) -> None:
    before = account.control.trace()["count"]
    instance = account.running()
    account.control.meddle(instance, "terminate")
    account.reach(instance, "terminated")
    events = account.control.trace(before)["events"]
    numbers = [event["number"] for event in events]
    assert numbers == list(range(before + 1, before + 1 + len(events)))
    assert "RunInstances" in {event["what"] for event in events}
    happened = [(event["what"], event["outcome"]) for event in events if event["subject"] == instance]
    assert [what for what, _ in happened if what.startswith(("is ", "runs"))] == [
        "is launched",
        "runs",
        "is shutting down",
        "is terminated",
    ]
    assert ("is shutting down", "by a third party") in happened


def test_the_bill_grows_while_something_runs(account: Account) -> None:
    def total() -> float:
        return float(account.control.bill()["dollars"])

    instance = account.running()
    before = total()
    account.control.advance(3600)
    assert total() > before
    account.ec2.terminate_instances(InstanceIds=[instance])
    account.reach(instance, "terminated")


def test_time_passes_by_itself_and_as_fast_as_it_is_told(account: Account) -> None:
    instance = account.launch()
    end = time.monotonic() + 60
    while account.describe(instance)["State"]["Name"] != "running":
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_reset_empties_every_account(binary: str, tmp_path: Path) -> None:
    with SimServer(tmp_path / "sim.log", binary, Weather(seed=7, speed=50)) as own:
        account = Account(own.endpoint, 300000000001)
        account.launch(ClientToken="once")
        own.reset()
        assert not account.truth() and not account.list()
        # A token of the time before is as good as new.
        assert account.launch(ImageId=account.register("again"), ClientToken="once")


def test_the_same_seed_and_calls_give_the_same_ids(binary: str, tmp_path: Path) -> None:
    def launched(name: str, seed: int) -> str:
        with SimServer(tmp_path / f"{name}.log", binary, Weather(seed=seed, speed=50)) as own:
            return Account(own.endpoint, 300000000001).launch(ClientToken="once")

    first = launched("first", 5)
    assert launched("second", 5) == first != launched("third", 6)


def test_a_quota_can_be_raised(account: Account) -> None:
    with refused("VcpuLimitExceeded"):
        account.launch_all(MinCount=200, MaxCount=200)
    account.control.quota(account.id, REGION, 400)
    assert len(account.launch_all(MinCount=200, MaxCount=200)) == 200
    for number, region in [("12", REGION), (account.id, "us west")]:
        with pytest.raises(urllib.error.HTTPError) as wrong:
            account.control.quota(number, region, 400)
        assert wrong.value.code == 400


def test_time_may_begin_in_the_past(binary: str, tmp_path: Path) -> None:
    with SimServer(tmp_path / "sim.log", binary, Weather(behind="3d")) as own:
        account = Account(own.endpoint, 300000000001)
        born = account.describe(account.launch())["LaunchTime"]
        age = datetime.datetime.now(datetime.timezone.utc) - born
        assert datetime.timedelta(days=2, hours=23) < age < datetime.timedelta(days=3, hours=1)
