"""What goes wrong in a rebake, and how it leaves the account and the manifest."""

from __future__ import annotations

from typing import Any

import pytest
from bakehouse import Bakehouse
from fleet import SUCCESS
from master_process import wait_for

FAILED, ROLLED_BACK, ABORTED = 11, 12, 13
# A package manager that refuses for as long as the script tries.
REFUSES = "100 apt-get update\n" * 9
# The script's own patience between two tries.
SLOW = {"environment": {"LATENT_PAUSE": "100"}, "fail": "1 apt-get update\n" * 9}


@pytest.fixture(autouse=True)
def usual_builders(bakehouse: Bakehouse) -> Any:
    """What one test did to the builders is no other's."""
    yield
    bakehouse.guests().configure(builder={}, fates=[])


def test_updates_that_fail_leave_nothing(bakehouse: Bakehouse) -> None:
    before, text = bakehouse.account(), bakehouse.manifest().read_text()
    bakehouse.guests().configure(builder={"fail": REFUSES})
    told = bakehouse.bake(bakehouse.ami())
    assert told.code == FAILED, told.out + told.err
    assert "the builder's script failed in update, exit code 100" in told.out
    bakehouse.wait_account(before)
    assert bakehouse.manifest().read_text() == text
    assert not bakehouse.of_role("canary")


def test_an_image_that_ec2_cannot_make_leaves_nothing(bakehouse: Bakehouse) -> None:
    before, text = bakehouse.account(), bakehouse.manifest().read_text()
    bakehouse.control().next_image(bakehouse.seeded["account"], bakehouse.seeded["region"], fails=True)
    told = bakehouse.bake(bakehouse.ami())
    assert told.code == FAILED and "its state is failed" in told.out, told.out + told.err
    bakehouse.wait_account(before)
    assert bakehouse.manifest().read_text() == text


def test_a_candidate_whose_worker_never_connects_is_not_promoted(bakehouse: Bakehouse) -> None:
    before, text = bakehouse.account(), bakehouse.manifest().read_text()
    bakehouse.guests().configure(fates=[{"worker": "baked", "fate": "never"}])
    bakehouse.set_policy(connect_deadline="3s")
    told = bakehouse.bake(bakehouse.ami())
    assert told.code == FAILED and "the canary failed" in told.out, told.out + told.err
    assert len(bakehouse.of_role("canary")) == 1
    bakehouse.wait_account(before)
    assert bakehouse.manifest().read_text() == text
    # The worker serves as ever.
    bakehouse.guests().configure(fates=[])
    bakehouse.set_policy()
    assert bakehouse.run("baked")["results"] == SUCCESS


def test_a_generation_that_does_worse_is_rolled_back(bakehouse: Bakehouse) -> None:
    bakehouse.configure(soak_for="1h", soak_starts=9)
    before, old = bakehouse.account(), bakehouse.ami()
    following = bakehouse.follow(old, "--wait")
    rebake = bakehouse.wait_step("soak")
    new = bakehouse.ami()
    assert rebake["ami"] == new != old
    # From now on nothing that is launched from it connects.
    bakehouse.guests().configure(fates=[{"image": new, "fate": "never"}])
    bakehouse.set_policy(connect_deadline="2s")
    request = bakehouse.force("baked")
    told = following.end()
    assert told.code == ROLLED_BACK, told.out + told.err
    manifest = bakehouse.read()
    assert manifest["ami"] == old and "previous" not in manifest
    assert "3 of 3 starts failed" in told.out
    listed = bakehouse.latent("rebake", "--list").stdout
    assert rebake["id"] in listed and "rolled back" in listed
    # The build that waited is done on the AMI before, and the bad one is gone.
    bakehouse.set_policy()
    assert bakehouse.wait_build(request)["results"] == SUCCESS
    bakehouse.wait_gone()
    bakehouse.wait_account(before)


def test_an_update_is_aborted(bakehouse: Bakehouse) -> None:
    before, text = bakehouse.account(), bakehouse.manifest().read_text()
    bakehouse.guests().configure(builder=SLOW)
    following = bakehouse.follow(bakehouse.ami())
    rebake = bakehouse.wait_step("update")
    aborted = bakehouse.bake("--abort", rebake["id"])
    assert (aborted.code, following.end().code) == (ABORTED, ABORTED)
    bakehouse.wait_account(before)
    assert bakehouse.manifest().read_text() == text
    assert bakehouse.last()["outcome"] == {"how": "aborted"}


def test_a_canary_is_aborted(bakehouse: Bakehouse) -> None:
    before, text = bakehouse.account(), bakehouse.manifest().read_text()
    bakehouse.guests().configure(fates=[{"worker": "baked", "fate": "never"}])
    following = bakehouse.follow(bakehouse.ami())
    wait_for("the canary", lambda: bakehouse.of_role("canary"), 90)
    aborted = bakehouse.bake("--abort", bakehouse.last()["id"])
    assert (aborted.code, following.end().code) == (ABORTED, ABORTED)
    bakehouse.wait_account(before)
    assert bakehouse.manifest().read_text() == text
    assert bakehouse.worker("baked")["canary"] is None


def test_a_manifest_that_a_person_edits_meanwhile_is_theirs(bakehouse: Bakehouse) -> None:
    before, old = bakehouse.account(), bakehouse.ami()
    hold = bakehouse.gate.hold_call("CreateImage")
    following = bakehouse.follow(old)
    hold.wait(90)
    other = bakehouse.seeded["amis"]["injected"]
    text = bakehouse.manifest().read_text()
    edited = text.replace(old, other)
    bakehouse.manifest().write_text(edited)
    try:
        hold.let_go()
        told = following.end()
        assert told.code == FAILED and "edited by hand meanwhile" in told.out, told.out + told.err
        assert bakehouse.manifest().read_text() == edited
    finally:
        bakehouse.manifest().write_text(text)
    bakehouse.wait_account(before)
