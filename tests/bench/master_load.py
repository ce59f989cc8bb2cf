#!/usr/bin/env python3
"""What 200 latent workers cost a Buildbot master, beside as many plain ones; a benchmark, not a test.

Masters are real processes with a database, a builder for each worker and the web interface. The
controller is a stub on a Unix socket, so that the plugin alone is measured. A round of masters (plain
workers, latent ones without anything in them, ours) runs within a minute or two.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "localstack"))

from master_process import MasterProcess, wait_for  # noqa: E402

# In memory where that is possible: a slow disk is not what is measured.
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SETTLE_S = 3.0
# Longer than two reports of the plugin.
LATENCY_S = 12.0
LATENCY_PAUSE_S = 0.02
ARRIVE_S = 60.0
# On a busy machine the bare class takes minutes.
START_S = 400.0

PLAIN = 'worker.Worker(name, "secret")'
# What any latent worker costs, whosever it is: Buildbot's base class with nothing in it.
BARE = 'Bare(name, "secret")'
LATENT = 'worker.LatentEC2Worker(name, "secret", socket={socket!r}, autostart=False)'
# The same, and it writes how long a connection waits for us, and until a build may begin.
TIMED = 'Timed(name, "secret", socket={socket!r}, autostart=False)'
CONNECT_EVERY_S = 0.3
CONNECT_WORKERS = 50

MASTER_CFG = """\
import os, time
from buildbot.plugins import schedulers, util, worker
from buildbot.worker.latent import AbstractLatentWorker
from twisted.internet import reactor, task

c = BuildmasterConfig = {{}}
c["db_url"] = "sqlite:///state.sqlite"
c["buildbotNetUsageData"] = None
c["protocols"] = {{"pb": {{"port": "tcp:@PB@:interface=127.0.0.1"}}}}
c["www"] = {{"port": "tcp:@WWW@:interface=127.0.0.1"}}

class Bare(AbstractLatentWorker):
    def start_instance(self, build):
        return True

    def stop_instance(self, fast=False):
        return None

class Timed(worker.LatentEC2Worker):
    def attached(self, conn):
        self.knocked = time.monotonic()
        return super().attached(conn)

    def _attach(self, conn):
        asked = time.monotonic()
        attached = super()._attach(conn)
        return attached.addCallback(self._write, asked)

    def _write(self, result, asked):
        with open("let_in", "a") as file:
            print(asked - self.knocked, time.monotonic() - self.knocked, file=file)
        return result

names = ["w%03d" % n for n in range({workers})]
c["workers"] = [{worker} for name in names]
factory = util.BuildFactory()
c["builders"] = [util.BuilderConfig(name=name, workernames=[name], factory=factory) for name in names]
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=names)]

def look():
    if not os.path.exists("go"):
        return
    loop.stop()
    count = int(open("go").read())
    began = time.monotonic()
    for one in c["workers"][:count]:
        one.substantiate(None, None).addErrback(lambda failure: None)
    with open("gone", "w") as file:
        file.write(repr(began))

