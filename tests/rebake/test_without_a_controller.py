"""An owner's laptop: the owner's credentials, no latent.toml and no way to the controller."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bakehouse import Bakehouse, Follower, Told

REFUSED, ABORTED = 5, 13


class Laptop:
    """A folder of the owner's, and their credentials."""

    def __init__(self, bakehouse: Bakehouse, folder: Path) -> None:
        self.bakehouse = bakehouse
        self.folder = folder
        unset = {"LATENT_CONFIG", "LATENT_BIN", "INJECTED_PASSWORD"}
        environment = {key: value for key, value in bakehouse.environment.items() if key not in unset}
        self.environment = {**environment, "AWS_ENDPOINT_URL": bakehouse.endpoint}

    def start(self, *args: str) -> Follower:
        """`latent` there."""
        return Follower(self.bakehouse, *args, config=None, env=self.environment, cwd=self.folder)

    def run(self, *args: str) -> Told:
        """`latent` there, to its end."""
        return self.start(*args).end()

    def access(self, image: str) -> list[str]:
        """What neither a manifest nor the AMI's tags say."""
        region = str(self.bakehouse.seeded["region"])
        names = ["--owner", "alice", "--fleet", "demo", "--controller", "demo-master", "--image", image]
        return ["--region", region, *names]


@pytest.fixture
def laptop(bakehouse: Bakehouse, tmp_path: Path) -> Laptop:
    """With nothing in it."""
    return Laptop(bakehouse, tmp_path)


def test_what_an_owner_bakes_the_controller_proves_and_promotes(bakehouse: Bakehouse, laptop: Laptop) -> None:
    before, old = bakehouse.account(), bakehouse.ami()
    told = laptop.run("rebake", old, *laptop.access("baked"), "--instance-type", "m5.large")
    assert told.code == 0, told.out + told.err
    assert "tagged for its controller" in told.out
    written = (laptop.folder / "amis/baked.toml").read_text()
    assert f'ami = "{old}"' in written and 'instance_types = ["m5.large"]' in written
    (journal,) = (laptop.folder / "rebakes").glob("*.jsonl")
    new = json.loads(journal.read_text().splitlines()[-1])["body"]["ended"]["outcome"]["ami"]
    assert bakehouse.image(new)["tags"]["latent:rollout"] == "wanted"
    assert bakehouse.ami() == old

    bakehouse.configure(more_config='\n[sweep]\nperiod = "1s"\n')
    rebake = bakehouse.wait_rebake("the controller to take it over", lambda one: one["ami"] == new)
    assert rebake["kind"] == "handed-over"
    assert bakehouse.wait_ended(rebake["id"])["outcome"]["how"] == "done"
    assert bakehouse.ami() == new and bakehouse.read()["previous"] == old
    made = bakehouse.image(new)
    assert made["tags"]["latent:rollout"] == "promoted"
    bakehouse.wait_account(before, bakehouse.made(new))
    assert len([one for one in bakehouse.rebakes() if one["ami"] == new]) == 1


def test_a_bake_that_is_killed_is_gone_on_with_or_taken_back(bakehouse: Bakehouse, laptop: Laptop) -> None:
    before, old = bakehouse.account(), bakehouse.ami()
    args = ["rebake", old, *laptop.access("baked"), "--instance-type", "m5.large"]
    first = laptop.start(*args)
    bakehouse.guests().wait_for("builder-rebooted", nth=1 + rebooted(bakehouse), timeout=60)
    first.process.kill()
    first.process.communicate()
    (journal,) = (laptop.folder / "rebakes").glob("*.jsonl")
    again = laptop.run(*args)
    assert again.code == REFUSED and f"--resume {journal.stem}" in again.err
    # Without a configuration it is three minutes until a listing that shows nothing is believed.
    told = laptop.start("rebake", "--abort", journal.stem).end(300)
    assert told.code == ABORTED, told.out + told.err
    bakehouse.wait_account(before)
    assert bakehouse.ami() == old


def rebooted(bakehouse: Bakehouse) -> int:
    """How many reboots of builders there were."""
    return len(bakehouse.guests().events("builder-rebooted"))


def test_a_configured_instance_becomes_an_image(bakehouse: Bakehouse, laptop: Laptop) -> None:
    ec2 = bakehouse.ec2()
    base = bakehouse.seeded["amis"]["injected"]
    made = ec2.run_instances(ImageId=base, InstanceType="t3.large", MinCount=1, MaxCount=1)["Instances"][0]
    instance = made["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    before = bakehouse.account()
    try:
        told = laptop.run("enroll", instance, *laptop.access("handmade"))
        assert told.code == 0, told.out + told.err
        manifest = (laptop.folder / "amis/handmade.toml").read_text()
        (ami,) = ec2.describe_images(
            Owners=["self"], Filters=[{"Name": "tag:latent:image", "Values": ["handmade"]}]
        )["Images"]
        assert f'ami = "{ami["ImageId"]}"' in manifest and 'instance_types = ["t3.large"]' in manifest
        tags = {tag["Key"]: tag["Value"] for tag in ami["Tags"]}
        assert (tags["latent:image-origin"], tags["latent:parent"]) == ("enroll", base)
        assert bakehouse.control().instance(instance)["state"] == "stopped"
        bakehouse.wait_account(before, bakehouse.made(ami["ImageId"]))
    finally:
        ec2.terminate_instances(InstanceIds=[instance])
