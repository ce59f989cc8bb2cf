"""`latent audit` as a person runs it, from a ledger alone."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import jsonschema
import pytest
from paper import Paper

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def paper(binary: str, tmp_path: Path) -> Paper:
    """Two owners, one ledger."""
    return Paper(binary, tmp_path)


def test_the_published_schema_is_the_programs_and_a_report_has_it(paper: Paper) -> None:
    schema = json.loads((ROOT / "docs" / "audit.schema.json").read_text())
    printed = json.loads(paper.audit("--schema", exits=0).stdout)
    assert printed == schema, "write it anew: latent audit --schema > docs/audit.schema.json"
    jsonschema.validate(paper.report(), schema)


def test_a_report_of_the_ledger_alone_says_what_it_had(paper: Paper) -> None:
    report = paper.report()
    assert [line["instance"] for line in report["instances"]] == ["i-0a11ce"]
    assert report["instances"][0]["uses"] == {"boot": 120, "build": 1800, "idle": 660, "drain": 60}
    used = {source["name"]: source["used"] for source in report["sources"]}
    assert used == {"ledger": True, "describe": False, "cloudtrail": False, "rebakes": True, "prices": True}
    assert any("traffic" in one["what"] for one in report["unseen"])
    assert len(report["days"]) > 1 and report["headline"]["builds"] == 1


def test_several_owners_need_a_folder_and_each_is_told_its_own(paper: Paper) -> None:
    refused = paper.audit("--since", "2026-03-01", exits=2)
    assert "alice" in refused.stderr and "bob" in refused.stderr and "-o FOLDER/" in refused.stderr
    paper.audit("--since", "2026-03-01", "-o", "one.json", exits=2)
    assert not (paper.folder / "one.json").exists()
    paper.audit("--since", "2026-03-01", "--format", "json", "-o", "reports/", exits=0)
    files = sorted((paper.folder / "reports").iterdir())
    assert [file.name for file in files] == ["alice.json", "bob.json"]
    alices, bobs = (file.read_text() for file in files)
    for word in ("bob", "hidden", "i-0b0b", "222222222222"):
        assert word not in alices
    assert "i-0b0b" in bobs and "alice" not in bobs and "i-0a11ce" not in bobs


@pytest.mark.parametrize("ending, begin", [("html", "<!"), ("json", "{"), ("csv", ""), ("md", "#"), ("txt", "")])
def test_the_ending_of_the_file_says_its_format(paper: Paper, ending: str, begin: str) -> None:
    paper.audit("--owner", "alice", "--since", "2026-03-01", "-o", f"report.{ending}", exits=0)
    file = paper.folder / f"report.{ending}"
    assert file.read_text().lower().startswith(begin)
    assert "i-0a11ce" in file.read_text() or ending in ("md", "txt")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in paper.folder.iterdir() if one.name.startswith(".")] == []


def test_a_report_is_confirmed_and_a_changed_one_is_not(paper: Paper) -> None:
    file = paper.folder / "report.json"
    report = paper.report()
    file.write_text(json.dumps(report))
    confirmed = paper.audit("--verify", "report.json", exits=0)
    assert "confirmed" in confirmed.stdout and "not checked" in confirmed.stdout
    report["instances"][0]["builds"] = 7
    report["headline"]["builds"] = 7
    file.write_text(json.dumps(report))
    differs = paper.audit("--verify", "report.json", exits=16)
    assert "instances.i-0a11ce.builds: the report says 7, the ledger 1" in differs.stdout


def test_what_is_no_report_is_said_to_be_none(paper: Paper) -> None:
    file = paper.folder / "report.json"
    for text, word in [("{", "no JSON"), ("{}", "no report"), ('{"version": 99}', "version 99")]:
        file.write_text(text)
        assert word in paper.audit("--verify", "report.json", exits=2).stderr
    assert "cannot be read" in paper.audit("--verify", "none.json", exits=2).stderr


@pytest.mark.parametrize("since", ["yesterday", "0s", "2999-01-01", "-1d"])
def test_a_period_that_is_none_is_refused_with_what_to_write(paper: Paper, since: str) -> None:
    done = paper.audit("--owner", "alice", f"--since={since}", exits=2)
    assert "30d" in done.stderr


def test_an_owner_that_is_not_there_is_refused_with_those_that_are(paper: Paper) -> None:
    done = paper.audit("--owner", "carol", exits=2)
    assert "alice, bob" in done.stderr


def test_a_ledger_that_is_named_and_not_there_is_no_report_without_one(paper: Paper) -> None:
    paper.ledger.unlink()
    done = paper.audit("--owner", "alice", "--format", "json", exits=6)
    assert done.stdout == "" and str(paper.ledger) in done.stderr