loop = task.LoopingCall(look)
reactor.callWhenRunning(loop.start, 0.05)
"""


@dataclass
class Started:
    """One master with its workers, as it was when it had settled."""

    master: MasterProcess
    socket: Path
    seconds: float
    # What the start took of a processor: less than `seconds` a matter of who else is on the machine.
    cpu_s: float = 0

    @property
    def _status(self) -> dict[str, str]:
        assert self.master.process is not None
        text = Path(f"/proc/{self.master.process.pid}/status").read_text()
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    def cpu(self) -> float:
        """The processor time that it has used, in seconds."""
        assert self.master.process is not None
        fields = Path(f"/proc/{self.master.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def rss_mb(self) -> float:
        """Its resident memory."""
        return int(self._status["VmRSS"].split()[0]) / 1024

    @property
    def threads(self) -> int:
        """How many it has."""
        return int(self._status["Threads"])

    def words(self) -> str:
        """What it costs by standing there."""
        return f"{self.rss_mb:.1f} MB, {self.seconds:.1f} s ({self.cpu_s:.1f} s CPU), {self.threads} threads"

    def listing(self, seconds: float) -> str:
        """How long its list of workers takes, asked over and over, and what that takes of a processor."""
        taken = []
        used = self.cpu()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            self.master.rest("workers")
            taken.append(1000 * (time.monotonic() - began))
            time.sleep(LATENCY_PAUSE_S)
        each = 1000 * (self.cpu() - used) / len(taken)
        median, most = statistics.median(taken), max(taken)
        return f"p50 {median:.0f} ms, max {most:.0f} ms, {each:.0f} ms of CPU each ({len(taken)} calls)"

    def request(self, count: int) -> str:
        """Asks for so many instances at once; how long it takes until the stub has heard of them."""
        part = self.master.folder / "part"
        part.write_text(str(count))
        part.rename(self.master.folder / "go")
        gone = self.master.folder / "gone"
        wait_for("the requests", lambda: gone.exists() and gone.read_text(), ARRIVE_S)
        arrivals = self.socket.with_suffix(".arrivals")
        wait_for("the starts", lambda: len(arrivals.read_text().splitlines()) >= count, ARRIVE_S)
        times = [float(line.split()[1]) for line in arrivals.read_text().splitlines()]
        return told([one - float(gone.read_text()) for one in times])

    def connect(self, count: int, every: float) -> tuple[str, str]:
        """So many workers connect; how long each waits for us, and for us and Buildbot together."""
        port, folder = str(self.master.pb_port), str(self.master.folder / "workers")
        names = [f"w{number:03}" for number in range(count)]
        script = str(Path(__file__).with_name("many_workers.py"))
        args = [sys.executable, script, "--port", port, "--folder", folder, "--every", str(every), *names]
        workers = subprocess.Popen(args, stdout=subprocess.DEVNULL)
        try:
            let_in = self.master.folder / "let_in"
            wait_for(
                "the workers",
                lambda: let_in.exists() and len(let_in.read_text().splitlines()) >= count,
                ARRIVE_S + count * every,
            )
        finally:
            workers.terminate()
            workers.wait()
        pairs = [line.split() for line in let_in.read_text().splitlines()]
        return told([float(ours) for ours, _ in pairs]), told([float(both) for _, both in pairs])


def told(seconds: list[float]) -> str:
    """The middle and the end of some times."""
    ordered = sorted(1000 * one for one in seconds)
    worst = ordered[max(0, round(0.99 * len(ordered)) - 1)]
    return f"p50 {ordered[len(ordered) // 2]:.1f} ms, p99 {worst:.1f} ms, last {ordered[-1]:.1f} ms"


class Bench:
    """Starts masters, one after the other."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._workers = workers
        self._runs = 0

    @contextmanager
    def run(self, worker: str, workers: int = 0, launches: bool = False) -> Iterator[Started]:
        """A master with so many of these workers, and a stub for them to ask."""
        self._runs += 1
        count = workers or self._workers
        folder = self._folder / str(self._runs)
        socket = self._folder / f"{self._runs}.sock"
        stub_args = ["--socket", str(socket), "--arrivals", str(socket.with_suffix(".arrivals"))]
        if launches:
            stub_args.append("--launches")
        stub = subprocess.Popen([sys.executable, str(Path(__file__).with_name("stub_controller.py")), *stub_args])
        master = MasterProcess(folder, os.environ, self._folder / "template.sqlite")
        try:
            wait_for("the stub", socket.exists)
            text = MASTER_CFG.format(workers=count, worker=worker.format(socket=str(socket)))
            master.write(text)
            began = time.monotonic()
            master.start(builders=count)
            # The interface answers before there are workers.
            wait_for("the master", lambda: "BuildMaster is running" in master.log(), START_S)
            started = Started(master, socket, time.monotonic() - began)
            started.cpu_s = started.cpu()
            time.sleep(SETTLE_S)
            yield started
        finally:
            master.close()
            stub.terminate()
            stub.wait()


def conditions() -> str:
    """On what it was measured."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True
    ).stdout.strip()
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"commit {commit}, {time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} CPUs, load {load}, "
        f"files in {SCRATCH or 'the temporary folder'}, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"Buildbot {version('buildbot')}, Twisted {version('twisted')}"
    )


def stand(bench: Bench) -> dict[str, dict[str, float]]:
    """What the kinds of workers cost by standing there, one after the other."""
    found: dict[str, dict[str, float]] = {}
    for kind, worker in (("plain", PLAIN), ("bare", BARE), ("latent", LATENT)):
        with bench.run(worker) as started:
            print(f"{kind}: {started.words()}", flush=True)
            found[kind] = {
                "memory per worker, MB": started.rss_mb,
                "start-up per worker, ms of CPU": 1000 * started.cpu_s,
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(conditions(), flush=True)
    with tempfile.TemporaryDirectory(prefix="latent-bench-", dir=SCRATCH) as folder:
        bench = Bench(Path(folder), args.workers)
        rounds = [stand(bench) for _ in range(args.rounds)]
        for name in ("memory per worker, MB", "start-up per worker, ms of CPU"):
            shares = [
                [(round_[kind][name] - round_["plain"][name]) / args.workers for round_ in rounds]
                for kind in ("bare", "latent")
            ]
            any_latent, ours = map(statistics.median, shares)
            print(f"{name}, over plain: {ours:.3f} (any latent worker: {any_latent:.3f}; median of {args.rounds})")
        with bench.run(PLAIN) as plain:
            print(f"list of workers, plain: {plain.listing(LATENCY_S)}", flush=True)
        for count in (min(20, args.workers), args.workers):
            with bench.run(LATENT) as latent:
                print(f"list of workers, latent, nothing to do: {latent.listing(LATENCY_S)}", flush=True)
                print(f"{count} starts at once reach the controller after {latent.request(count)}", flush=True)
                print(f"list of workers, {count} starts in progress: {latent.listing(LATENCY_S)}", flush=True)
                print(f"threads then: {latent.threads}", flush=True)
        count = min(CONNECT_WORKERS, args.workers)
        with bench.run(TIMED, launches=True) as latent:
            latent.request(count)
            ours, both = latent.connect(count, CONNECT_EVERY_S)
            print(f"{count} workers connect, one each {CONNECT_EVERY_S} s: our share {ours}", flush=True)
            print(f"until a build may begin: {both}", flush=True)


if __name__ == "__main__":
    main()
