#!/usr/bin/env python3
"""Kills the controller again and again, and looks whether anybody pays for it.

The real `latent serve`, with the real AWS SDK, runs on the model of EC2 in rough weather and is killed
with SIGKILL at seeded moments, and started again at once on the same ledger. A stand-in for the CI
master wants workers all the time. The trace of the model, not the controller, says what happened.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Optional

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "localstack"), str(HERE)]

from controller_link import Refused, Unreachable, ask  # noqa: E402
from kill_fleet import workers, write_fleet  # noqa: E402
from sim_server import SimServer, Weather  # noqa: E402
from stand_in import Master  # noqa: E402
from watcher import Watcher  # noqa: E402

SPEED = 20.0
# The model's lag is a few minutes at the worst; the policy's limits are in our seconds.
LAG_MAX_S = 300.0
# Two of the model's longest spells of bad weather, of 600 s each; in our time, and with some room, that
# is how long the fleet may need to recover.
ROOM_S = 30.0
RECOVERY_S = 1200.0 / SPEED + ROOM_S
# How long a kill waits for what it wants to interrupt.
MOMENT_S = 4.0
# Kinds of moments, how often each, and how long after it the kill comes, in seconds.
MOMENTS = {
    "young": (2, (0.0, 0.4)),
    "any": (4, (0.4, 4.0)),
    "intent": (4, (0.0, 0.02)),
    "RunInstances": (4, (0.0, 0.05)),
    "TerminateInstances": (3, (0.0, 0.05)),
    "DescribeInstances": (1, (0.0, 0.05)),
}


class Controller:
    """The process that is killed."""

    def __init__(self, binary: str, config: Path) -> None:
        self.socket = str(config.parent / "state" / "latent.sock")
        self._args = [binary, "serve", "--config", str(config)]
        self._log = open(config.parent / "controller.log", "ab")  # noqa: SIM115
        self._environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "emulated",
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_EC2_METADATA_DISABLED": "true",
            "KILL_PASSWORD": "a password",
        }
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.start()

    def start(self) -> None:
        """Starts it on the ledger that is there."""
        self._process = subprocess.Popen(self._args, env=self._environment, stdout=self._log, stderr=self._log)

    def kill(self) -> None:
        """SIGKILL, and the next one at once; RuntimeError if it had ended by itself."""
        process = self._process
        assert process is not None
        if process.poll() is not None:
            raise RuntimeError(f"the controller ended by itself with {process.returncode}, see controller.log")
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.start()

    def close(self) -> None:
        """Ends it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def wait_for_intent(self, seconds: float) -> None:
        """Returns right after the ledger got the next intent, before its call was answered."""
        end = time.monotonic() + seconds
        after: Optional[int] = None
        while time.monotonic() < end:
            try:
                url = f"/v1/events?after={after if after is not None else 2**62}&wait={1 if after else 0}"
                page = ask(self.socket, "GET", url)
            except (Unreachable, Refused):
                time.sleep(0.01)
                continue
            after = page["last"]
            if any(event["kind"].endswith("_intended") for event in page["events"]):
                return


