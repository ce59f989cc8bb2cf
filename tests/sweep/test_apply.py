"""What a sweep does once it may: the plan, no more, and nothing that somebody protects."""

from __future__ import annotations

import json

import pytest
from account import REGION, TYPE
from leftovers import Swept, specs, tags, time_in


def test_a_plan_that_is_applied_is_done_and_seen_to_be_done(swept: Swept) -> None:
    gone, busy = swept.abandoned(), swept.worker(worker="busy")
    swept.here("--plan", "plan.json", exits=3)
    assert swept.state(gone) == "running"
    done = swept.sweep("--apply", "plan.json", "--yes", exits=0)
    assert f"{REGION} {gone}: terminated" in done.stdout
    assert "done 1, failed 0, skipped 0, still there 0" in done.stdout
    assert (swept.state(gone), swept.state(busy)) == ("terminated", "running")
    swept.here(exits=0)


def test_what_changed_since_is_skipped_and_what_came_since_is_left(swept: Swept) -> None:
    renewed, kept, ended, stays = (swept.abandoned(worker=f"w{number}") for number in range(4))
    swept.here("--plan", "plan.json", exits=3)
    swept.tag(renewed, lease=time_in(30))
    swept.tag(kept, keep="true")
    swept.ec2.terminate_instances(InstanceIds=[ended])
    late = swept.abandoned(worker="late")
    done = swept.sweep("--apply", "plan.json", "--yes", "--json", exits=3)
    outcome = done.data()["outcome"]
    skipped = {one["id"]: one["why"] for one in outcome["skipped"]}
    assert set(skipped) == {renewed, kept, ended}
    assert "vouches for it" in skipped[renewed] and "kept by its tag" in skipped[kept]
    assert "gone" in skipped[ended]
    assert [one["id"] for one in outcome["done"]] == [stays]
    assert [swept.state(one) for one in (renewed, kept, late)] == ["running"] * 3


def test_an_edited_plan_is_refused(swept: Swept) -> None:
    gone, busy = swept.abandoned(), swept.worker(worker="busy")
    swept.here("--plan", "plan.json", exits=3)
    file = swept.folder / "plan.json"
    file.write_text(file.read_text().replace(gone, busy))
    before = swept.moment()
    done = swept.sweep("--apply", "plan.json", "--yes", exits=2)
    assert "was changed after it was written" in done.stderr
    assert swept.calls(before) == []
    file.write_text("{}")
    assert "is no plan of a sweep" in swept.sweep("--apply", "plan.json", "--yes", exits=2).stderr
    content = {"digest": "sha256:0", "plan": {"format": 99}}
    file.write_text(json.dumps(content))
    assert "has format 99" in swept.sweep("--apply", "plan.json", "--yes", exits=2).stderr


def test_a_plan_is_of_its_account_and_its_regions(swept: Swept) -> None:
    swept.abandoned()
    swept.here("--plan", "plan.json", exits=3)
    other = swept.sweep("--apply", "plan.json", "--yes", exits=5, AWS_ACCESS_KEY_ID="AKIA999999999999TEST")
    assert f"the plan says {swept.id}" in other.stderr
    more = swept.here("--apply", "plan.json", "--yes", exits=2)
    assert "names its regions" in more.stderr


# A person at a terminal.


def test_a_person_is_asked_and_types_the_number(swept: Swept) -> None:
    gone = swept.abandoned()
    words = ("--region", REGION, "--apply")
    code, shown = swept.on_a_terminal(*words, answer="2")
    assert code == 2 and "Type the number to go on" in shown and "nothing was changed" in shown
    assert swept.state(gone) == "running"
    code, shown = swept.on_a_terminal(*words, answer="1")
    assert code == 0 and "terminated" in shown, shown
    assert shown.count("unattended") == 1, "the table is shown once"
    assert swept.state(gone) == "terminated"


def test_nobody_to_ask_is_nothing_done(swept: Swept) -> None:
    gone = swept.abandoned()
    before = swept.moment()
    done = swept.here("--apply", exits=2)
    assert "nobody can be asked here" in done.stderr and gone in done.stdout
    assert swept.changes(before) == []


def test_what_is_asked_about_is_no_part_of_the_data(swept: Swept) -> None:
    gone = swept.abandoned()
    done = swept.json("--apply", exits=2)
    assert done.stdout == "" and gone in done.stderr


# Guards.


def test_too_many_acts_are_none(swept: Swept) -> None:
    ids = swept.workers(11, lease=time_in(-60))
    before = swept.moment()
    done = swept.here("--apply", "--yes", exits=5)
    assert "11 acts are more than the 10" in done.stderr and swept.changes(before) == []
    assert "Nothing would be done now: 11 acts" in swept.here(exits=3).stdout
    swept.here("--apply", "--yes", "--max-acts", "11", "--max-percent", "100", exits=0)
    assert {swept.state(one) for one in ids} == {"terminated"}


def test_too_large_a_share_is_nothing(swept: Swept) -> None:
    swept.workers(4, lease=time_in(-60))
    image = swept.image
    assert image
    before = swept.moment()
    done = swept.here("--apply", "--yes", "--max-percent", "5", exits=5)
    assert "more than 5 %" in done.stderr and swept.changes(before) == []


# Two looks.


