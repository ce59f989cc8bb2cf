"""What a person sees who runs it for the first time, on a machine that knows nothing but a key."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
from account import OTHER_REGION, REGION
from leftovers import Swept, specs, tags, time_in

ROOT = Path(__file__).resolve().parents[2]
ESCAPE = "\x1b"


def test_an_account_without_leftovers_is_clean(swept: Swept) -> None:
    busy = swept.worker()
    before = swept.moment()
    done = swept.here(exits=0)
    assert done.stdout.count("\n") == 1 and "nothing left over" in done.stdout
    assert f"sweep of {swept.id} in {REGION}: 1 instance seen" in done.stdout
    assert "vouches for it until" in swept.json(exits=0).kept()[busy]
    assert swept.here("--quiet", exits=0).stdout == ""
    assert swept.changes(before) == []


def test_looking_changes_nothing(swept: Swept) -> None:
    swept.abandoned()
    swept.expired()
    swept.disk()
    before = swept.moment()
    for words in [(), ("--json",), ("--csv",), ("-q",), ("-v",), ("--plan", "plan.json")]:
        assert swept.here(*words).returncode == 3, words
    assert swept.calls(before) and swept.changes(before) == []


def test_what_is_left_over_is_told_with_reason_evidence_and_cost(swept: Swept) -> None:
    gone, late, disk = swept.abandoned(), swept.expired(), swept.disk()
    found = swept.json(exits=3)
    assert found.found() == {gone: "terminate", late: "mark", disk: "mark"}
    one = found.finding(gone)
    assert (one["kind"], one["confidence"], one["name"]) == ("unattended", "strong", "w1")
    assert one["monthly"] and "no controller has vouched for it" in one["reason"]
    assert any(line.startswith("latent:lease = ") for line in one["evidence"])
    table = swept.here(exits=3).stdout
    assert all(an_id in table for an_id in (gone, late, disk))
    assert "3 left over (1 to take away, 2 to mark)" in table
    assert table.rstrip().endswith(f"To do what the table says: latent sweep --region {REGION} --apply")


def test_several_regions_are_looked_at(swept: Swept) -> None:
    here, there = swept.abandoned(), swept.abandoned(OTHER_REGION)
    both = swept.sweep("--region", REGION, "--region", OTHER_REGION, "--json", exits=3)
    assert set(both.found()) == {here, there}
    every = swept.sweep("--all-regions", "--json", exits=3)
    assert set(every.found()) == {here, there} and len(every.plan()["regions"]) == 17
    assert set(swept.json(exits=3).found()) == {here}


def test_only_one_fleet_is_looked_at_if_it_is_named(swept: Swept) -> None:
    ours, theirs = swept.abandoned(), swept.abandoned(fleet="others")
    assert set(swept.json("--fleet", "others", exits=3).found()) == {theirs}
    assert set(swept.json(exits=3).found()) == {ours, theirs}


def test_a_profile_of_the_shared_configuration_is_used(swept: Swept) -> None:
    gone = swept.abandoned()
    files = swept.home / ".aws"
    files.mkdir()
    (files / "credentials").write_text(
        f"[bills]\naws_access_key_id = {swept.key}\naws_secret_access_key = file-secret\n"
    )
    words = ("--region", REGION, "--profile", "bills", "--json")
    done = swept.sweep(*words, exits=3, AWS_ACCESS_KEY_ID="AKIA999999999999TEST")
    assert done.plan()["account"] == swept.id and set(done.found()) == {gone}
    assert "file-secret" not in done.stdout + done.stderr


def test_a_role_is_assumed_with_its_external_id(swept_today: Swept) -> None:
    gone = swept_today.abandoned()
    role = f"arn:aws:iam::{swept_today.id}:role/audit"
    words = ("--region", REGION, "--role-arn", role, "--external-id", "between-us")
    visitor = {"AWS_ACCESS_KEY_ID": "AKIA999999999999TEST"}
    done = swept_today.sweep(*words, "--json", exits=3, **visitor)
    assert done.plan()["account"] == swept_today.id and set(done.found()) == {gone}
    shown = swept_today.sweep(*words, exits=3, **visitor).stdout
    assert f"--role-arn {role}" in shown and "between-us" not in shown


def test_the_wrong_account_is_refused_before_anything_is_looked_at(swept: Swept) -> None:
    swept.abandoned()
    before = swept.moment()
    refused = swept.here("--account", "999999999999", exits=5)
    assert f"act in account {swept.id}, --account says 999999999999" in refused.stderr
    assert swept.calls(before) == ["GetCallerIdentity"]
    swept.here("--account", swept.id, exits=3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say where"),
        (("--region", "us west"), "region"),
        (("--region", REGION, "--all-regions"), "cannot be used with"),
        (("--region", REGION, "--yes"), "--apply"),
        (("--region", REGION, "--account", "12"), "12 digits"),
        (("--region", REGION, "--max-percent", "101"), "101"),
        (("--owner", "alice"), "latent.toml"),
        (("--apply", "nowhere.json"), "nowhere.json: cannot be read"),
    ],
)
def test_a_wrong_command_line_is_told_in_a_sentence(swept: Swept, words: tuple[str, ...], said: str) -> None:
    before = swept.moment()
    done = swept.sweep(*words, exits=2)
    assert said in done.stderr and done.stdout == ""
    assert swept.calls(before) == []


def test_without_credentials_it_says_so(swept: Swept) -> None:
    done = swept.sweep("--region", REGION, exits=6, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert "cannot see whose account this is" in done.stderr


# What it prints.


def test_the_json_is_of_the_published_form(swept: Swept) -> None:
    swept.abandoned()
    schema = json.loads((ROOT / "docs" / "sweep-plan.schema.json").read_text())
    assert schema == json.loads(swept.sweep("--schema", exits=0).stdout), (
        "write it anew: cargo run -- sweep --schema > docs/sweep-plan.schema.json"
    )
    swept.here("--plan", "plan.json", exits=3)
    plan = json.loads((swept.folder / "plan.json").read_text())
    jsonschema.validate(plan, schema)
    assert plan["digest"].startswith("sha256:") and plan["plan"]["account"] == swept.id
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plan, "plan": {**plan["plan"], "account": 1}}, schema)


HOSTILE = {
    "escape": f"{ESCAPE}]0;owned\x07{ESCAPE}[2J",
    "backwards": "\u202etxt.exe",
    "long": "x" * 256,
    "formula": '=HYPERLINK("http://evil","pay")',
    "lines": "one\ntwo\r\nthree",
    "html": "<script>alert(1)</script>",
    "comma": 'a,"b"',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tags_do_nothing_to_a_terminal_or_a_spreadsheet(swept: Swept, kind: str) -> None:
    text = HOSTILE[kind]
    gone = swept.abandoned(worker=text, fleet=text if len(text) < 100 else "long")
    table = swept.here("-v", exits=3).stdout
    for bad in (ESCAPE, "\x07", "\u202e", "\r"):
        assert bad not in table
    assert gone in table and not re.search(r"^two", table, re.MULTILINE)
    rows = list(csv.DictReader(io.StringIO(swept.here("--csv", exits=3).stdout)))
    (row,) = (one for one in rows if one["id"] == gone)
    assert not any(field.startswith(("=", "+", "-", "@", "\t", "\r")) for field in row.values())
    assert not any(char in "".join(row.values()) for char in (ESCAPE, "\u202e", "\n", "\r"))
    # What XML cannot carry does not come back even from EC2.
    assert kind == "escape" or swept.json(exits=3).finding(gone)["name"] == text


def test_unreadable_tags_keep_a_resource(swept: Swept) -> None:
    ids = {
        swept.abandoned(lease="soon"): "no time",
        swept.abandoned(role="king"): "unreadable",
        swept.abandoned(deadline=None): "no tag latent:deadline",
        swept.abandoned(keep_until="for ever"): "no RFC 3339 time",
    }
    done = swept.json(exits=0)
    assert done.found() == {}
    assert all(why in done.kept()[an_id] for an_id, why in ids.items())
    assert all(an_id in swept.here("-v", exits=0).stdout for an_id in ids)


def test_what_has_no_known_price_is_said_to_have_none(swept: Swept) -> None:
    known = swept.abandoned()
    old = swept.launch(InstanceType="m1.small", TagSpecifications=specs(tags(lease=time_in(-60)), "instance"))
    done = swept.json(exits=3)
    assert done.finding(known)["monthly"] and done.finding(old)["monthly"] is None
    shown = swept.here(exits=3).stdout
    assert re.search(rf"^{old} .* unknown ", shown, re.MULTILINE) and "and 1 of unknown price" in shown
    rows = csv.DictReader(io.StringIO(swept.here("--csv", exits=3).stdout))
    assert {row["id"]: row["monthly_usd_low"] for row in rows}[old] == ""


def test_quiet_is_one_line(swept: Swept) -> None:
    swept.abandoned()
    done = swept.here("--quiet", exits=3)
    assert done.stdout.count("\n") == 1 and "1 left over (1 to take away)" in done.stdout
    assert done.stderr == ""


def test_a_reader_that_goes_away_is_no_crash(swept: Swept) -> None:
    for _ in range(3):
        swept.abandoned()
    with subprocess.Popen(
        [swept.binary, "sweep", "--region", REGION, "-v"],
        cwd=swept.folder,
        env=swept.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read().decode()
    assert "panicked" not in said and process.returncode in (0, 1, 3, 141), (process.returncode, said)


def test_on_a_terminal_regions_are_counted_and_nothing_is_broken(swept: Swept) -> None:
    gone = swept.abandoned()
    words = ("--region", REGION, "--region", OTHER_REGION)
    for columns in (80, 120):
        code, shown = swept.on_a_terminal(*words, columns=columns)
        assert code == 3 and "/2 regions" in shown and gone in shown
        assert f"{ESCAPE}[31m{gone}" in shown
        table = shown[shown.index("ID ") :].replace(ESCAPE, "")
        lines = [re.sub(r"\[[0-9;]*m", "", line) for line in table.split("\r\n")]
        assert all(len(line) <= columns for line in lines if line.startswith("    "))
    _, plain = swept.on_a_terminal(*words, NO_COLOR="1")
    assert f"{ESCAPE}[31m" not in plain
    assert ESCAPE not in swept.sweep(*words, exits=3).stdout


def test_the_help_names_every_way(swept: Swept) -> None:
    done = swept.sweep("--help", exits=0)
    for word in ("--region", "--all-regions", "--owner", "--plan", "--apply", "latent:keep", "Exit codes"):
        assert word in done.stdout
