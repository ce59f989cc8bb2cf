"""The record of a year: what a start, a month's audit and the disk take."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from bench_fleet import scratch
from bench_rows import Measured
from bench_settings import Settings

GENERATOR = "year_ledger"
LIMIT_S = 3600.0
# The exit code of a report that has not looked at the account.
SOMETHING_UNSEEN = 15
# As the generator's fleet has them.
OWNERS = {"alice": "111111111111", "bob": "222222222222", "carol": "333333333333"}
SAID = re.compile(r"([0-9]+) entries, [0-9]+ bytes; opened in ([0-9.]+) s, folded in ([0-9.]+) s")


def ledger_ours(settings: Settings) -> Measured:
    """The generator makes the ledger and, asked once more, opens it as a start does; then a month is reported."""
    generator = Path(settings.binary).with_name("examples") / GENERATOR
    if not os.access(generator, os.X_OK):
        raise RuntimeError(
            f"no generator: examples/{GENERATOR} is not beside the program; cargo build --examples makes it"
        )
    with scratch() as folder:
        ledger = folder / "ledger.sqlite"
        _run([str(generator), str(ledger), str(settings.ledger_workers), str(settings.ledger_days)])
        size = sum(path.stat().st_size for path in folder.iterdir())
        entries, seconds = opened(_run([str(generator), str(ledger)]))
        audit = _audit(settings.binary, folder, ledger)
    return {"n": entries, "start": seconds, "audit": audit, "size": size / 1e9}


def opened(text: str) -> tuple[int, float]:
    """How many entries there are, and how long the start took, in seconds."""
    found = SAID.search(text)
    if found is None:
        raise RuntimeError(f"{GENERATOR} says something else: {text[-300:]}")
    return int(found.group(1)), float(found.group(2)) + float(found.group(3))


def _audit(binary: str, folder: Path, ledger: Path) -> float:
    """Every owner's report of the last thirty days, without a look at any account."""
    owners = [
        f'[owner.{name}]\naccount = "{account}"\ncredentials = {{ environment = true }}\n'
        for name, account in OWNERS.items()
    ]
    config = folder / "latent.toml"
    config.write_text('[fleet]\nname = "example"\ncontroller = "example-main"\n' + "".join(owners))
    (folder / "reports").mkdir()
    began = time.monotonic()
    _run(
        [binary, "audit", "--config", str(config), "--ledger", str(ledger), "--offline", "--since", "30d"]
        + ["--format", "json", "--output", str(folder / "reports")],
        SOMETHING_UNSEEN,
    )
    took = time.monotonic() - began
    if len(list((folder / "reports").iterdir())) != len(OWNERS):
        raise RuntimeError("latent audit has not written a report for each owner")
    return took


def _run(command: list[str], also: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode not in (0, also):
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr[-600:]}")
    return done.stdout
