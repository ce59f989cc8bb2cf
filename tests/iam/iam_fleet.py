"""A controller that does everything it ever does, at an emulated EC2 behind a gate that writes it down."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aws_client import client
from controller_link import ask
from gate import Form, Gate
from iam_calls import Account, numbered, tag_specifications
from leash import Leash
from seed import seed
from sim_server import SimServer, Weather

REGION = "us-west-2"
PRINCIPAL = "arn:aws:iam::999999999999:role/latent-master"
EXTERNAL_ID = "latent-5f2a6c0e9b1d4837a6c0e9b1d4837f2a"
ACCOUNT = "123456789012"
KEY_PAIR, PROFILE = "alice", "windows-activation"
KMS_KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
WAIT_S, LOOK_S = 150.0, 0.1

MAIN = """\
[fleet]
name = "cpython"
controller = "main"
principal = "{principal}"

[polling]
fast = "300ms"
slow = "1s"

[policy]
idle_timeout = "3s"
lease = "8s"
drain_deadline = "20s"

[owner.alice]
account = "{account}"
credentials = {{ assume_role = "arn:aws:iam::{account}:role/latent-worker", external_id = "{external_id}" }}
endpoint = "{endpoint}"
disk_gib_max = 100

[worker.spot]
image = "spot"

[worker.zoned]
image = "zoned"
policy = "stopping"
"""

SPOT = """\
owner = "alice"
region = "{region}"
ami = "{ami}"
instance_types = ["m5.large", "t3.large"]
subnets = [{{ id = "{subnet}", zone = "{zone}" }}]
security_groups = ["{group}"]
key_pair = "{key_pair}"
market = "spot"
block_devices = [{{ device = "/dev/sda1", size_gib = 30, type = "gp3", encrypted = true }}]
elastic_ip = "{allocation}"
"""

ZONED = """\
owner = "alice"
region = "{region}"
ami = "{ami}"
instance_types = ["m5.large"]
zones = ["{zone}"]
security_groups = ["{group}"]
instance_profile = "{profile}"
tags = ["project=cpython"]
block_devices = [{{ device = "/dev/sdg", size_gib = 8, type = "gp3", encrypted = true, kms_key = "{kms_key}" }}]
elastic_ip = "{address}"
volumes = [{{ id = "{volume}", device = "/dev/sdf" }}]
"""

# No worker of the day uses it; the role is made for it all the same.
FILTERED = """\
owner = "alice"
region = "{region}"
ami_owners = ["amazon"]
instance_types = ["m5.large"]
zones = ["{zone}"]
security_groups = ["{group}"]
"""


class Recorded:
    """The calls, and what the account held when they were made."""

    def __init__(self, calls: list[tuple[str, Form]], account: Account) -> None:
        self.calls = calls
        self.account = account

    def of(self, action: str) -> list[Form]:
        """Every call of one action."""
        return [form for name, form in self.calls if name == action]

    def launch(self, market: str) -> Form:
        """A launch, to be changed by an attacker."""
        return dict(next(form for form in self.of("RunInstances") if form.get(MARKET, "on-demand") == market))


# Nothing is left over, or something is; either way everything was seen.
SWEPT = (0, 3)
MARKET = "InstanceMarketOptions.MarketType"


def prepare(folder: Path, ec2: SimServer, endpoint: str) -> Account:
    """Makes what the fleet needs and the files of its configuration."""
    seeded = seed(ec2.endpoint, REGION, ["spot", "zoned"])
    api = client("ec2", ec2.endpoint, REGION)
    api.create_key_pair(KeyName=KEY_PAIR)
    first, second = seeded["subnets"][:2]
    common = {"region": REGION, "group": seeded["security_group"]}
    addresses = [api.allocate_address(Domain="vpc") for _ in range(2)]
    volume = api.create_volume(AvailabilityZone=second["zone"], Size=8)["VolumeId"]
    texts = {
        "latent.toml": MAIN.format(
            principal=PRINCIPAL, account=ACCOUNT, external_id=EXTERNAL_ID, endpoint=endpoint
        ),
        "amis/spot.toml": SPOT.format(
            **common,
            ami=seeded["amis"]["spot"],
            subnet=first["id"],
            zone=first["zone"],
            key_pair=KEY_PAIR,
            allocation=addresses[0]["AllocationId"],
        ),
        "amis/zoned.toml": ZONED.format(
            **common,
            ami=seeded["amis"]["zoned"],
            zone=second["zone"],
            profile=PROFILE,
            kms_key=KMS_KEY,
            address=addresses[1]["PublicIp"],
            volume=volume,
        ),
        "amis/filtered.toml": FILTERED.format(**common, zone=second["zone"]),
        "policies/stopping.toml": 'on_idle = "stop"\n',
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    account = Account(ACCOUNT, REGION)
    account.addresses = {one["AllocationId"]: one["PublicIp"] for one in addresses}
    account.zones = {one["id"]: one["zone"] for one in seeded["subnets"]}
    account.default_subnets = {one["zone"]: one["id"] for one in seeded["subnets"]}
    for image in api.describe_images(ImageIds=list(seeded["amis"].values()))["Images"]:
        disks = {
            disk["DeviceName"]: {
                "size": str(disk["Ebs"]["VolumeSize"]),
                "type": disk["Ebs"].get("VolumeType", "gp2"),
            }
            for disk in image["BlockDeviceMappings"]
        }
        account.images[image["ImageId"]] = {"owner": ACCOUNT, "tags": {}, "disks": disks}
    return account


class Master:
    """Wants workers, and says that they are connected."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._requests: dict[str, str] = {}
        self._attached: set[str] = set()

    def start(self, worker: str) -> None:
        """Wants a worker."""
        self._requests[worker] = f"{worker}-{len(self._requests)}-{time.monotonic_ns()}"
        ask(
            self._socket, "POST", f"/v1/workers/{worker}/start", {"request": self._requests[worker], "master": "m"}
        )

    def release(self, worker: str) -> None:
        """Wants it no longer."""
        self._attached.discard(worker)
        request = self._requests.pop(worker)
        ask(self._socket, "POST", f"/v1/workers/{worker}/release", {"request": request, "master": "m"})

    def attach(self, worker: str) -> None:
        """Says that it is connected."""
        self._attached.add(worker)

    def until(self, what: str, check: Callable[[], Any]) -> None:
        """Reports until the check holds."""
        deadline = time.monotonic() + WAIT_S
        while not check():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {WAIT_S:.0f} s: {what}")
            self.report()
            time.sleep(LOOK_S)

    def report(self) -> dict[str, Any]:
        """One report; what the controller says."""
        said = {
            worker: {"request": request, "wanted": True, "attached": worker in self._attached}
            for worker, request in self._requests.items()
        }
        return dict(ask(self._socket, "POST", "/v1/masters/m/report", {"workers": said})["workers"])

    def state(self, worker: str) -> str:
        """How the controller sees it."""
        return str(ask(self._socket, "GET", f"/v1/workers/{worker}")["state"])


