"""The stack of these tests: short limits, a gate before EC2, and a watch over what lives there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Optional

from emulator import make_emulator
from gate import Gate
from master_process import port_of, reserve_port, wait_for
from sim_server import Weather
from stack import Options, Stack

# Buildbot's result codes.
SUCCESS, EXCEPTION, RETRY, CANCELLED = 0, 4, 5, 6

IDLE_S = 1
POLICY = {
    "idle_timeout": f"{IDLE_S}s",
    "launch_deadline": "20s",
    "connect_deadline": "20s",
    "stop_deadline": "5s",
    "drain_deadline": "30s",
    "max_lifetime": "1h",
    "master_silence": "20s",
    "retry_pause": "1s",
    "retry_pause_max": "1s",
    "offering_memory": "2s",
    "offering_memory_max": "2s",
    "absence_grace": "5s",
    "orphan_grace": "1s",
}
# More than these in the emulator's memory, and a test begins with an empty account.
INSTANCES_MAX = 10
# A model of EC2 that takes its time would have the tests wait; its limits pass as fast.
WEATHER = Weather(speed=30)
POLLING = {"fast": "300ms", "slow": "1s"}
# Nothing may be left later than this after a worker became idle: the limit itself, one listing,
# and what a busy machine takes.
GONE_S = IDLE_S + 1 + 15
# Buildbot's quarantine begins with 10 s and doubles; and requests that wait would become one build.
MASTER_EXTRA = """
c["collapseRequests"] = False
for one in c["workers"]:
    one.quarantine_initial_timeout = one.quarantine_timeout = one.quarantine_max_timeout = 1
