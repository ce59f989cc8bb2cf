"""Everything of a fleet on one machine: emulated EC2, boot agent, Buildbot master, controller.

The demo and the tests with a real master run on it. Nothing is mocked: the processes are the real
ones, EC2 apart. Whatever it starts it ends, by process id.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from agent_process import BootAgent
from aws_client import client
from fleet_files import MASTER_CFG, BUILDBOT_TAC, fleet_files
from moto_server import MotoServer
from seed import seed

REGION = "us-west-2"
LEAVE_S = 15.0
ENDED = ("terminated", "shutting-down")


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, check: Callable[[], Any], seconds: float = 30.0, every: float = 0.1) -> Any:
    """The first true answer of `check`; raises TimeoutError that says what was waited for."""
    end = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() >= end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


@dataclass
class Options:
    """What a run differs in."""

    policy: dict[str, str] = field(default_factory=dict)
    polling: dict[str, str] = field(default_factory=lambda: {"fast": "500ms", "slow": "2s"})
    fates: list[dict[str, Any]] = field(default_factory=list)
    boot_delay: float = 0.5
    worker_options: str = ""
    master_extra: str = ""
    autostart: bool = True
    endpoint: Optional[str] = None


class Stack:
    """One fleet: worker `baked` has its identity in its AMI, worker `injected` in its user data."""

    workers = ("baked", "injected")

    def __init__(self, binary: str, options: Optional[Options] = None, template: Optional[Path] = None) -> None:
        self.binary = binary
        self.options = options or Options()
        self._template = template
        # A short path: a Unix socket's has 103 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="latent-"))
        self.pb_port, self.www_port = free_port(), free_port()
        self.moto = MotoServer(self.folder / "moto.log")
        self.agent: Optional[BootAgent] = None
        self.master: Optional[subprocess.Popen[bytes]] = None
        self.controller: Optional[subprocess.Popen[bytes]] = None
        self.endpoint = ""
        self.environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "emulated",
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_EC2_METADATA_DISABLED": "true",
            "LATENT_BIN": binary,
            "INJECTED_PASSWORD": "injected-password",
        }

    # Start and end.

    def start(self) -> "Stack":
        """Starts all of it; the controller is started by the master's plugin."""
        self.endpoint = self.moto.start()
        self.seeded = seed(self.endpoint, REGION, ["baked", "injected"])
        self._write_files()
        self.agent = BootAgent(self._agent_config()).start()
        if not self.options.autostart:
            self.start_controller()
        self.start_master()
        return self

    def stop(self) -> None:
        """Ends all of it and removes its files."""
        self.kill_master(signal.SIGTERM)
        self.kill_controller(signal.SIGTERM)
        if self.agent is not None:
            self.agent.stop()
        self.moto.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Stack":
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Files.

    def _write_files(self) -> None:
        endpoint = self.options.endpoint or self.endpoint
        files = fleet_files(self.seeded, endpoint, self.pb_port, self.options.policy, self.options.polling)
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        options = self.options.worker_options
        if not self.options.autostart:
            options += ", autostart=False"
        cfg = MASTER_CFG.replace("@PB@", str(self.pb_port)).replace("@WWW@", str(self.www_port))
        cfg = cfg.replace("@OPTIONS@", options).replace("@EXTRA@", self.options.master_extra)
        (self.folder / "master.cfg").write_text(cfg)
        (self.folder / "buildbot.tac").write_text(BUILDBOT_TAC)
        database = self.folder / "state.sqlite"
        if self._template is not None and self._template.exists():
            shutil.copy(self._template, database)
            return
        made = subprocess.run(
            [str(Path(sys.executable).with_name("buildbot")), "upgrade-master", "--quiet", str(self.folder)],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise RuntimeError(f"the master's database cannot be made: {made.stdout[-1500:]}{made.stderr[-1500:]}")
        if self._template is not None:
            shutil.copy(database, self._template)

    def _agent_config(self) -> dict[str, Any]:
        master = f"127.0.0.1:{self.pb_port}"
        baked = {"identity": "baked", "worker": "baked", "password": "baked-password", "master": master}
        amis = self.seeded["amis"]
        return {
            "endpoint": self.endpoint,
            "region": REGION,
            "state_dir": str(self.folder / "guests"),
            "images": {amis["baked"]: baked, amis["injected"]: {"identity": "injected"}},
            "boot_delay": self.options.boot_delay,
            "fates": self.options.fates,
        }

    # The master.

    def start_master(self) -> None:
        """Starts the master and waits until its interface answers."""
        twistd = Path(sys.executable).with_name("twistd")
        args = [str(twistd), "--nodaemon", "--no_save", "--pidfile=", "-y", "buildbot.tac"]
        with open(self.folder / "master.out", "ab") as out:
            self.master = subprocess.Popen(args, cwd=self.folder, env=self.environment, stdout=out, stderr=out)
        wait_for("the master's interface", self._master_answers, 60)

    def _master_answers(self) -> bool:
        if self.master is not None and self.master.poll() is not None:
            raise RuntimeError(f"the master ended: {self.master_log()[-2000:]}")
        try:
            return len(self.rest("builders")["builders"]) == len(self.workers)
        except (OSError, RuntimeError):
            return False

    def kill_master(self, how: int = signal.SIGKILL) -> None:
        """Ends the master as told, and waits until it is gone."""
        _end(self.master, how)
        self.master = None

    def master_log(self) -> str:
        """What the master logged."""
        texts = [self.folder / "twistd.log", self.folder / "master.out"]
        return "".join(path.read_text(errors="replace") for path in texts if path.exists())

    def rest(self, path: str, body: Optional[dict[str, Any]] = None) -> Any:
        """The master's REST interface."""
        url = f"http://127.0.0.1:{self.www_port}/api/v2/{path}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            raise RuntimeError(f"{path}: {e}: {e.read(500).decode(errors='replace')}") from e

    def force(self, worker: str, seconds: float = 0) -> int:
        """Asks for a build on a worker that lasts so long; gives the build request's id."""
        params = {"builderNames": [worker], "seconds": str(seconds)}
        body = {"jsonrpc": "2.0", "id": 1, "method": "force", "params": params}
        answer = self.rest(f"forceschedulers/force-{worker}", body)
        return int(next(iter(answer["result"][1].values())))

    def builds(self, request: int) -> list[dict[str, Any]]:
        """The builds that a request has had, oldest first."""
        found = self.rest(f"buildrequests/{request}/builds")["builds"]
        return sorted(found, key=lambda build: int(build["buildid"]))

    def wait_build(self, request: int, seconds: float = 60) -> dict[str, Any]:
        """The completed build request; a build that the master retried counts when its retry is done."""

        def done() -> Any:
            found = self.rest(f"buildrequests/{request}")["buildrequests"][0]
            return found if found["complete"] else None

        return dict(wait_for(f"build request {request}", done, seconds))

    # The controller.

    def start_controller(self, wait: bool = True) -> subprocess.Popen[bytes]:
        """Starts a controller as a service manager would."""
        args = [self.binary, "serve", "--config", str(self.folder / "latent.toml")]
        with open(self.folder / "controller.log", "ab") as out:
            self.controller = subprocess.Popen(args, env=self.environment, stdout=out, stderr=out)
        if wait:
            wait_for("the controller", lambda: self.latent("status").returncode == 0)
        return self.controller

    def controller_pid(self) -> Optional[int]:
        """The process that holds the ledger, whoever started it."""
        answer = self.folder / "state" / "ledger.lock"
        try:
            pid = int(answer.read_text().split()[-1])
            os.kill(pid, 0)
        except (OSError, ValueError, IndexError):
            return None
        return pid

    def kill_controller(self, how: int = signal.SIGKILL) -> None:
        """Ends the controller as told, and waits until it is gone."""
        if self.controller is not None:
            _end(self.controller, how)
            self.controller = None
            return
        pid = self.controller_pid()
        if pid is None or not (self.folder / "state" / "latent.sock").exists():
            return
        os.kill(pid, how)
        wait_for("the controller's end", lambda: not _runs(pid), LEAVE_S)

    def latent(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs the command line against this fleet."""
        command = [self.binary, "--config", str(self.folder / "latent.toml"), *args]
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
        ec2 = client("ec2", self.endpoint, REGION)
        found = ec2.describe_instances(Filters=[{"Name": "tag:latent:worker", "Values": [worker]}])
        every = [i for reservation in found["Reservations"] for i in reservation["Instances"]]
        return [i for i in every if not live or i["State"]["Name"] not in ENDED]

    def ec2(self) -> Any:
        """A client of the emulated EC2, to do what a third party would."""
        return client("ec2", self.endpoint, REGION)

    def wait_gone(self, seconds: float = 40) -> None:
        """Waits until nothing that costs is left."""
        wait_for("every instance to go", lambda: not self.instances(), seconds)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    # A zombie only waits for its parent to look.
    return state != "Z"


def _end(process: Optional[subprocess.Popen[bytes]], how: int) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