def test_a_mark_is_set_first_and_the_second_look_ends(swept: Swept) -> None:
    late = swept.expired()
    marked = swept.here("--apply", "--yes", exits=3)
    assert f"{late}: marked" in marked.stdout and "Look again" in marked.stdout
    assert swept.state(late) == "running"
    mark = swept.tags_of(late)["latent:mark"]
    assert mark.endswith(" expired")
    before = swept.moment()
    early = swept.json("--apply", "--yes", exits=3)
    assert early.found() == {late: "wait"} and swept.changes(before) == []
    assert "the second look may be in" in early.finding(late)["note"]
    swept.tag(late, mark=f"{time_in(-6)} expired")
    swept.here("--apply", "--yes", exits=0)
    assert swept.state(late) == "terminated"


@pytest.mark.parametrize("mark", ["yesterday expired", "2020-01-01T00:00:00Z expired", "", "soon"])
def test_a_mark_that_is_old_or_unreadable_is_no_first_look(swept: Swept, mark: str) -> None:
    late = swept.expired()
    swept.tag(late, mark=mark)
    assert swept.json(exits=3).found() == {late: "mark"}


def test_a_mark_of_another_kind_is_no_first_look(swept: Swept) -> None:
    late = swept.expired()
    swept.tag(late, mark=f"{time_in(-6)} orphan")
    assert swept.json(exits=3).found() == {late: "mark"}


def test_a_disk_goes_after_two_looks(swept: Swept) -> None:
    disk = swept.disk()
    swept.here("--apply", "--yes", exits=3)
    swept.tag(disk, mark=f"{time_in(-6)} volume-available")
    done = swept.here("--apply", "--yes", exits=0)
    assert f"{disk}: deleted" in done.stdout
    assert swept.ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [disk]}])["Volumes"] == []


# Protection.


def test_keep_tags_keep(swept: Swept) -> None:
    held = [swept.abandoned(keep=value) for value in ("true", "", "please")]
    held.append(swept.abandoned(keep_until=time_in(60)))
    free = [swept.abandoned(keep="false"), swept.abandoned(keep_until=time_in(-1))]
    done = swept.json("--apply", "--yes", exits=0)
    assert set(done.found()) == set(free)
    assert all("kept" in done.kept()[one] for one in held)
    assert {swept.state(one) for one in held} == {"running"}
    assert {swept.state(one) for one in free} == {"terminated"}


def test_termination_protection_is_respected_said_and_no_hindrance_to_others(swept: Swept) -> None:
    protected, gone = swept.abandoned(), swept.abandoned(worker="w2")
    swept.ec2.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": True})
    before = swept.moment()
    done = swept.here("--apply", "--yes", exits=4)
    assert f"FAILED {REGION} {protected}" in done.stdout and "disableApiTermination" in done.stdout
    assert (swept.state(protected), swept.state(gone)) == ("running", "terminated")
    assert set(swept.changes(before)) == {"TerminateInstances"}


def test_a_disk_that_outlives_its_instance_is_said(swept: Swept) -> None:
    gone = swept.abandoned()
    (disk,) = (one["Ebs"]["VolumeId"] for one in swept.describe(gone)["BlockDeviceMappings"])
    mapping = [{"DeviceName": "/dev/sda1", "Ebs": {"DeleteOnTermination": False}}]
    swept.ec2.modify_instance_attribute(InstanceId=gone, BlockDeviceMappings=mapping)
    done = swept.here("--apply", "--yes")
    assert done.returncode == 4, done.stdout
    assert f"STILL THERE {REGION} {disk}: it belonged to {gone}" in done.stdout
    assert disk in swept.json(exits=3).found()


def test_a_zombie_of_another_tool_is_told_and_touched_only_by_name(swept: Swept) -> None:
    swept.worker()
    zombie = swept.launch()
    told = swept.json("--apply", "--yes", exits=3)
    assert told.found() == {zombie: "report"} and told.finding(zombie)["kind"] == "untagged-on-own-ami"
    assert f"--id {zombie}" in swept.here(exits=3).stdout and swept.state(zombie) != "terminated"
    done = swept.here("--id", zombie, "--apply", "--yes", exits=0)
    assert f"{zombie}: terminated" in done.stdout and swept.state(zombie) == "terminated"


def test_naming_an_instance_that_is_in_order_does_not_end_it(swept: Swept) -> None:
    busy = swept.worker()
    stranger = swept.ec2.run_instances(
        ImageId=swept.register("strange"), InstanceType=TYPE, MinCount=1, MaxCount=1
    )["Instances"][0]["InstanceId"]
    refused = swept.here("--id", busy, "--apply", "--yes", exits=2)
    assert f"--id {busy}: it is not left over" in refused.stderr
    refused = swept.here("--id", stranger, "--apply", "--yes", exits=2)
    assert f"--id {stranger}: it is not there, or of no fleet" in refused.stderr
    assert "terminated" not in (swept.state(busy), swept.state(stranger))


def test_addresses_are_told_and_released_by_name(swept: Swept) -> None:
    made = swept.ec2.allocate_address(TagSpecifications=specs(tags(), "elastic-ip"))["AllocationId"]
    assert swept.json("--apply", "--yes", exits=3).found() == {made: "report"}
    done = swept.here("--id", made, "--apply", "--yes", exits=0)
    assert f"{made}: released" in done.stdout
