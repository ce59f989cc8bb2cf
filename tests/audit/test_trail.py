"""What others recorded, as boto3 and `latent prices` read it from the wire door."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("localstack", "tests/wire")]

from account import REGION, Account  # noqa: E402
from sim_server import SimServer, Weather  # noqa: E402

NUMBERS = itertools.count(700000000001)
# A call takes about a second of the model; CloudTrail's bucket never runs dry.
SPEED = 20.0
LATE_S = 900.0
CONFIG = """[fleet]
name = "snakes"
controller = "snakes-main"

[owner.alice]
account = "{account}"
credentials = {{ environment = true }}
endpoint = "{endpoint}"
"""
MANIFEST = """owner = "alice"
region = "{region}"
ami = "ami-0123456789abcdef0"
instance_types = {types}
platform = "{platform}"
security_groups = ["sg-0123456789abcdef0"]
"""


@pytest.fixture(scope="module")
def trail_server(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    """A calm EC2 whose time flies."""
    program = os.environ.get("LATENT_SIM_BIN") or binary
    with SimServer(tmp_path_factory.mktemp("trail") / "sim.log", program, Weather(speed=SPEED)) as running:
        yield running


@pytest.fixture
def payer(trail_server: SimServer) -> Iterator[Account]:
    """An account that no other test sees."""
    account = Account(trail_server.endpoint, next(NUMBERS))
    yield account
    trail_server.control.clear_faults()
    trail_server.control.allow(account.id, None)
    trail_server.control.trail_late(int(LATE_S))


def lookup(account: Account, call: str, **more: Any) -> list[dict[str, Any]]:
    """Every event of a call."""
    attribute = [{"AttributeKey": "EventName", "AttributeValue": call}]
    pages = (
        account.client("cloudtrail").get_paginator("lookup_events").paginate(LookupAttributes=attribute, **more)
    )
    return [event for page in pages for event in page["Events"]]


def refusal(call: Any, **arguments: Any) -> str:
    """The code of the error that a call must end with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_a_session_is_named_in_what_it_did_and_a_guest_is_not(payer: Account) -> None:
    arn = f"arn:aws:iam::{payer.id}:role/latent-worker"
    given = payer.client("sts").assume_role(RoleArn=arn, RoleSessionName="latent-serve-main")
    session = payer.client(credentials=given["Credentials"])
    launch = {"ImageId": payer.image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
    made = session.run_instances(**launch)["Instances"][0]["InstanceId"]
    payer.reach(made, "running")
    payer.control.ask("POST", f"instances/{made}/power-off", {})
    payer.reach(made, "stopped")
    payer.ec2.terminate_instances(InstanceIds=[made])
    assert lookup(payer, "RunInstances") == [], "it is told late"
    payer.control.advance(LATE_S)
    (event,) = lookup(payer, "RunInstances")
    assert event["Username"] == "latent-serve-main" and event["ReadOnly"] == "false"
    assert [one["ResourceName"] for one in event["Resources"]] == [made]
    text = json.loads(event["CloudTrailEvent"])
    assert text["userIdentity"]["type"] == "AssumedRole"
    assert text["userIdentity"]["principalId"].endswith(":latent-serve-main")
    assert text["responseElements"]["instancesSet"]["items"][0]["instanceId"] == made
    assert lookup(payer, "StopInstances") == [], "a guest's shutdown is no call"
    (event,) = lookup(payer, "TerminateInstances")
    item = json.loads(event["CloudTrailEvent"])["responseElements"]["instancesSet"]["items"][0]
    assert item["previousState"]["name"] == "stopped"


def test_a_third_party_a_refusal_and_an_eviction_are_told(payer: Account) -> None:
    payer.control.trail_late(1)
    spot = {"MarketType": "spot"}
    taken, meddled = payer.running(InstanceMarketOptions=spot), payer.running()
    payer.control.meddle(taken, "interrupt")
    payer.control.meddle(meddled, "terminate")
    assert refusal(payer.ec2.start_instances, InstanceIds=["i-0123456789abcdef0"]) == "InvalidInstanceID.NotFound"
    payer.reach(taken, "terminated")
    payer.control.advance(5)
    (event,) = lookup(payer, "BidEvictedEvent")
    assert json.loads(event["CloudTrailEvent"])["serviceEventDetails"] == {"instanceIdSet": [taken]}
    (event,) = lookup(payer, "TerminateInstances")
    assert event["Username"] == "somebody"
    (event,) = lookup(payer, "StartInstances")
    text = json.loads(event["CloudTrailEvent"])
    assert text["errorCode"] == "Client.InvalidInstanceID.NotFound" and text["responseElements"] is None


def test_pages_lead_on_and_what_cloudtrail_does_not_take_is_refused(payer: Account) -> None:
    for _ in range(7):
        refusal(payer.ec2.terminate_instances, InstanceIds=["i-0123456789abcdef0"])
    payer.control.advance(LATE_S)
    sizes = {"PaginationConfig": {"PageSize": 3}}
    events = lookup(payer, "TerminateInstances", **sizes)
    assert len(events) == 7 and len({event["EventId"] for event in events}) == 7
    times = [event["EventTime"] for event in events]
    assert times == sorted(times, reverse=True)
    ask = payer.client("cloudtrail").lookup_events
    two = [{"AttributeKey": "EventName", "AttributeValue": name} for name in ("RunInstances", "StopInstances")]
    assert refusal(ask, LookupAttributes=two) == "InvalidLookupAttributesException"
    assert refusal(ask, NextToken="garbled") == "InvalidNextTokenException"
    late, early = times[0], times[0].replace(year=2000)
    assert refusal(ask, StartTime=late, EndTime=early) == "InvalidTimeRangeException"
    payer.control.allow(payer.id, [{"actions": ["Describe*"]}])
    assert refusal(ask) == "AccessDeniedException"
    products = payer.client("pricing", "us-east-1").get_products
    assert refusal(products, ServiceCode="AmazonEC2") == "AccessDeniedException"


def test_one_product_is_left_of_all_that_a_type_is_sold_as(payer: Account) -> None:
    pricing = payer.client("pricing", "us-east-1")

    def found(**attributes: str) -> list[dict[str, Any]]:
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()]
        pages = pricing.get_paginator("get_products").paginate(
            ServiceCode="AmazonEC2", Filters=filters, PaginationConfig={"PageSize": 2}
        )
        return [json.loads(one) for page in pages for one in page["PriceList"]]

    everything = {"regionCode": "eu-central-1", "instanceType": "m7i.large"}
    assert len(found(**everything)) == 7
    (one,) = found(
        **everything, operation="RunInstances", tenancy="Shared", capacitystatus="Used", preInstalledSw="NA"
    )
    assert one["product"]["attributes"]["usagetype"] == "EUC1-BoxUsage:m7i.large"
    assert refusal(pricing.get_products, ServiceCode="AmazonS3") == "NotFoundException"


