"""A fleet as large as one likes: its files, its controller, and EC2 to launch on."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from controller_link import Refused, Unreachable, ask
from master_process import end_process, wait_for
from sim_control import SimControl
from sim_server import SimServer

# In memory where that is possible: a slow disk is not what is measured.
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
REGION = "us-west-2"
TYPE = "m5.large"
VCPUS_EACH = 2
START_S = 120.0
# How long each call is under way, both ways together, where that is not what is measured.
ROUND_TRIP_S = 0.2
ACCOUNT = 123456789012
# No AMI has the name of another.
NUMBERS = itertools.count(1)

MAIN = """\
[fleet]
name = "bench"
controller = "bench-main"
master = "127.0.0.1:9989"
instances_max = {most}

[policy]
idle_timeout = "never"
connect_deadline = "1h"

"""
OWNER = """\
[owner.{name}]
account = "{account:012d}"
credentials = {credentials}
endpoint = "{endpoint}"
{more}
"""
WORKER = '[worker.{name}]\nimage = "{image}"\n'
SHARED = 'user_data = "injected.sh"\nbatch_max = 100\n'
PASSWORD = 'password = { env = "BENCH_PASSWORD" }\n'
IMAGE = (
    'owner = "{owner}"\nregion = "{region}"\nami = "{ami}"\ninstance_types = ["{type}"]\nidentity = "{identity}"\n'
)
# One text for all instances of a launch call: each takes the line of its launch index.
SHARED_DATA = """\
#!/bin/sh
case "$(latent-launch-index)" in
{% for w in workers %}
{{ loop.index0 }}) WORKER_NAME={{ w.worker | sh }} WORKER_PASSWORD={{ w.password | sh }} ;;
{% endfor %}
esac
WORKER_MASTER={{ master | sh }}
export WORKER_NAME WORKER_PASSWORD WORKER_MASTER
exec /usr/local/sbin/start-buildbot-worker
"""
RATES = "rates = { run_instances = { burst = 1000, refill = 500 } }"


@dataclass(frozen=True)
class Cell:
    """An account in a region, and how many workers it has."""

    owner: str
    account: int
    region: str
    workers: int


def cells(count: int, workers: int) -> list[Cell]:
    """So many cells, ten regions to an account, with the workers spread evenly."""
    regions = ("us-west-2", "us-east-1", "us-east-2", "us-west-1", "eu-west-1", "eu-west-2", "eu-central-1")
    regions += ("ap-southeast-1", "ap-southeast-2", "ap-northeast-1")
    made = []
    for number in range(count):
        owner, region = divmod(number, len(regions))
        share = workers // count + (1 if number < workers % count else 0)
        made.append(Cell(f"owner{owner:02d}", 200000000001 + owner, regions[region], share))
    return made


class Fleet:
    """One fleet; whatever it starts it ends."""

    def __init__(self, binary: str, control: SimControl, folder: Path) -> None:
        self.control = control
        self.folder = folder
        self.workers: list[str] = []
        # What is special about it, in words.
        self.conditions = ""
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "emulated",
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_EC2_METADATA_DISABLED": "true",
            "BENCH_PASSWORD": "bench-password",
        }

    @property
    def socket(self) -> str:
        """The controller's socket."""
        return str(self.folder / "state" / "latent.sock")

    @property
    def pid(self) -> int:
        """The controller's process id."""
        assert self._process is not None
        return self._process.pid

    # Files.

    def write(self, places: list[Cell], shared: bool, raised: bool = False, quota: bool = True) -> None:
        """Its files. `shared`: one AMI to a cell, with an injected identity; else each worker has its own.

        `raised`: the owners' limits of the API are raised, if this controller knows what that is.
        """
        images = self.folder / "amis"
        images.mkdir(parents=True)
        (images / "injected.sh").write_text(SHARED_DATA)
        text = MAIN.format(most=2 * sum(cell.workers for cell in places) + 10)
        seen: set[str] = set()
        tables = []
        for cell in places:
            if cell.owner not in seen:
                seen.add(cell.owner)
                text += self._owner(cell, len(places) > 1, RATES if raised else "")
            if quota:
                vcpus = 2 * VCPUS_EACH * cell.workers + 100
                self.control.quota(f"{cell.account:012d}", cell.region, vcpus)
            tables += self._workers(cell, images, shared)
        (self.folder / "latent.toml").write_text(text + "\n".join(tables))

    def clear(self) -> None:
        """Its files are as if they had never been written."""
        shutil.rmtree(self.folder / "amis")
        self.workers.clear()

    def _owner(self, cell: Cell, is_one_of_many: bool, more: str) -> str:
        role = f'{{ assume_role = "arn:aws:iam::{cell.account:012d}:role/latent" }}'
        credentials = role if is_one_of_many else "{ environment = true }"
        return OWNER.format(
            name=cell.owner,
            account=cell.account,
            credentials=credentials,
            endpoint=self.control.endpoint,
            more=more,
        )

    def _workers(self, cell: Cell, images: Path, shared: bool) -> Iterator[str]:
        ec2 = ec2_client(self.control.endpoint, cell.account, cell.region)
        first = len(self.workers)
        names = [f"w{first + number:05d}" for number in range(cell.workers)]
        self.workers += names
        ami = ""
        for number, name in enumerate(names):
            image = f"i{first:05d}" if shared else f"i{first + number:05d}"
            if not ami or not shared:
                ami = register(ec2, image)
                text = IMAGE.format(
                    owner=cell.owner,
                    region=cell.region,
                    ami=ami,
                    type=TYPE,
                    identity="injected" if shared else "baked",
                )
                (images / f"{image}.toml").write_text(text + (SHARED if shared else ""))
            yield WORKER.format(name=name, image=image) + (PASSWORD if shared else "")

    def check(self) -> str:
        """What `latent check` has against the files; empty if nothing."""
        done = self.latent("check")
        return "" if done.returncode == 0 else done.stderr + done.stdout

    def latent(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs the command line against this fleet."""
        command = [self._binary, *args, "--config", str(self.folder / "latent.toml")]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=300)

    # The controller.

    def start(self) -> float:
        """Starts it, and returns when every cell was listed; how long that took, in seconds."""
        began = time.monotonic()
        with open(self.folder / "controller.log", "ab") as out:
            args = [self._binary, "serve", "--config", str(self.folder / "latent.toml"), "--log", "warn"]
            self._process = subprocess.Popen(args, env=self._environment, stdout=out, stderr=out)
        wait_for("the controller to be ready", self._ready, START_S, 0.01)
        return time.monotonic() - began

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            log = (self.folder / "controller.log").read_text(errors="replace")
            raise RuntimeError(f"the controller ended: {log[-1500:]}")
        try:
            health = self.ask("GET", "/v1/health")
        except (Unreachable, Refused):
            return False
        return bool(health["ready"])

    def ask(self, method: str, url: str, body: Any = None, limit: float = 60) -> Any:
        """One question to it."""
        return ask(self.socket, method, url, body, limit)

    def kill(self, how: int = signal.SIGKILL) -> None:
        """Ends it."""
        end_process(self._process, how)
        self._process = None

    def rss_mb(self) -> float:
        """Its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def cpu_s(self) -> float:
        """The processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ec2_client(endpoint: str, account: int, region: str) -> Any:
    """A client in one account; the door reads the account from the key."""
    return boto3.client(
        "ec2",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=f"AKIA{account:012d}TEST",
        aws_secret_access_key="emulated",
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )


def register(ec2: Any, name: str) -> str:
    """A new AMI of that name."""
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": True}}
    made = ec2.register_image(
        Name=f"bench-{name}-{next(NUMBERS)}",
        Architecture="x86_64",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[root],
    )
    return str(made["ImageId"])


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder with a short path, which is removed: a Unix socket's has 103 bytes at most."""
    folder = Path(tempfile.mkdtemp(prefix="latent-", dir=SCRATCH))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ec2_server(door: str) -> Iterator[SimControl]:
    """EC2 without any wait or throttle, for what is prepared; `pace` makes it what is measured."""
    with scratch() as folder, SimServer(folder / "sim.log", door) as server:
        server.control.pace(round_trip_seconds=0, throttle=False)
        yield server.control


@contextmanager
def fleet(binary: str, door: str) -> Iterator[Fleet]:
    """A fleet without files, and its EC2."""
    with ec2_server(door) as control, scratch() as folder:
        made = Fleet(binary, control, folder)
        try:
            yield made
        finally:
            made.kill()