def record(binary: str, folder: Path, environment: dict[str, str]) -> Recorded:
    """Plays a day: launches, renewals, a stop and a start, the end of it all, and a sweep."""
    with SimServer(folder / "sim.log", binary, Weather(speed=20.0)) as ec2:
        gate = Gate(ec2.endpoint)
        try:
            account = prepare(folder, ec2, gate.endpoint)
            config = str(folder / "latent.toml")
            socket = str(folder / "state" / "latent.sock")
            command = [binary, "--config", config, "serve", "--log", "warn"]
            controller = Leash(command, folder / "serve.log", environment)
            try:
                wait_for_socket(socket, controller, folder / "serve.log")
                play(socket, gate)
                sweep = [binary, "--config", config, "sweep", "--owner", "alice", "--json"]
                swept = subprocess.run(sweep, env=environment, capture_output=True, text=True, timeout=WAIT_S)
                assert swept.returncode in SWEPT, swept.stderr
            finally:
                controller.end()
                controller.wait()
            learn_tags(account, gate, ec2)
            return Recorded(gate.calls(), account)
        finally:
            gate.close()


def wait_for_socket(socket: str, controller: Leash, log: Path) -> None:
    """Returns once the controller listens; raises RuntimeError when it ends, or does not in time."""
    deadline = time.monotonic() + WAIT_S
    while not Path(socket).exists():
        if controller.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the controller does not listen: {log.read_text(errors='replace').strip()}")
        time.sleep(LOOK_S)


def play(socket: str, gate: Gate) -> None:
    """What the master wants, until every call was made."""
    master = Master(socket)

    def made(action: str, times: int = 1) -> bool:
        return sum(name == action for name, _ in gate.calls()) >= times

    for worker in ("spot", "zoned"):
        master.start(worker)
    master.until("two launches", lambda: made("RunInstances", 2))
    master.until("both have their addresses", lambda: made("AssociateAddress", 2) and made("AttachVolume"))
    for worker in ("spot", "zoned"):
        master.until(f"{worker} registers", lambda worker=worker: master.state(worker) == "registering")
        master.attach(worker)
    master.until("a renewal", lambda: made("CreateTags"))
    master.until("zoned is idle", lambda: master.state("zoned") in ("draining", "stopped", "terminating"))
    master.release("zoned")
    master.until("a stop", lambda: made("StopInstances"))
    master.until("zoned is stopped", lambda: master.state("zoned") == "stopped")
    master.start("zoned")
    master.until("a start", lambda: made("StartInstances"))
    master.release("spot")
    master.until("an end", lambda: made("TerminateInstances"))


def learn_tags(account: Account, gate: Gate, ec2: SimServer) -> None:
    """Every instance has the tags that its launch gave it."""
    launched = [tag_specifications(form)["instance"] for name, form in gate.calls() if name == "RunInstances"]
    by_worker = {tags["latent:worker"]: tags for tags in launched}
    for instance in ec2.control.instances():
        account.tags[instance["id"]] = by_worker[dict(instance["tags"])["latent:worker"]]
    named = {
        name for action, form in gate.calls() if action == "CreateTags" for name in numbered(form, "ResourceId")
    }
    assert named <= set(account.tags), "a renewal of what nobody launched"