class Matrix:
    """One run."""

    def __init__(self, binary: str, folder: Path, kills: int, seed: int, weather: str) -> None:
        self.folder, self.kills = folder, kills
        self._random = random.Random(seed)
        sim = os.environ.get("LATENT_SIM_BIN") or binary
        self.server = SimServer(folder / "sim.log", sim, Weather(weather, seed, SPEED))
        self.server.start()
        config = write_fleet(folder, self.server.endpoint, LAG_MAX_S / SPEED)
        self.watcher = Watcher(self.server.control)
        self.controller = Controller(binary, config)
        self.master = Master(self.controller.socket, workers(), seed, self.watcher.running)
        self.moments: dict[str, int] = {}

    def run(self) -> bool:
        """Kills so often, lets everything go, and judges."""
        began = time.monotonic()
        self.watcher.start()
        self.master.start()
        for number in range(self.kills):
            self._wait_for_a_moment()
            self.controller.kill()
            if number % 20 == 19:
                print(f"{time.monotonic() - began:6.1f}s  {self._progress(number + 1)}", flush=True)
        self._wait_for_everyone()
        stuck = self.master.let_go(ROOM_S)
        left = self._wait_for_the_end()
        self.master.close()
        self.watcher.close()
        print(f"{time.monotonic() - began:6.1f}s  nothing costs any more, {left:.1f} s after the last release")
        return self._verdict(stuck)

    def _wait_for_a_moment(self) -> None:
        kinds = list(MOMENTS)
        kind = self._random.choices(kinds, [MOMENTS[kind][0] for kind in kinds])[0]
        delay = self._random.uniform(*MOMENTS[kind][1])
        self.moments[kind] = self.moments.get(kind, 0) + 1
        if kind == "intent":
            self.controller.wait_for_intent(MOMENT_S)
        elif kind not in ("young", "any"):
            self.watcher.wait_for(kind, MOMENT_S)
        time.sleep(delay)

    def _progress(self, kills: int) -> str:
        done = sum(desk.done for desk in self.master.desks)
        judge = self.watcher.judge
        return f"kills={kills} launched={len(judge.lives)} builds={done} duplicates={len(judge.duplicates)}"

    def _wait_for_everyone(self) -> None:
        """A short run may lie within one spell of bad weather, which no worker of a region gets through."""
        _wait(lambda: all(desk.done for desk in self.master.desks))

    def _wait_for_the_end(self) -> float:
        print(f"         every worker was let go; within {RECOVERY_S:.0f} s nothing may cost any more", flush=True)
        return _wait(lambda: not self.watcher.judge.costing())

    def _verdict(self, stuck: list[str]) -> bool:
        judge, desks = self.watcher.judge, self.master.desks
        every = [build for desk in desks for build in desk.lost]
        duplicates, zombies, lost = judge.duplicates, judge.zombies(), judge.lost(every)
        trouble = [f"{name} was not let go" for name in stuck] + sorted(self.master.unknown)
        trouble += [self.watcher.trouble] if self.watcher.trouble else []
        trouble += [f"{desk.worker} ran no build at all" for desk in desks if not desk.done]
        self._print_details(len(every) - len(lost))
        for kind, found in [("duplicate", duplicates), ("zombie", zombies), ("lost build", lost)]:
            for text in found:
                print(f"{kind}: {text}")
        for text in trouble:
            print(f"trouble: {text}")
        good = not (duplicates or zombies or lost or trouble)
        counts = f"kills={self.kills} launched={len(judge.lives)} duplicates={len(duplicates)}"
        print(f"kill {'ok' if good else 'failed'}: {counts} zombies={len(zombies)} lost_builds={len(lost)}")
        return good

    def _print_details(self, weather: int) -> None:
        desks = self.master.desks
        moments = " ".join(f"{kind}={count}" for kind, count in sorted(self.moments.items()))
        print(f"         moments: {moments}")
        done, failed = sum(desk.done for desk in desks), [text for desk in desks for text in desk.failed]
        print(f"         builds={done} ended_by_the_weather={weather} refused_starts={len(failed)}")

    def close(self) -> None:
        """Ends every process."""
        self.controller.close()
        self.server.stop()


def _wait(done: Callable[[], bool]) -> float:
    """Returns when it is so, or when it should have been long ago; after how many seconds."""
    began = time.monotonic()
    while not done() and time.monotonic() < began + RECOVERY_S:
        time.sleep(0.1)
    return time.monotonic() - began


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--binary", required=True, help="the latent program")
    parser.add_argument("--kills", type=int, default=200, help="default: 200")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--weather", default="rough", help="calm, rough or storm; default: rough")
    args = parser.parse_args()
    # Told to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # A short path: a Unix socket's has 103 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="latent-kill-"))
    good = False
    try:
        binary = str(Path(args.binary).resolve())
        with contextlib.closing(Matrix(binary, folder, args.kills, args.seed, args.weather)) as matrix:
            good = matrix.run()
    except (RuntimeError, OSError) as error:
        print(f"kill failed: {error}", file=sys.stderr)
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"ledger and logs are left in {folder}; again: SEED={args.seed} KILLS={args.kills} make kill")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
