"""What could not be seen is not known to be left over: nothing is done, and the exit code says so."""

from __future__ import annotations

import pytest
from account import OTHER_REGION, REGION
from leftovers import Swept

LISTINGS = {
    "DescribeInstances": "instances",
    "DescribeImages": "AMIs",
    "DescribeVolumes": "volumes",
    "DescribeSnapshots": "snapshots",
    "DescribeNetworkInterfaces": "interfaces",
    "DescribeAddresses": "addresses",
    "DescribeSpotInstanceRequests": "spot requests",
}


def denied(swept: Swept, action: str | None, region: str = REGION, times: int = 50) -> None:
    """These calls are refused from now on."""
    where = {"account": swept.id, "region": region}
    if action:
        where["action"] = action
    swept.control.fault(
        "refuse", code="UnauthorizedOperation", message="not allowed", status=403, times=times, **where
    )


@pytest.mark.parametrize("action", LISTINGS)
def test_a_listing_that_is_denied_stops_every_act(swept: Swept, action: str) -> None:
    gone = swept.abandoned()
    denied(swept, action)
    before = swept.moment()
    looked = swept.here(exits=6)
    assert "NOT SEEN" in looked.stdout and "UnauthorizedOperation" in looked.stdout
    assert "Nothing would be done now: 1 listing" in looked.stdout
    swept.here("--apply", "--yes", exits=6)
    assert swept.changes(before) == [] and swept.state(gone) == "running"


def test_a_page_that_expires_is_an_incomplete_view(swept: Swept) -> None:
    gone = swept.abandoned()
    # As often as anybody may try it.
    swept.control.fault("page-expired", action="DescribeInstances", account=swept.id, region=REGION, times=50)
    done = swept.json("--apply", "--yes", exits=6)
    assert [gap["kind"] for gap in done.plan()["gaps"]] == ["instance"]
    assert swept.state(gone) == "running"


def test_one_region_that_refuses_stops_every_region(swept: Swept) -> None:
    gone = swept.abandoned()
    denied(swept, None, OTHER_REGION)
    words = ("--region", REGION, "--region", OTHER_REGION)
    before = swept.moment()
    done = swept.sweep(*words, "--apply", "--yes")
    assert done.returncode == 6, (done.stdout, done.stderr)
    assert swept.changes(before) == [] and swept.state(gone) == "running"
    swept.here("--apply", "--yes", exits=0)
    assert swept.state(gone) == "terminated"


def test_a_listing_that_fails_between_plan_and_act_stops_it(swept: Swept) -> None:
    gone = swept.abandoned()
    swept.here("--plan", "plan.json", exits=3)
    denied(swept, "DescribeVolumes")
    before = swept.moment()
    swept.sweep("--apply", "plan.json", "--yes", exits=6)
    assert swept.changes(before) == [] and swept.state(gone) == "running"


def test_an_account_that_cannot_be_asked_for_its_number_is_not_looked_at(swept: Swept) -> None:
    swept.control.fault(
        "refuse", code="ExpiredToken", message="expired", status=403, action="GetCallerIdentity", times=50
    )
    before = swept.moment()
    done = swept.here("--apply", "--yes", exits=6)
    assert "whose account this is" in done.stderr and set(swept.calls(before)) == {"GetCallerIdentity"}


def test_a_throttle_is_waited_out(swept: Swept) -> None:
    gone = swept.abandoned()
    swept.control.fault("throttle", action="TerminateInstances", account=swept.id, region=REGION, times=2)
    swept.here("--apply", "--yes", exits=0)
    assert swept.state(gone) == "terminated"


def test_an_act_whose_answer_is_lost_is_seen_by_its_effect(swept: Swept) -> None:
    gone = swept.abandoned()
    swept.control.fault("reply-lost", action="TerminateInstances", account=swept.id, region=REGION, times=1)
    swept.here("--apply", "--yes", exits=0)
    assert swept.state(gone) == "terminated"
