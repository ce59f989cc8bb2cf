#!/usr/bin/env python3
"""What latent takes beside Buildbot's own EC2 worker, both on the same emulated EC2: one table.

Each row is measured on both sides, one after the other, so many rounds; the table has the medians.
A benchmark and no test: nothing fails because it is slow, and a row that cannot be measured says why.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("localstack", "tests/kill")]

import bench_docs  # noqa: E402
import bench_latency  # noqa: E402
import bench_ledger  # noqa: E402
import bench_lifecycle  # noqa: E402
import bench_master  # noqa: E402
import bench_scale  # noqa: E402
import bench_sweep  # noqa: E402
import bench_table  # noqa: E402
from bench_rows import OLD, OURS, ROWS, Found, Side, row_of  # noqa: E402
from bench_settings import QUICK, Settings  # noqa: E402

GROWTH = "growth"
# By the row's key: our side, and the old one's where there is one.
SIDES: dict[str, tuple[Side, Optional[Side]]] = {
    "launch": (bench_latency.launch_ours, bench_latency.launch_old),
    "throttled": (bench_latency.throttled_ours, bench_latency.throttled_old),
    "shared": (bench_latency.shared_ours, bench_latency.shared_old),
    "lifecycle": (bench_lifecycle.lives_ours, bench_lifecycle.lives_old),
    "told": (bench_lifecycle.told_ours, bench_lifecycle.told_old),
    "admit": (bench_lifecycle.admit_ours, None),
    "death": (bench_lifecycle.death_ours, bench_lifecycle.death_old),
    "again": (bench_lifecycle.again_ours, bench_lifecycle.again_old),
    "master": (bench_master.master_ours, bench_master.master_old),
    "live1000": (bench_scale.live_few, None),
    "live10000": (bench_scale.live_many, None),
    "sweep": (bench_sweep.sweep_ours, None),
    "ledger": (bench_ledger.ledger_ours, None),
}


def conditions(settings: Settings, rounds: int) -> dict[str, Any]:
    """On what it is measured."""
    commit = _output("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12")
    return {
        "commit": commit,
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "program": f"{_output(settings.binary, '--version')}, {_build(settings.binary)}",
        "machine": f"{os.cpu_count()} × {_processor()}, {_memory_gb():.0f} GB, "
        f"{platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "versions": f"Python {platform.python_version()}, Buildbot {version('buildbot')}, "
        f"Twisted {version('twisted')}, boto3 {version('boto3')}",
        "rounds": rounds,
    }


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _build(binary: str) -> str:
    """As Cargo names its folders."""
    folder = Path(binary).parent.name
    return {"release": "optimised", "sim": "optimised", "debug": bench_table.UNOPTIMISED}.get(
        folder, f"in {folder}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def measure(key: str, settings: Settings, rounds: int) -> Found:
    """One row: the two sides in turn, a side that failed not again."""
    ours, old = SIDES[key]
    found = Found(began=time.time())
    for _ in range(max(1, rounds // 3) if row_of(key).is_slow else rounds):
        for name, side, into in ((OURS, ours, found.ours), (OLD, old, found.old)):
            if side is None or name in found.why:
                continue
            began = time.monotonic()
            try:
                one = side(settings)
            except Exception as error:
                found.why[name] = f"{type(error).__name__}: {error}"
                traceback.print_exc()
                continue
            found.n[name] = int(one.pop("n"))
            into.append(one)
            said = ", ".join(f"{quantity} {value:.3f}" for quantity, value in one.items())
            print(f"{key}, {name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
    found.ended = time.time()
    return found


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the latent program, optimised")
    parser.add_argument("--door", help="the one that plays EC2; default: the same")
    parser.add_argument("--rows", default="", help=f"of {','.join([*SIDES, GROWTH])}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see whether it runs")
    parser.add_argument(
        "--json", type=Path, help="write everything there; what is there and not measured now stays"
    )
    parser.add_argument("--workers", type=int, help="in the place of 200, where the old class takes too long")
    parser.add_argument("--write-docs", action="store_true", help="write the table and the plot into docs/")
    args = parser.parse_args()
    binary = os.path.abspath(args.binary)
    sizes = {**(QUICK if args.quick else {}), **({"workers": args.workers} if args.workers else {})}
    settings = Settings(binary, os.path.abspath(args.door or binary), **sizes)
    every = [*SIDES, GROWTH]
    keys = args.rows.split(",") if args.rows else every
    if unknown := sorted(set(keys) - set(every)):
        parser.error(f"--rows: there is no {', '.join(unknown)}; there are {', '.join(every)}")
    where = conditions(settings, args.rounds)
    print(bench_table.where(where), flush=True)
    data = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    for row in ROWS:
        if row.key in keys:
            found = {row.key: measure(row.key, settings, args.rounds)}
            data = bench_table.merged(data, bench_table.record(found, settings.words(), where))
            keep(args.json, data)
    if GROWTH in keys:
        try:
            data = {**data, GROWTH: bench_scale.growth(settings), f"{GROWTH} conditions": where}
        except Exception:
            # The table does not depend on the plot.
            traceback.print_exc()
        keep(args.json, data)
    print(bench_table.plain(data))
    if args.write_docs:
        bench_docs.write(ROOT / "docs", data)
    return 0


def keep(path: Optional[Path], data: dict[str, Any]) -> None:
    """After each row: a run takes long, and may be ended."""
    if path is not None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(data, indent=1) + "\n")
        part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