class Fleet:
    """A configuration whose owner is the account."""

    def __init__(self, account: Account, binary: str, folder: Path) -> None:
        self.account, self.binary, self.folder = account, binary, folder
        (folder / "amis").mkdir()
        (folder / "latent.toml").write_text(CONFIG.format(account=account.id, endpoint=account.endpoint))

    def image(self, name: str, types: list[str], region: str = REGION, platform: str = "linux") -> None:
        """A manifest."""
        text = MANIFEST.format(region=region, types=json.dumps(types), platform=platform)
        (self.folder / "amis" / f"{name}.toml").write_text(text)

    def prices(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`latent prices`."""
        return self.latent("prices", *words)

    def latent(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The program, with the owner's key."""
        keys = {"AWS_ACCESS_KEY_ID": self.account.key, "AWS_SECRET_ACCESS_KEY": "a-secret-key"}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **keys}
        command = [self.binary, *words, "--config", str(self.folder / "latent.toml")]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


@pytest.fixture
def fleet(payer: Account, binary: str, tmp_path: Path) -> Fleet:
    """Two regions, Linux and Windows, and a type that Amazon does not sell."""
    made = Fleet(payer, binary, tmp_path)
    made.image("debian", ["m7i.large", "m99.large"])
    made.image("windows", ["m5.xlarge"], region="eu-central-1", platform="windows")
    return made


