"""`latent audit` by an owner alone: read-only credentials, no configuration, no ledger."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("localstack", "tests/wire", "tests/kill", "tests/sweep")]

from account import REGION  # noqa: E402
from leftovers import SECRET, Swept  # noqa: E402
from sim_server import SimServer, Weather  # noqa: E402

SECONDS_MAX = 120.0


def audit(alone: Swept, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command with nothing but the account's key."""
    return subprocess.run(
        [alone.binary, "audit", *words],
        cwd=alone.folder,
        env=alone.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


@pytest.fixture
def alone(binary: str, tmp_path: Path) -> Iterator[Swept]:
    """An account with one instance of the fleet, and nothing else on the machine."""
    with SimServer(tmp_path / "sim.log", binary, Weather(speed=30.0, behind="1h")) as running:
        yield Swept(running.endpoint, 300000000001, binary, tmp_path)


def test_an_owner_alone_sees_what_runs_and_who_began_it(alone: Swept) -> None:
    gone = alone.abandoned()
    done = audit(alone, "--fleet", "snakes", "--region", REGION, "--since", "3d", "--format", "json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    report = json.loads(done.stdout)
    assert [line["instance"] for line in report["instances"]] == [gone]
    assert report["account"] == "300000000001" and report["ledger"] is None
    assert [one["id"] for one in report["leftovers"]] == [gone]
    assert report["headline"]["zombies"] == 1
    assert any("latent sweep" in saving["command"] for saving in report["savings"])
    assert SECRET not in done.stdout + done.stderr


def test_what_is_denied_is_told_with_its_action_and_the_exit_code_says_so(alone: Swept) -> None:
    alone.abandoned()
    where = {"account": alone.id, "region": REGION}
    for action in ("LookupEvents", "DescribeVolumes"):
        alone.control.fault(
            "refuse", code="AccessDenied", message="not allowed", status=403, times=50, action=action, **where
        )
    done = audit(alone, "--fleet", "snakes", "--region", REGION, "--format", "json")
    assert done.returncode == 15, (done.stdout, done.stderr)
    unseen = json.loads(done.stdout)["unseen"]
    assert any("cloudtrail:LookupEvents" in one["why"] for one in unseen)
    assert any("volumes" in one["what"] for one in unseen)
