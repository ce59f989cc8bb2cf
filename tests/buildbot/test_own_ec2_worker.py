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

MASTER_CFG = """\
from buildbot.plugins import schedulers, steps, util, worker

c = BuildmasterConfig = {}
c["db_url"] = "sqlite:///state.sqlite"
c["buildbotNetUsageData"] = None
c["protocols"] = {"pb": {"port": "tcp:@PB@:interface=127.0.0.1"}}
c["www"] = {"port": "tcp:@WWW@:interface=127.0.0.1"}
c["workers"] = [
    worker.EC2LatentWorker(
        "own", "own-password", "m5.large", ami="@AMI@", region="@REGION@", keypair_name="own-keys",
        security_name="own-group", tags={"project": "own"}, build_wait_timeout=0, @MORE@
    )
]
factory = util.BuildFactory([steps.ShellCommand(command=["/bin/echo", "built"])])
c["builders"] = [util.BuilderConfig(name="own", workernames=["own"], factory=factory)]
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=["own"])]
"""


class Own:
    """A model of EC2, a boot agent and a master; no controller."""

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
            # Not the files of whoever runs the tests.
            "HOME": str(folder),
        }
        self.master = MasterProcess(folder / "master", environment)
        self.ec2 = emulated_ec2(self.emulator.endpoint, REGION)

    def start(self) -> None:
        """Starts what is not there yet."""
        ami = seed(self.emulator.endpoint, REGION, ["own"])["amis"]["own"]
        address = f"127.0.0.1:{self.master.pb_port}"
        baked = {"identity": "baked", "worker": "own", "password": "own-password", "master": address}
        config: dict[str, Any] = {
            "endpoint": self.emulator.endpoint,
            "region": REGION,
            "state_dir": str(self.folder / "guests"),
            "images": {ami: baked},
            "boot_delay": 0.1,
        }
        self.agent = BootAgent(config).start()
        text = MASTER_CFG.replace("@AMI@", ami).replace("@REGION@", REGION).replace("@MORE@", self.more)
        self.master.write(text)
        self.master.start()

    def close(self) -> None:
        """Ends all of it."""
        self.master.close()
        if self.agent is not None:
            self.agent.stop()
        self.emulator.stop()

    def build(self) -> Any:
        """Asks for a build, and waits for its result."""
        request = self.master.control("forceschedulers/force", "force")[0]
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
