"""What measurements need of the door: a log of its calls, fixed times, no throttle."""

from __future__ import annotations

import datetime
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from account import REGION, Account, refused
from sim_server import SimServer

# More than the bucket's five at once.
LAUNCHES = 12


@pytest.fixture
def alone(binary: str, tmp_path: Path) -> Iterator[Account]:
    """An account on a door of its own: what is fixed is so for all accounts."""
    with SimServer(tmp_path / "sim.log", binary) as own:
        account = Account(own.endpoint, 300000000001)
        account.control.pace(round_trip_seconds=0)
        yield account


def calls(account: Account, action: str) -> list[dict[str, Any]]:
    """Of one action."""
    return [one for one in account.control.calls() if one["action"] == action]


def test_each_call_is_logged_with_its_times_and_its_end(alone: Account) -> None:
    before = time.time()
    image, _ = alone.image, alone.launch()
    with refused("InvalidAMIID.NotFound"):
        alone.launch(ImageId="ami-00000000000000000")
    good, bad = calls(alone, "RunInstances")
    assert (good["account"], good["region"], good["subject"], good["code"]) == (alone.id, REGION, image, None)
    assert bad["code"] == "InvalidAMIID.NotFound"
    assert (
        before <= good["arrived_us"] / 1e6 <= good["answered_us"] / 1e6 <= bad["arrived_us"] / 1e6 <= time.time()
    )
    assert [one["number"] for one in alone.control.calls(good["number"])][0] == good["number"] + 1
    assert alone.control.calls(bad["number"]) == []


def test_other_services_are_logged_too(alone: Account) -> None:
    alone.client("sts").get_caller_identity()
    alone.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")
    assert [one["action"] for one in alone.control.calls()] == ["GetCallerIdentity", "GetServiceQuota"]


def test_what_is_no_call_is_not_logged(alone: Account) -> None:
    alone.control.instances()
    assert alone.control.calls() == []


def pending_s(account: Account, instance: str) -> float:
    """How long it was pending, by the model's own time."""
    at = {
        one["what"]: datetime.datetime.fromisoformat(one["at"][:26].rstrip("Z") + "+00:00")
        for one in account.control.trace()["events"]
        if one["subject"] == instance
    }
    return round((at["runs"] - at["is launched"]).total_seconds(), 3)


def test_an_instance_is_pending_for_as_long_as_is_fixed(alone: Account) -> None:
    alone.control.pace(round_trip_seconds=0, pending_seconds=20)
    assert pending_s(alone, alone.running()) == 20


def test_a_reset_empties_the_log_and_fixes_nothing(alone: Account) -> None:
    alone.control.pace(round_trip_seconds=0, pending_seconds=20)
    alone.launch()
    alone.control.ask("POST", "reset")
    assert alone.control.calls() == []
    # The model draws from three to eight seconds.
    assert pending_s(alone, alone.running(ImageId=alone.register("anew"))) < 20


def test_the_throttle_can_be_lifted_and_comes_back(alone: Account) -> None:
    alone.control.pace(round_trip_seconds=0, throttle=False)
    assert len({alone.launch() for _ in range(LAUNCHES)}) == LAUNCHES
    alone.control.pace(round_trip_seconds=0)
    with refused("RequestLimitExceeded", status=503):
        for _ in range(LAUNCHES):
            alone.launch()
    assert calls(alone, "RunInstances")[-1]["code"] == "RequestLimitExceeded"


@pytest.mark.parametrize(
    ("fixed", "why"),
    [
        ({"pending_seconds": -1}, "pending_seconds -1 must be from 0 to 3600"),
        ({"round_trip_seconds": 4000}, "round_trip_seconds 4000 must be"),
        ({"pending": 3}, "unknown field `pending`"),
        ({"throttle": "no"}, "expected a boolean"),
    ],
)
def test_what_cannot_be_fixed_is_refused(alone: Account, fixed: dict[str, Any], why: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as wrong:
        alone.control.pace(**fixed)
    assert wrong.value.code == 400
    assert why in wrong.value.read().decode()
