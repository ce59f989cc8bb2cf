"""What the rows make of the door's log, on logs that are made up. Nothing is timed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("localstack", "tests/kill", "tests/bench")]

import bench_fleet  # noqa: E402
import bench_latency  # noqa: E402
import bench_ledger  # noqa: E402
import bench_link  # noqa: E402
import bench_sweep  # noqa: E402
from bench_rows import ROWS  # noqa: E402
from bench_settings import QUICK, Settings  # noqa: E402


def call(
    action: str, subject: str, arrived_s: float, code: Optional[str] = None, region: str = "us-west-2"
) -> dict[str, Any]:
    """One entry of the log; each took 0.2 s."""
    arrived = round(arrived_s * 1e6)
    times = {"arrived_us": arrived, "answered_us": arrived + 200_000}
    return {"action": action, "subject": subject, "code": code, "region": region, **times}


THROTTLED = "RequestLimitExceeded"
AMIS = {"w1": "ami-1", "w2": "ami-2", "w3": "ami-3"}
ASKED = dict.fromkeys(AMIS, 100.0)
CALLS = [
    call("DescribeInstances", "", 100.0),
    call("RunInstances", "ami-1", 100.010),
    call("RunInstances", "ami-2", 100.020, THROTTLED),
    call("RunInstances", "ami-2", 103.0),
]


def test_a_launch_counts_when_it_was_not_refused() -> None:
    arrived = bench_latency._arrivals(CALLS, AMIS)
    assert arrived == {"w1": 100.01, "w2": 103.0}
    found = bench_latency._latency(ASKED, arrived, CALLS)
    assert {key: round(value, 3) for key, value in found.items()} == {"n": 2, "p50": 10.0, "p99": 3000.0}


def test_the_limit_is_five_at_once_and_two_per_second() -> None:
    arrived = bench_latency._arrivals(CALLS, AMIS)
    found = bench_latency._under_limit(9, ASKED, arrived, CALLS)
    # Nine need two seconds.
    assert found == {"n": 9, "share": pytest.approx(1.5), "last": pytest.approx(3), "refused": 25, "failed": 7}


def test_workers_of_one_ami_count_by_their_calls() -> None:
    shared = dict.fromkeys(AMIS, "ami-1")
    found = bench_latency._of_one_ami(ASKED, bench_latency._arrivals(CALLS[:2], shared), CALLS[:2])
    assert found == {"n": 3, "calls": 1, "last": pytest.approx(0.01)}


def swept(seen: int, code: int = 0) -> subprocess.CompletedProcess[str]:
    """What the command would have said."""
    return subprocess.CompletedProcess([], code, json.dumps({"plan": {"seen": {"instances": seen}}}), "no")


def test_a_sweep_is_judged_by_its_pages_and_its_slowest_region() -> None:
    counts = {"us-west-2": 1500, "us-east-1": 10}
    # Two pages each of three listings, one of each of four; and seven of one page.
    log = [call("DescribeVolumes", "", 100 + at / 10) for at in range(10)]
    log += [call("DescribeVolumes", "", 100, region="us-east-1")] * 7 + [call("GetCallerIdentity", "", 90)]
    found = bench_sweep._judged(swept(1510), log, counts, 2.2)
    assert found == {"n": 1510, "calls": pytest.approx(18 / 17), "time": pytest.approx(2.0), "seconds": 2.2}
    with pytest.raises(RuntimeError, match="saw 3 instances of 1510"):
        bench_sweep._judged(swept(3), log, counts, 2.2)
    with pytest.raises(RuntimeError, match="ended with 6"):
        bench_sweep._judged(swept(1510, 6), log, counts, 2.2)


def test_a_start_is_what_opening_and_folding_take() -> None:
    said = "written in 9.0 s\n10000000 entries, 900 bytes; opened in 0.25 s, folded in 1.50 s (7 entries after)\n"
    assert bench_ledger.opened(said) == (10_000_000, 1.75)
    with pytest.raises(RuntimeError, match="something else: nothing"):
        bench_ledger.opened("nothing")


@pytest.mark.parametrize(("count", "workers"), [(1, 7), (10, 7), (100, 10_000), (40, 200)])
def test_cells_share_the_workers_evenly(count: int, workers: int) -> None:
    found = bench_fleet.cells(count, workers)
    assert len({(cell.account, cell.region) for cell in found}) == count
    shares = [cell.workers for cell in found]
    assert (sum(shares), max(shares) - min(shares) <= 1) == (workers, True)


def test_a_question_is_whole_and_says_its_length() -> None:
    head, _, body = bench_link.request_bytes("POST", "/v1/x", {"a": "ä"}).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {"a": "ä"}


def test_every_row_can_be_measured_and_a_small_run_is_smaller() -> None:
    import bench

    assert list(bench.SIDES) == [row.key for row in ROWS]
    # Where there is nothing to compare with, the row says why, and nowhere else.
    assert [key for key, (_, old) in bench.SIDES.items() if old is None] == [row.key for row in ROWS if row.alone]
    full, quick = Settings("latent", "latent"), Settings("latent", "latent", **QUICK)
    assert all(getattr(quick, key) < getattr(full, key) for key in ("workers", "many", "steady_s"))
    assert all("{" not in row.title.format(**full.words()) for row in ROWS)
