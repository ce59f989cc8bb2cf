"""The watcher at the real wire door: what must never happen is done there on purpose, and seen."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "localstack"), str(HERE)]

from aws_client import client  # noqa: E402
from emulated_ec2 import WORKER_TAG  # noqa: E402
from judge import LostBuild  # noqa: E402
from seed import seed  # noqa: E402
from sim_server import SimServer, Weather  # noqa: E402
from watcher import Watcher  # noqa: E402

REGION = "us-west-2"
WAIT_S = 20.0


class World:
    """A model of EC2 with a watcher, and no controller."""

    def __init__(self, server: SimServer) -> None:
        self.watcher = Watcher(server.control)
        self.watcher.start()
        self.control = server.control
        self.ec2 = client("ec2", server.endpoint, REGION)
        self._ami = seed(server.endpoint, REGION, ["worker"])["amis"]["worker"]

    def launch(self, worker: str) -> str:
        """An instance of a worker, once it runs."""
        tags = [{"ResourceType": "instance", "Tags": [{"Key": WORKER_TAG, "Value": worker}]}]
        kind: dict[str, Any] = {"InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1}
        made = self.ec2.run_instances(ImageId=self._ami, TagSpecifications=tags, **kind)
        instance = str(made["Instances"][0]["InstanceId"])
        self.wait(lambda: self.watcher.running(worker) == instance)
        return instance

    def wait(self, check: Any) -> None:
        """Waits until it holds."""
        end = time.monotonic() + WAIT_S
        while not check():
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    binary = os.environ.get("LATENT_SIM_BIN") or os.environ.get("LATENT_BIN", "target/debug/latent")
    with SimServer(tmp_path / "sim.log", os.path.abspath(binary), Weather(speed=50)) as server:
        world = World(server)
        yield world
        world.watcher.close()


def test_a_twin_is_seen(world: World) -> None:
    first, second = world.launch("w1"), world.launch("w1")
    world.launch("w2")
    (told,) = world.watcher.judge.duplicates
    assert first in told and second in told


def test_what_is_left_is_seen_until_it_is_ended(world: World) -> None:
    instance = world.launch("w1")
    (told,) = world.watcher.judge.zombies()
    assert instance in told
    world.ec2.terminate_instances(InstanceIds=[instance])
    world.wait(lambda: not world.watcher.judge.costing())


def test_a_build_that_we_took_is_told_from_one_that_somebody_else_took(world: World) -> None:
    ours, theirs = world.launch("w1"), world.launch("w2")
    world.ec2.terminate_instances(InstanceIds=[ours])
    world.control.meddle(theirs, "terminate")
    world.wait(lambda: not world.watcher.judge.costing())
    builds = [LostBuild(f"b/{one}", "w", one, "its instance no longer runs") for one in (ours, theirs)]
    (told,) = world.watcher.judge.lost(builds)
    assert ours in told
