"""Everything of a fleet on one machine: emulated EC2, boot agent, Buildbot master, controller.

The demo and the tests with a real master run on it. Nothing is mocked: the processes are the real
ones, EC2 apart. Whatever it starts it ends, by process id.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from agent_process import BootAgent
from aws_client import client
from emulated_ec2 import EmulatedEc2, Instance, emulated_ec2
from emulator import make_emulator
from fleet_files import MASTER_CFG, fleet_files
from master_process import LEAVE_S, MasterProcess, end_process, wait_for
from seed import seed
from server_process import ServerProcess
from sim_server import CALM, Weather

REGION = "us-west-2"
COSTS = ["pending", "running", "stopping", "stopped"]


@dataclass
class Options:
    """What a run differs in."""

    policy: dict[str, str] = field(default_factory=dict)
    polling: dict[str, str] = field(default_factory=lambda: {"fast": "500ms", "slow": "2s"})
    fates: list[dict[str, Any]] = field(default_factory=list)
    # How the lease watch runs in the guests; see the boot agent's `lease_watch`.
    lease_watch: dict[str, Any] = field(default_factory=dict)
    boot_delay: float = 0.5
    # How often the boot agent looks for new instances, in seconds.
    boot_look: float = 0.25
    worker_options: str = ""
    master_extra: str = ""
    autostart: bool = True
    # The password of the worker `injected`.
    password: str = "injected-password"
    # Where the controller is told that EC2 is; the emulator itself if not given.
    endpoint: Optional[str] = None
    # An emulator that runs already and stays; a new one of this kind and weather if not given.
    emulator: Optional[ServerProcess] = None
    ec2: str = "sim"
    weather: Weather = CALM


class Stack:
    """One fleet: worker `baked` has its identity in its AMI, worker `injected` in its user data."""

    workers = ("baked", "injected")

    def __init__(self, binary: str, options: Optional[Options] = None, template: Optional[Path] = None) -> None:
        self.binary = binary
        self.options = options or Options()
        # A short path: a Unix socket's has 103 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="latent-"))
        self.environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "emulated",
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_EC2_METADATA_DISABLED": "true",
            "LATENT_BIN": binary,
            "INJECTED_PASSWORD": self.options.password,
        }
        self.master = MasterProcess(self.folder, self.environment, template)
        self.agent: Optional[BootAgent] = None
        self.endpoint = ""
        self._truth: Optional[EmulatedEc2] = None
        self._own_emulator: Optional[ServerProcess] = None
        self._controller: Optional[subprocess.Popen[bytes]] = None

    # Start and end.

    def start(self) -> Stack:
        """Starts all of it; the controller is started by the master's plugin."""
        self.prepare()
        if not self.options.autostart:
            self.start_controller()
        self.start_master()
        return self

    def prepare(self) -> None:
        """Starts what does not read the configuration, and writes that."""
        emulator = self.options.emulator
        if emulator is None:
            emulator = make_emulator(self.options.ec2, self.folder, self.binary, self.options.weather)
            self._own_emulator = emulator
            emulator.start()
        self.endpoint = emulator.endpoint
        self.seed()
        self.write_fleet()
        self.write_master()
        self.agent = BootAgent(self.agent_config()).start()

    def seed(self) -> None:
        """Makes what the fleet needs in the emulated account."""
        self.seeded = seed(self.endpoint, REGION, list(self.workers))

    def stop(self) -> None:
        """Ends all of it and removes its files."""
        # None of it is kept, so nothing needs to end in good order.
        self.master.close()
        self.kill_controller()
        if self.agent is not None:
            self.agent.stop()
        if self._own_emulator is not None:
            self._own_emulator.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Stack:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Files.

    @property
    def config(self) -> Path:
        """The fleet's latent.toml."""
        return self.folder / "latent.toml"

    @property
    def state(self) -> Path:
        """Where the controller keeps its ledger, its socket and, if the plugin started it, its log."""
        return self.folder / "state"

    def write_fleet(self) -> None:
        """Writes latent.toml and the image manifests; a controller that runs reads them at a SIGHUP."""
        endpoint = self.options.endpoint or self.endpoint
        policy, polling = self.options.policy, self.options.polling
        files = fleet_files(self.seeded, endpoint, self.master.pb_port, policy, polling)
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def write_master(self) -> None:
        """Writes the master's files; a master that runs reads master.cfg at a SIGHUP."""
        options = self.options.worker_options
        if not self.options.autostart:
            options += ", autostart=False"
        cfg = MASTER_CFG.replace("@OPTIONS@", options).replace("@EXTRA@", self.options.master_extra)
        self.master.write(cfg.replace("@PASSWORD@", self.options.password))

    def agent_config(self) -> dict[str, Any]:
        """What the boot agent is to do."""
        master = f"127.0.0.1:{self.master.pb_port}"
        baked = {"identity": "baked", "worker": "baked", "password": "baked-password", "master": master}
        amis = self.seeded["amis"]
        return {
            "endpoint": self.endpoint,
            "region": REGION,
            "state_dir": str(self.folder / "guests"),
            "images": {amis["baked"]: baked, amis["injected"]: {"identity": "injected"}},
            "boot_delay": self.options.boot_delay,
            "poll_interval": self.options.boot_look,
            "fates": self.options.fates,
            "lease_watch": self.options.lease_watch,
        }

    # The master.

    def start_master(self) -> None:
        """Starts the master and waits until its interface answers."""
        self.master.start(builders=len(self.workers))

    def force(self, worker: str, seconds: float = 0) -> int:
        """Asks for a build on a worker that lasts so long; gives the build request's id."""
        asked = self.master.control(
            f"forceschedulers/force-{worker}", "force", builderNames=[worker], seconds=str(seconds)
        )
        return int(next(iter(asked[1].values())))

    def builds(self, request: int) -> list[dict[str, Any]]:
        """The builds that a request has had, oldest first."""
        found = self.master.rest(f"buildrequests/{request}/builds")["builds"]
        return sorted(found, key=lambda build: int(build["buildid"]))

    def wait_build(self, request: int, seconds: float = 60) -> dict[str, Any]:
        """The completed build request; a build that the master retried counts when its retry is done."""

        def done() -> Any:
            found = self.master.rest(f"buildrequests/{request}")["buildrequests"][0]
            return found if found["complete"] else None

        return dict(wait_for(f"build request {request}", done, seconds))

    # The controller.

    def start_controller(self, wait: bool = True) -> subprocess.Popen[bytes]:
        """Starts a controller as a service manager would."""
        args = [self.binary, "serve", "--config", str(self.config)]
        with open(self.folder / "controller.log", "ab") as out:
            # As Python has it, a write over a size limit is an error and not the process's end.
            self._controller = subprocess.Popen(
                args, env=self.environment, stdout=out, stderr=out, restore_signals=False
            )
        if wait:
            wait_for("the controller", lambda: self.latent("status").returncode == 0)
        return self._controller

    def controller_pids(self) -> list[int]:
        """The controllers of this fleet, whoever started them."""
        args = ["serve", "--config", str(self.config)]
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _arguments(pid)[1:] == args]

    def kill_controller(self, how: int = signal.SIGKILL) -> None:
        """Ends every controller of this fleet as told, and waits until they are gone."""
        pids = set(self.controller_pids())
        for pid in pids:
            os.kill(pid, how)
        end_process(self._controller, how)
        self._controller = None
        # A plugin may have started the next one already.
        wait_for("the controller's end", lambda: not pids.intersection(self.controller_pids()), LEAVE_S)

    def latent(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs the command line against this fleet."""
        command = [self.binary, "--config", str(self.config), *args]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=90)

    def worker(self, name: str) -> dict[str, Any]:
        """A worker as the controller shows it."""
        status = self.latent("status", "--json")
        if status.returncode != 0:
            raise RuntimeError(status.stderr)
        return dict(next(w for w in json.loads(status.stdout)["workers"] if w["worker"] == name))

    def wait_state(self, name: str, *states: str, seconds: float = 40) -> dict[str, Any]:
        """Waits until the controller shows the worker in one of these states."""

        def there() -> Any:
            try:
                view = self.worker(name)
            except RuntimeError:
                return None
            return view if view["state"] in states else None

        return dict(wait_for(f"{name} to be {' or '.join(states)}", there, seconds))

    # The cloud.

    def instances(self, worker: str = "*", live: bool = True) -> list[dict[str, Any]]:
        """The instances of a worker at EC2; only those that cost, unless `live` is false."""
        filters = [{"Name": "tag:latent:worker", "Values": [worker]}]
        if live:
            # First, because the emulator is slow with tags and never forgets what has ended.
            filters.insert(0, {"Name": "instance-state-name", "Values": COSTS})
        pages = self.ec2().get_paginator("describe_instances").paginate(Filters=filters)
        return [i for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]]

    def ec2(self) -> Any:
        """A client of the emulated EC2, to do what a third party would."""
        return client("ec2", self.endpoint, REGION)

    def truth(self, worker: str = "*", live: bool = True) -> list[Instance]:
        """The instances as they are, and not as EC2 shows them to a caller."""
        if self._truth is None:
            self._truth = emulated_ec2(self.endpoint, REGION)
        found = self._truth.instances(COSTS if live else ())
        return [instance for instance in found if worker in ("*", instance.worker)]

    def wait_gone(self, seconds: float = 40) -> None:
        """Waits until nothing that costs is left."""
        wait_for("every instance to go", lambda: not self.truth(), seconds)


def _arguments(pid: int) -> list[str]:
    """The command line of a process; empty if it is gone, or only waits for its parent to look."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except (OSError, UnicodeDecodeError):
        return []
