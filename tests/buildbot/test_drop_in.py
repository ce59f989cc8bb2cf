"""A master.cfg that was written for Buildbot's own EC2 worker, with one word of it changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_client import client
from fleet import EXCEPTION, SUCCESS
from master_process import wait_for
from seed import named
from stack import COSTS, REGION
from test_own_ec2_worker import Own

# It stays, so that it can be looked at.
STAYS = "build_wait_timeout=600"


class DropIn(Own):
    """The same with our class; its controller is started by the plugin, and there is no latent.toml."""

    worker_class = "LatentEC2Worker"

    def __init__(self, binary: str, folder: Path, more: str) -> None:
        super().__init__(binary, folder, more)
        self.binary = binary
        self.api = client("ec2", self.emulator.endpoint, REGION)

    def prepare(self) -> None:
        """Makes what the old class would have made behind its user's back."""
        self.api.create_key_pair(KeyName="own-keys")
        vpc = self.api.describe_vpcs(Filters=named("is-default", "true"))["Vpcs"][0]["VpcId"]
        self.api.create_security_group(GroupName="own-group", Description="own", VpcId=vpc)

    def close(self) -> None:
        """Ends all of it, the controller first."""
        self.master.close()
        self.kill_controller()
        super().close()

    def kill_controller(self) -> None:
        """Its process is gone."""
        for folder in filter(str.isdigit, os.listdir("/proc")):
            try:
                arguments = Path(f"/proc/{folder}/cmdline").read_text().split("\0")
            except (OSError, UnicodeDecodeError):
                continue
            if arguments[1:4] == ["serve", "--config", str(self.config)]:
                os.kill(int(folder), signal.SIGKILL)

    @property
    def config(self) -> Path:
        """The configuration that the plugin writes."""
        return self.master.folder / "latent.toml"

    def latent(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs the command line beside the master."""
        command = [self.binary, "--config", str(self.config), *args]
        return subprocess.run(command, env=self.master.environment, capture_output=True, text=True, timeout=60)

    def shown(self) -> dict[str, Any]:
        """The one instance that was launched, as EC2 shows it."""
        (launched,) = self.ec2.instances()
        found = self.api.describe_instances(InstanceIds=[launched.id])
        return dict(found["Reservations"][0]["Instances"][0])

    def reconfigure(self, ami: str, more: str) -> None:
        """Changes master.cfg and has the master read it."""
        before = self.master.log().count("configuration update complete")
        self.write_master(ami, more)
        assert self.master.process is not None
        self.master.process.send_signal(signal.SIGHUP)
        done = "configuration update complete"
        wait_for("the reconfiguration", lambda: self.master.log().count(done) > before)

    def failure(self) -> str:
        """What the last build says of the preparation of its worker."""
        build = self.master.rest("builds?order=-buildid&limit=1")["builds"][0]
        step = self.master.rest(f"builds/{build['buildid']}/steps/worker_preparation")["steps"][0]
        logs = self.master.rest(f"steps/{step['stepid']}/logs")["logs"]
        texts = [self.master.rest(f"logs/{log['logid']}/contents")["logchunks"] for log in logs]
        return "\n".join(chunk["content"] for chunks in texts for chunk in chunks)


@pytest.fixture
def drop_in(binary: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DropIn]:
    drop_in = DropIn(binary, tmp_path, getattr(request, "param", STAYS))
    try:
        drop_in.prepare()
        yield drop_in
    finally:
        drop_in.close()


def tags_of(instance: dict[str, Any]) -> dict[str, str]:
    """Its tags by key."""
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}


@pytest.mark.parametrize("drop_in", ["", "spot_instance=True, max_spot_price=1.0, placement='a'"], indirect=True)
def test_a_build_runs_and_its_instance_is_launched_as_it_says_and_goes(drop_in: DropIn) -> None:
    drop_in.start()
    assert drop_in.build() == SUCCESS
    wait_for("the instance to go", lambda: not drop_in.ec2.instances(COSTS))
    instance = drop_in.shown()
    assert instance["KeyName"] == "own-keys"
    assert tags_of(instance)["project"] == "own"
    assert instance.get("InstanceLifecycle") == ("spot" if drop_in.more else None)
    assert "[fleet]" in drop_in.config.read_text()
    assert drop_in.latent("check").returncode == 0


def test_disks_address_and_volume_are_as_it_says(drop_in: DropIn) -> None:
    address = drop_in.api.allocate_address(Domain="vpc")["PublicIp"]
    volume = drop_in.api.create_volume(AvailabilityZone=f"{REGION}a", Size=5)["VolumeId"]
    disks = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 12, "VolumeType": "gp3"}}]
    drop_in.more = f"{STAYS}, placement='a', elastic_ip={address!r}, volumes=[({volume!r}, '/dev/sdf')], "
    drop_in.more += f"block_device_map={disks!r}"
    drop_in.start()
    assert drop_in.build() == SUCCESS
    wait_for("the address", lambda: drop_in.shown().get("PublicIpAddress") == address)
    attached = wait_for(
        "the volume", lambda: drop_in.api.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"]
    )
    assert attached[0]["InstanceId"] == drop_in.shown()["InstanceId"]
    root = drop_in.api.describe_volumes(Filters=named("attachment.device", "/dev/sda1"))["Volumes"][0]
    assert (root["Size"], root["VolumeType"]) == (12, "gp3")


def test_another_ami_is_taken_at_the_next_launch_without_a_restart(drop_in: DropIn) -> None:
    drop_in.start()
    assert drop_in.build() == SUCCESS
    drop_in.reconfigure("next", STAYS)
    # The warm one is used as long as it is there.
    assert drop_in.build() == SUCCESS
    assert len(drop_in.ec2.instances()) == 1
    assert drop_in.latent("stop", "own").returncode == 0
    wait_for("the instance to go", lambda: not drop_in.ec2.instances(COSTS))
    assert drop_in.build() == SUCCESS
    amis = drop_in.seeded["amis"]
    assert [instance.image for instance in drop_in.ec2.instances()] == [amis["own"], amis["next"]]


def test_a_build_chooses_its_ami(drop_in: DropIn) -> None:
    drop_in.more = "build_wait_timeout=0, ami=util.Interpolate('%(prop:image)s')"
    drop_in.start()
    amis = drop_in.seeded["amis"]
    for name in ("next", "own"):
        assert drop_in.build(image=amis[name]) == SUCCESS
        wait_for("the instance to go", lambda: not drop_in.ec2.instances(COSTS))
    assert [instance.image for instance in drop_in.ec2.instances()] == [amis["next"], amis["own"]]


def test_what_is_missing_in_the_account_is_told_and_not_made(drop_in: DropIn) -> None:
    drop_in.api.delete_key_pair(KeyName="own-keys")
    drop_in.start()
    assert drop_in.build() == EXCEPTION
    assert "InvalidKeyPair.NotFound" in drop_in.failure()
    assert not drop_in.api.describe_key_pairs()["KeyPairs"]
    assert not drop_in.ec2.instances()


def test_a_warm_instance_outlives_master_and_controller(drop_in: DropIn) -> None:
    drop_in.start()
    assert drop_in.build() == SUCCESS
    drop_in.master.kill()
    drop_in.kill_controller()
    drop_in.master.start()
    assert drop_in.build() == SUCCESS
    assert len(drop_in.ec2.instances()) == 1


def test_what_import_prints_launches_the_same(drop_in: DropIn) -> None:
    drop_in.start()
    assert drop_in.build() == SUCCESS
    there = drop_in.folder / "imported"
    python = ["--python", sys.executable]
    made = drop_in.latent(
        "config", "import", str(drop_in.master.folder / "master.cfg"), *python, "--out", str(there)
    )
    assert made.returncode == 0, made.stderr
    manifest = (there / "amis" / "own.toml").read_text()
    assert drop_in.seeded["amis"]["own"] in manifest and "own-group" in manifest
    assert "own-password" not in manifest
