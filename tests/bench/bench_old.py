"""Buildbot's own EC2LatentWorker in a real master, on the same door."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_fleet import ACCOUNT, REGION, TYPE, VCPUS_EACH, ec2_client, register, scratch
from master_process import MasterProcess, wait_for
from sim_control import SimControl

# Two calls for each worker, and some CPU.
START_S = 1200.0
EMPTY_CFG = """\
from buildbot.plugins import schedulers, util, worker

c = BuildmasterConfig = {}
c["db_url"] = "sqlite:///state.sqlite"
c["buildbotNetUsageData"] = None
c["protocols"] = {"pb": {"port": "tcp:@PB@:interface=127.0.0.1"}}
c["workers"] = [worker.Worker("w", "secret")]
c["builders"] = [util.BuilderConfig(name="b", workernames=["w"], factory=util.BuildFactory())]
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=["b"])]
"""
# All of them share one session, which saves it a quarter of a second and 25 MB for each: that is measured in
# the row of the master, where each has its own as in its manual.
MASTER_CFG = """\
import json, os, time
import boto3
from buildbot.plugins import schedulers, util
from buildbot.worker.ec2 import EC2LatentWorker
from twisted.internet import reactor, task

c = BuildmasterConfig = {}
c["db_url"] = "sqlite:///state.sqlite"
c["buildbotNetUsageData"] = None
c["protocols"] = {"pb": {"port": "tcp:@PB@:interface=127.0.0.1"}}
c["www"] = {"port": "tcp:@WWW@:interface=127.0.0.1"}

events = open("events.jsonl", "a", buffering=1)

def note(what, name):
    events.write(json.dumps([what, name, time.time()]) + "\\n")

class Timed(EC2LatentWorker):
    def start_instance(self, build):
        return self._noted(("started", "start failed"), super().start_instance(build))

    def stop_instance(self, fast=False):
        return self._noted(("stopped", "stop failed"), super().stop_instance(fast))

    def _noted(self, names, done):
        def ended(result, what):
            note(what, self.name)
            return result
        return done.addCallbacks(ended, ended, callbackArgs=names[:1], errbackArgs=names[1:])

session = boto3.Session(region_name=@REGION@, aws_access_key_id="emulated", aws_secret_access_key="emulated")
workers = {
    name: Timed(
        name, "secret", @TYPE@, ami=ami, keypair_name="bench", security_name="bench", session=session,
        missing_timeout=@MISSING@,
    )
    for name, ami in @AMIS@.items()
}
c["workers"] = list(workers.values())
# A master has one builder at least; that of all of them costs nothing.
c["builders"] = [util.BuilderConfig(name="b", workernames=list(workers), factory=util.BuildFactory())]
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=["b"])]

def start(name):
    note("asked", name)
    # No worker ever connects: whatever comes is the news that none will.
    workers[name].substantiate(None, None).addBoth(lambda result: note("told", name))

def stop(name):
    note("let go", name)
    workers[name].insubstantiate()

seen = 0

def look():
    global seen
    path = "do-%d" % (seen + 1)
    if os.path.exists(path):
        seen += 1
        what, names = json.load(open(path))
        for name in names:
            {"start": start, "stop": stop}[what](name)

reactor.callWhenRunning(task.LoopingCall(look).start, 0.05)
"""


class OldMaster:
    """A master with so many workers of the old class."""

    def __init__(self, folder: Path, control: SimControl) -> None:
        self.control = control
        self.amis: dict[str, str] = {}
        environment = {**os.environ, "AWS_ENDPOINT_URL": control.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
        # boto3 would find a proxy there.
        environment = {key: value for key, value in environment.items() if not key.lower().endswith("_proxy")}
        self._master = MasterProcess(folder, environment)
        self._done = 0

    def start(self, workers: int, shared: bool = False, missing_s: float = 3600) -> None:
        """Makes what its workers need at EC2, and starts it."""
        ec2 = ec2_client(self.control.endpoint, ACCOUNT, REGION)
        self.control.quota(f"{ACCOUNT:012d}", REGION, 2 * VCPUS_EACH * workers + 100)
        names = [f"o{number:05d}" for number in range(workers)]
        if shared:
            self.amis = dict.fromkeys(names, register(ec2, "shared"))
        else:
            self.amis = {name: register(ec2, name) for name in names}
        # For this alone Buildbot would make all workers once more.
        self._master.write(EMPTY_CFG)
        text = MASTER_CFG.replace("@AMIS@", repr(self.amis)).replace("@REGION@", repr(REGION))
        self._master.write(text.replace("@TYPE@", repr(TYPE)).replace("@MISSING@", repr(missing_s)))
        # With many of them it takes longer than that waits.
        with contextlib.suppress(TimeoutError):
            self._master.start(builders=0)
        wait_for("the old workers' master", self._runs, START_S)

    def _runs(self) -> bool:
        assert self._master.process is not None
        if self._master.process.poll() is not None:
            raise RuntimeError(f"the master ended: {self._master.log()[-1500:]}")
        return "BuildMaster is running" in self._master.log()

    def close(self) -> None:
        """Ends it; its instances are left to the door's end."""
        self._master.close()

    def do(self, what: str, names: list[str]) -> None:
        """`start` or `stop` these."""
        self._done += 1
        part = self._master.folder / "part"
        part.write_text(json.dumps([what, names]))
        part.rename(self._master.folder / f"do-{self._done}")

    def events(self, what: str) -> dict[str, float]:
        """When this first happened to each worker that it happened to."""
        path = self._master.folder / "events.jsonl"
        found: dict[str, float] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            kind, name, at = json.loads(line)
            if kind == what:
                found.setdefault(name, at)
        return found

    def wait(self, what: str, count: int, seconds: float) -> dict[str, float]:
        """The same, once it has happened to so many."""

        def there() -> Any:
            found = self.events(what)
            failed = self.events({"started": "start failed", "stopped": "stop failed"}.get(what, ""))
            if len(failed) + len(found) >= count > len(found):
                raise RuntimeError(f"{len(failed)} of {count} failed: {self._master.log()[-1500:]}")
            return found if len(found) >= count else None

        found: dict[str, float] = wait_for(f"{count} workers to be {what}", there, seconds, 0.2)
        return found


@contextmanager
def old_master(
    control: SimControl, workers: int, shared: bool = False, missing_s: float = 3600
) -> Iterator[OldMaster]:
    """It, started on an EC2 that neither waits nor throttles yet."""
    with scratch() as folder:
        master = OldMaster(folder, control)
        try:
            master.start(workers, shared, missing_s)
            yield master
        finally:
            master.close()
