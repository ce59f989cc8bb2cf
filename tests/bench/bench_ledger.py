"""The record of a year: what a start, a month's audit and the disk take."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from bench_fleet import scratch
from bench_rows import Measured
from bench_settings import Settings

GENERATOR = "year_ledger"
LIMIT_S = 3600.0


def ledger_ours(settings: Settings) -> Measured:
    """What the generator measured: it makes the ledger, opens it and asks it."""
    generator = Path(settings.binary).with_name("examples") / GENERATOR
    if not os.access(generator, os.X_OK):
        raise RuntimeError(f"no generator: {generator} is not there (cargo build --release --examples makes it)")
    with scratch() as folder:
        done = subprocess.run(
            [str(generator), "--folder", str(folder), "--json"], capture_output=True, text=True, timeout=LIMIT_S
        )
    if done.returncode != 0:
        raise RuntimeError(f"{GENERATOR} ended with {done.returncode}: {done.stderr[-600:]}")
    said = json.loads(done.stdout)
    return {
        "n": said["entries"],
        "start": said["start_s"],
        "audit": said["audit_month_s"],
        "size": said["file_bytes"] / 1e9,
    }
