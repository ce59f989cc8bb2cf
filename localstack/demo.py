#!/usr/bin/env python3
"""The main job, before your eyes: a Buildbot master wants workers, and nothing is left behind.

Starts an emulated EC2, its boot agent and a real Buildbot master, asks for builds, prints one line
for each transition as it happens, a table of each instance's life, one closing line, and writes the
owner's report.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from demo_rebake import prepare, rebake
from emulator import KINDS
from master_process import wait_for
from sim_server import Weather
from stack import Options, Stack

EC2 = {"sim": "latent's model of EC2", "moto": "moto's EC2"}
# Buildbot's result code.
SUCCESS = 0
# Builds per worker: the second one finds the instance warm.
BUILDS_EACH = 2
POLICY = {"idle_timeout": "4s", "connect_deadline": "60s", "max_lifetime": "1h", "absence_grace": "5s"}


class Narrator(threading.Thread):
    """Prints each entry of the controller's ledger as it comes."""

    def __init__(self, stack: Stack, began: float) -> None:
        super().__init__(daemon=True)
        args = [stack.binary, "--config", str(stack.folder / "latent.toml"), "events", "--follow", "--json"]
        self._events = subprocess.Popen(args, env=stack.environment, stdout=subprocess.PIPE, text=True)
        self._began = began

    def run(self) -> None:
        for line in self._events.stdout or ():
            event = json.loads(line)
            who = event["worker"] or "controller"
            print(f"{time.monotonic() - self._began:6.1f}s  {who:<10}  {event['text']}", flush=True)

    def stop(self) -> None:
        """Ends the program that is listened to."""
        self._events.terminate()
        self._events.wait()
        self.join(5)


def ask_for_builds(stack: Stack) -> list[dict[str, Any]]:
    """Two builds on each worker, both workers at once; the builds' records."""
    records = []
    for _ in range(BUILDS_EACH):
        requests = [stack.force(worker, seconds=1) for worker in stack.workers]
        for request in requests:
            stack.wait_build(request, 120)
            records += stack.builds(request)
    return records


def print_lives(lives: list[dict[str, Any]]) -> None:
    """For each instance, when it reached each step, in seconds from its request."""
    heads = ("worker", "instance", "launch", "running", "connected", "build", "idle", "gone", "builds")
    rows = [heads] + [_row(life) for life in lives]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    print()
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    print()


def write_report(stack: Stack, page: Path) -> bool:
    """The owner's report of what just happened, in a file that stays; whether it was written."""
    page.parent.mkdir(parents=True, exist_ok=True)
    written = stack.latent("audit", "--since", "1h", "--output", str(page))
    if not page.is_file():
        print(written.stderr, file=sys.stderr)
        return False
    return True


def _row(life: dict[str, Any]) -> tuple[str, ...]:
    began = _seconds(life["requested"] or life["intended"])

    def since(at: Any) -> str:
        return "-" if at is None else f"+{_seconds(at) - began:.1f}s"

    steps = (since(life[key]) for key in ("launched", "running", "connected", "first_build", "idle", "gone"))
    return (life["worker"], life["instance"] or "-", *steps, str(life["builds"]))


def _seconds(text: str) -> float:
    from datetime import datetime

    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.fromisoformat(whole + "+00:00")
    return moment.timestamp() + float("0." + (fraction or "0"))


class DemoStack(Stack):
    """The stack, whose image may be rebaked."""

    rebakes = False

    def write_fleet(self) -> None:
        """See `Stack`."""
        super().write_fleet()
        if self.rebakes:
            prepare(self)


def run(binary: str, ec2: str, keep: bool, rebakes: bool, page: Path) -> int:
    """The demonstration; 0 if every build succeeded and nothing is left, and so with the rebake."""
    began = time.monotonic()
    options = Options(policy=POLICY, boot_delay=2.0, ec2=ec2)
    print(f"starting {EC2[ec2]}, its boot agent and a Buildbot master ...", flush=True)
    if rebakes:
        # An AMI takes minutes.
        options.weather = Weather(speed=20)
    baked = None
    stack = DemoStack(binary, options)
    stack.rebakes = rebakes
    with stack:
        wait_for("the controller that the plugin starts", lambda: stack.latent("status").returncode == 0)
        narrator = Narrator(stack, began)
        narrator.start()
        records = ask_for_builds(stack)
        stack.wait_gone(60)
        wait_for("the controller to see them gone", lambda: not _departing(stack), 30)
        narrator.stop()
        lives = json.loads(stack.latent("history", "--json").stdout)
        print_lives(lives)
        good = sum(1 for record in records if record["results"] == SUCCESS)
        left = len(stack.truth())
        verdict = f"builds={len(records)} success={good} launched={len(lives)} left={left}"
        if rebakes:
            baked = rebake(stack, began)
        reported = write_report(stack, page)
        if keep:
            _wait_for_enter(stack)
    served = good == len(records) == BUILDS_EACH * len(Stack.workers) and left == 0
    print(f"demo {'ok' if served else 'failed'}: {verdict}")
    if baked is not None:
        print(f"rebake {'ok' if baked.good else 'failed'}: {baked}")
    if reported:
        print(f"the owner's report: {page}")
    return 0 if served and reported and (baked is None or baked.good) else 1


def _departing(stack: Stack) -> bool:
    return any(stack.worker(name)["departing"] for name in stack.workers)


def _wait_for_enter(stack: Stack) -> None:
    print(f"Buildbot   http://127.0.0.1:{stack.master.www_port}/")
    print(f"EC2        {stack.endpoint}")
    print(f"controller {stack.binary} --config {stack.folder / 'latent.toml'} status")
    print("press Enter to end it all", flush=True)
    sys.stdin.readline()


def main() -> int:
    # Whoever ends the demonstration from outside ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, help="the latent program")
    parser.add_argument("--ec2", choices=KINDS, default=KINDS[0], help="who plays EC2; default: sim")
    parser.add_argument("--keep", action="store_true", help="leave it up and print the addresses")
    parser.add_argument("--rebake", action="store_true", help="rebake the image of a worker as well")
    parser.add_argument("--report", type=Path, default=Path("demo-report.html"), help="where the report goes")
    args = parser.parse_args()
    if args.rebake and args.ec2 != "sim":
        parser.error("--rebake needs --ec2 sim: other emulators do not show a builder's console")
    try:
        return run(str(Path(args.binary).resolve()), args.ec2, args.keep, args.rebake, args.report)
    except (TimeoutError, RuntimeError, OSError) as e:
        print(f"demo failed: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
