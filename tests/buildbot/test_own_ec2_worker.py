"""Buildbot's own EC2 worker, boto3 and all, completes a build on the model of EC2 without a change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from agent_process import BootAgent
from aws_client import client
from emulated_ec2 import emulated_ec2
from emulator import make_emulator
from fleet import SUCCESS, WEATHER
from master_process import MasterProcess, wait_for
from seed import seed
from stack import COSTS, REGION

# It looks at its instance every five seconds.
BUILD_S = 60.0

# Of which worker class is the only difference between Buildbot's own and ours.
MASTER_CFG = """\
from buildbot.plugins import schedulers, steps, util, worker

c = BuildmasterConfig = {}
c["db_url"] = "sqlite:///state.sqlite"
c["buildbotNetUsageData"] = None
c["protocols"] = {"pb": {"port": "tcp:@PB@:interface=127.0.0.1"}}
c["www"] = {"port": "tcp:@WWW@:interface=127.0.0.1"}
arguments = dict(
    ami="@AMI@", region="@REGION@", keypair_name="own-keys", security_name="own-group",
    tags={"project": "own"}, build_wait_timeout=0,
)
arguments.update(@MORE@)
c["workers"] = [worker.@CLASS@("own", "own-password", "m5.large", **arguments)]
factory = util.BuildFactory([steps.ShellCommand(command=["/bin/echo", "built"])])
c["builders"] = [util.BuilderConfig(name="own", workernames=["own"], factory=factory)]
image = util.StringParameter(name="image", default="")
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=["own"], properties=[image])]
"""


class Own:
    """A model of EC2, a boot agent and a master, which has one worker of this class."""

    worker_class = "EC2LatentWorker"

    def __init__(self, binary: str, folder: Path, more: str) -> None:
        self.emulator = make_emulator("sim", folder, binary, WEATHER)
        self.folder, self.more = folder, more
        self.agent: Optional[BootAgent] = None
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": self.emulator.start(),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "LATENT_BIN": binary,
            # Not the files of whoever runs the tests.
            "HOME": str(folder),
        }
        self.master = MasterProcess(folder / "master", environment)
        self.ec2 = emulated_ec2(self.emulator.endpoint, REGION)

    def start(self) -> None:
        """Starts what is not there yet."""
        self.seeded = seed(self.emulator.endpoint, REGION, ["own", "next"])
        address = f"127.0.0.1:{self.master.pb_port}"
        baked = {"identity": "baked", "worker": "own", "password": "own-password", "master": address}
        config: dict[str, Any] = {
            "endpoint": self.emulator.endpoint,
            "region": REGION,
            "state_dir": str(self.folder / "guests"),
            "images": dict.fromkeys(self.seeded["amis"].values(), baked),
            "boot_delay": 0.1,
        }
        self.agent = BootAgent(config).start()
        self.write_master("own", self.more)
        self.master.start()

    def write_master(self, ami: str, more: str) -> None:
        """Writes master.cfg, with this AMI and with more arguments for the worker."""
        text = MASTER_CFG.replace("@CLASS@", self.worker_class).replace("@AMI@", self.seeded["amis"][ami])
        self.master.write(text.replace("@REGION@", REGION).replace("@MORE@", more))

    def close(self) -> None:
        """Ends all of it."""
        self.master.close()
        if self.agent is not None:
            self.agent.stop()
        self.emulator.stop()

    def build(self, **properties: str) -> Any:
        """Asks for a build, and waits for its result."""
        request = self.master.control("forceschedulers/force", "force", **properties)[0]
        path = f"buildsets/{request}"

        def done() -> Any:
            found = self.master.rest(path)["buildsets"][0]
            return found if found["complete"] else None

        return wait_for("the build", done, BUILD_S)["results"]


@pytest.fixture
def own(binary: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Own]:
    own = Own(binary, tmp_path, request.param)
    try:
        own.start()
        yield own
    finally:
        own.close()


@pytest.mark.parametrize("own", ["", "spot_instance=True, max_spot_price=1.0, placement='a'"], indirect=True)
def test_buildbots_own_ec2_worker_completes_a_build_and_ends_its_instance(own: Own) -> None:
    assert own.build() == SUCCESS
    (launched,) = own.ec2.instances()
    wait_for("the instance to go", lambda: not own.ec2.instances(COSTS))
    shown = client("ec2", own.emulator.endpoint, REGION).describe_instances(InstanceIds=[launched.id])
    instance = shown["Reservations"][0]["Instances"][0]
    assert instance["KeyName"] == "own-keys"
    assert [group["GroupName"] for group in instance["SecurityGroups"]] in (["own-group"], [])