def test_prices_are_asked_written_and_shown_with_their_date(fleet: Fleet) -> None:
    done = fleet.prices("update")
    assert (done.returncode, done.stderr) == (0, "")
    assert "m99.large in us-west-2: price unknown: the list has no such product" in done.stdout
    assert done.stdout.endswith("prices.json: 2 prices, 1 unknown\n")
    written = json.loads((fleet.folder / "prices.json").read_text())
    by_type = {entry["instance_type"]: entry for entry in written["entries"]}
    assert by_type["m7i.large"]["hourly"] == 100800
    assert by_type["m5.xlarge"]["software"] == "windows" and by_type["m5.xlarge"]["hourly"] == 192000 + 4 * 46000
    assert "hourly" not in by_type["m99.large"] and written["source"]["from"].startswith("AWS Price List API")
    assert [path.name for path in fleet.folder.glob(".*")] == [], "nothing is left beside it"
    shown = fleet.prices("show", "m7i.large", "--region", REGION)
    assert shown.returncode == 0
    assert "Linux    $0.1008 per hour, as of 2026-07-20: AWS Price List API" in shown.stdout
    assert "the table in the program" in shown.stdout, "nobody asked for Windows there"
    unknown = fleet.prices("show", "m99.large", "--region", REGION)
    assert "Linux    price unknown: the list has no such product" in unknown.stdout


def test_a_file_that_cannot_be_used_is_said_and_the_programs_prices_hold(fleet: Fleet) -> None:
    file = fleet.folder / "prices.json"
    for text, why in (("{", "is no file of prices"), ('{"version": 7}', "is no file of prices")):
        file.write_text(text)
        shown = fleet.prices("show", "m7i.large", "--region", "us-east-1")
        assert shown.returncode == 0 and "$0.1008 per hour" in shown.stdout
        assert f"prices.json: {why}" in shown.stdout and "latent prices update" in shown.stdout


def test_who_may_not_ask_is_told_which_permission_and_nothing_is_written(fleet: Fleet) -> None:
    fleet.account.control.allow(fleet.account.id, [{"actions": ["Describe*"]}])
    done = fleet.prices("update")
    assert done.returncode == 5 and not (fleet.folder / "prices.json").exists()
    assert "owner alice: AccessDeniedException" in done.stderr and "pricing:GetProducts" in done.stderr
    assert "a-secret-key" not in done.stderr + done.stdout


def test_one_region_and_another_place(fleet: Fleet) -> None:
    place = fleet.folder / "elsewhere.json"
    done = fleet.prices("update", "--region", REGION, "-o", str(place))
    assert done.returncode == 0, done.stderr
    assert {entry["region"] for entry in json.loads(place.read_text())["entries"]} == {REGION}
    for words, why in (
        (["--region", "sa-east-1"], "no image of"),
        (["--owner", "bob"], "has no such owner; it has alice"),
    ):
        wrong = fleet.prices("update", *words)
        assert wrong.returncode == 2 and why in wrong.stderr


def test_a_report_goes_by_the_asked_prices_and_says_so(fleet: Fleet) -> None:
    def audited() -> dict[str, Any]:
        done = fleet.latent("audit", "--owner", "alice", "--format", "json")
        assert done.stdout, done.stderr
        return dict(json.loads(done.stdout))

    def note(report: dict[str, Any]) -> str:
        return next(str(source["note"]) for source in report["sources"] if source["name"] == "prices")

    assert fleet.prices("update").returncode == 0
    report = audited()
    assert report["price_sources"][0]["from"].startswith("AWS Price List API")
    assert "those in prices.json of " in note(report)
    (fleet.folder / "prices.json").write_text("{")
    report = audited()
    assert not any(source["from"].startswith("AWS Price List API") for source in report["price_sources"])
    assert "without prices.json, which is no file of prices" in note(report)