"""


class Fleet(Stack):
    """One fleet for many tests; `refresh` gives each of them the same start."""

    def __init__(self, binary: str, scratch: Path, template: Path, ec2: str) -> None:
        # The emulator is started anew between tests.
        self._port = reserve_port()
        self.emulator = make_emulator(ec2, scratch, binary, WEATHER, port_of(self._port))
        self.emulator.start()
        self.gate = Gate(self.emulator.endpoint)
        options = Options(emulator=self.emulator, endpoint=self.gate.endpoint, polling=POLLING)
        options.boot_delay, options.boot_look = 0.1, 0.1
        super().__init__(binary, options, template)
        # Whether files or processes are no longer as `refresh` leaves them.
        self.changed = True
        self._launched_before: set[str] = set()

    def close(self) -> None:
        """Ends all of it."""
        self.stop()
        self.gate.close()
        self.emulator.stop()
        self._port.close()

    # One test after the other.

    def refresh(self) -> None:
        """Nothing is launched, refused or fated any more, and master and controller run."""
        self.gate.clear()
        self.gate.up()
        if self.agent is None:
            self.prepare()
        assert self.agent is not None
        self.agent.configure(fates=[], boot_delay=self.options.boot_delay)
        if self.changed or not self.controller_pids() or self._is_slow():
            self.rebuild()
        elif self.options.policy != POLICY:
            self.set_policy()
        self.settle()
        self.gate.clear()
        self._launched_before = {instance.id for instance in self.truth(live=False)}

    def _is_slow(self) -> bool:
        # Moto takes seconds for a listing when a hundred instances have ended.
        return len(self.truth(live=False)) > INSTANCES_MAX

    def rebuild(self, autostart: bool = True) -> None:
        """Starts master and controller with a new database and a new ledger, in an empty account."""
        self.halt()
        if not autostart:
            self.options.autostart = False
            self.write_master()
            self.start_controller()
        self.start_master()
        wait_for("the controller", lambda: self.latent("status").returncode == 0)
        self.changed = not autostart

    def halt(self) -> None:
        """Ends master and controller, and makes everything else as it is at the very start."""
        self.changed = True
        self.master.kill()
        self.kill_controller()
        shutil.rmtree(self.state, ignore_errors=True)
        # Some tests put a file there.
        if self.state.exists():
            self.state.unlink()
        for name in ("state.sqlite", "twistd.log", "master.out", "controller.log"):
            (self.folder / name).unlink(missing_ok=True)
        self.emulator.renew()
        self.seed()
        self.options.policy = dict(POLICY)
        self.options.worker_options, self.options.autostart = "", True
        self.options.master_extra = MASTER_EXTRA
        self.master.environment = dict(self.environment)
        self.write_fleet()
        self.write_master()
        assert self.agent is not None
        self.agent.configure(images=self.agent_config()["images"])
        self._launched_before = set()

    def end_instances(self) -> None:
        """Ends every instance, as somebody else would."""
        left = [instance.id for instance in self.truth()]
        if left:
            self.ec2().terminate_instances(InstanceIds=left)

    def settle(self) -> None:
        """Lets every worker go, and waits until the controller has nothing left to do."""
        for name in self.workers:
            if self.worker(name)["state"] != "gone":
                self.latent("stop", name)
        wait_for("every worker to be gone", self._quiet)

    def _quiet(self) -> bool:
        return all(view["state"] == "gone" and not view["departing"] for view in map(self.worker, self.workers))

    def set_policy(self, **changes: str) -> None:
        """Changes the policy while everything runs."""
        self.options.policy = {**POLICY, **changes}
        self.write_fleet()
        taken = self.controller_log().count("configuration read again")
        for pid in self.controller_pids():
            os.kill(pid, signal.SIGHUP)
        wait_for("the new policy", lambda: self.controller_log().count("configuration read again") > taken)

    # What tests look at.

    def launched(self, worker: str = "*") -> list[str]:
        """The instances that were launched since the test began, whatever became of them."""
        every = self.truth(worker, live=False)
        return [instance.id for instance in every if instance.id not in self._launched_before]

    def run(self, worker: str, seconds: float = 0) -> dict[str, Any]:
        """One build from the wish to its end; its record."""
        request = self.force(worker, seconds)
        self.wait_build(request)
        return self.builds(request)[-1]

    def wait_ended(self, request: int, nth: int = 1, seconds: float = 40) -> dict[str, Any]:
        """The nth build of a request, when it has ended; the request may still be retried."""

        def ended() -> Optional[dict[str, Any]]:
            builds = self.builds(request)
            return builds[nth - 1] if len(builds) >= nth and builds[nth - 1]["complete"] else None

        return dict(wait_for(f"build {nth} of request {request}", ended, seconds))

    def wait_building(self, worker: str, seconds: float = 30) -> dict[str, Any]:
        """Waits until a step of a build runs on the worker, and the controller knows."""
        busy = self.wait_state(worker, "busy", seconds=seconds)
        # Buildbot itself hangs when the connection breaks between its ping and the first step.
        wait_for("a step to run", self._step_runs, seconds)
        return busy

    def _step_runs(self) -> bool:
        running = self.master.rest("builds?complete=false")["builds"]
        steps = [step for one in running for step in self.master.rest(f"builds/{one['buildid']}/steps")["steps"]]
        return any(step["name"] == "build" and step["started_at"] and not step["complete"] for step in steps)

    def preparation(self, build: dict[str, Any]) -> str:
        """What the step that prepares the worker says: why a build did not begin."""
        steps = self.master.rest(f"builds/{build['buildid']}/steps")["steps"]
        step = next(step for step in steps if step["name"] == "worker_preparation")
        logs = self.master.rest(f"steps/{step['stepid']}/logs")["logs"]
        contents = [self.master.rest(f"logs/{log['logid']}/contents") for log in logs]
        return "".join(chunk["content"] for content in contents for chunk in content["logchunks"])

    def property_of(self, build: dict[str, Any], name: str) -> Any:
        """A property of a build."""
        properties = self.master.rest(f"builds/{build['buildid']}/properties")["properties"][0]
        return properties.get(name, [None])[0]

    def events(self, kind: str = "", worker: str = "") -> list[dict[str, Any]]:
        """What the controller's ledger says, the oldest first."""
        lines = self.latent("events", "--json").stdout.splitlines()
        every = [json.loads(line) for line in lines]
        return [e for e in every if kind in ("", e["kind"]) and worker in ("", e["worker"])]

    def controller_log(self) -> str:
        """What the controller logged, whoever started it."""
        logs = [self.state / "latent.log", self.folder / "controller.log"]
        return "".join(path.read_text(errors="replace") for path in logs if path.exists())

    def to_show(self) -> list[Path]:
        """Files that tell why a test failed."""
        return []

    def to_ask(self) -> list[tuple[str, ...]]:
        """What `latent` is asked then."""
        return [("status", "--json"), ("events",)]


class Watch(threading.Thread):
    """Looks at EC2 all the time for two live instances of one worker."""

    PERIOD_S = 0.1

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(daemon=True)
        self.twins: list[str] = []
        self._fleet = fleet
        self._ends = threading.Event()

    def run(self) -> None:
        while not self._ends.wait(self.PERIOD_S):
            try:
                workers = Counter(instance.worker for instance in self._fleet.truth())
            except OSError:
                # The emulator is just being started anew.
                continue
            self.twins += [f"{name} has {count}" for name, count in workers.items() if count > 1]

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self.join()
