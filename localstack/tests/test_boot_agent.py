"""The boot agent against an emulated EC2, with real workers and a real master."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from agent_process import SCRIPT, BootAgent
from aws_client import client
from buildbot_master import PASSWORD, BuildbotMaster
from emulated_ec2 import WORKER_TAG
from seed import seed

REGION = "us-west-2"
BOOT_SECONDS = 0.2


class World:
    """An account, a master, and the agent's configuration for both."""

    def __init__(self, endpoint: str, master: BuildbotMaster, folder: Path) -> None:
        self.master = master
        self.ec2 = client("ec2", endpoint, REGION)
        self.amis = seed(endpoint, REGION, ["baked", "injected"])["amis"]
        self.config: dict[str, Any] = {
            "endpoint": endpoint,
            "region": REGION,
            "state_dir": str(folder),
            "boot_delay": BOOT_SECONDS,
            "poll_interval": 0.1,
            "images": {self.amis["injected"]: {"identity": "injected"}},
        }

    def bake(self, worker: str) -> None:
        """Makes the baked AMI this worker's."""
        login = {"worker": worker, "password": PASSWORD, "master": self.master.address}
        self.config["images"][self.amis["baked"]] = {"identity": "baked", **login}

    def launch(self, image: str = "baked", **options: Any) -> str:
        """Launches one instance."""
        made = self.ec2.run_instances(
            ImageId=self.amis[image], InstanceType="t3.micro", MinCount=1, MaxCount=1, **options
        )
        return str(made["Instances"][0]["InstanceId"])

    def state(self, instance: str) -> str:
        """The state of an instance."""
        answer = self.ec2.describe_instances(InstanceIds=[instance])
        return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

    def clear(self) -> None:
        """Terminates everything, for the next test."""
        filters = [{"Name": "instance-state-name", "Values": ["running", "stopped"]}]
        for reservation in self.ec2.describe_instances(Filters=filters)["Reservations"]:
            ids = [instance["InstanceId"] for instance in reservation["Instances"]]
            self.ec2.terminate_instances(InstanceIds=ids)


@pytest.fixture
def world(endpoint: str, master: BuildbotMaster, tmp_path: Path) -> Iterator[World]:
    world = World(endpoint, master, tmp_path)
    yield world
    world.clear()


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_running_instance_connects_and_tells_who_it_is(world: World) -> None:
    world.bake("w1")
    with BootAgent(world.config) as agent:
        instance = world.launch()
        agent.wait_for("worker-connected", instance)
        eventually(lambda: world.master.connected("w1"), "w1 is connected")
        eventually(lambda: "host" in world.master.worker("w1")["workerinfo"], "w1 tells its host")
        assert world.amis["baked"] in world.master.worker("w1")["workerinfo"]["host"]
        # The master's API shows no other file of info/, though the worker sends them all.
        info = agent.state_dir / instance / "info"
        assert (info / "instance").read_text().strip() == instance
        assert (info / "ami").read_text().strip() == world.amis["baked"]
        assert (info / "zone").read_text().startswith(REGION)
        assert [entry["event"] for entry in agent.events(instance=instance)] == [
            "seen-running",
            "boot",
            "worker-started",
            "worker-connected",
        ]


def test_termination_ends_the_worker_and_the_build_it_runs(world: World) -> None:
    world.bake("w2")
    with BootAgent(world.config) as agent:
        instance = world.launch()
        worker = agent.wait_for("worker-started", instance)["pid"]
        agent.wait_for("worker-connected", instance)
        world.master.force_build("w2")
        step = step_of_build(agent.state_dir / instance)
        assert alive(worker) and alive(step)
        world.ec2.terminate_instances(InstanceIds=[instance])
        agent.wait_for("ended", instance)
        assert not alive(worker)
        assert not alive(step)


def test_a_guest_that_never_connects_has_no_process(world: World) -> None:
    world.bake("w1")
    world.config["fates"] = [
        {"worker": "tagged", "nth": 2, "fate": "never"},
        {"worker": "other", "fate": "never"},
    ]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": WORKER_TAG, "Value": "tagged"}]}]
    with BootAgent(world.config) as agent:
        first = world.launch(TagSpecifications=tags)
        assert agent.wait_for("boot", first)["fate"] == "connect"
        second = world.launch(TagSpecifications=tags)
        boot = agent.wait_for("boot", second)
        assert (boot["fate"], boot["worker"], boot["nth"]) == ("never", "tagged", 2)
        # The first one's connection shows that enough time has passed for the second one's.
        agent.wait_for("worker-connected", first)
        assert not agent.events("worker-started", second)


@pytest.mark.parametrize(("behaviour", "state"), [("terminate", "terminated"), ("stop", "stopped")])
def test_a_guest_that_powers_itself_off_obeys_the_shutdown_behaviour(
    world: World, behaviour: str, state: str
) -> None:
    world.bake("w3")
    world.config["fates"] = [{"worker": "w3", "fate": "poweroff", "seconds": 0.3}]
    with BootAgent(world.config) as agent:
        instance = world.launch(InstanceInitiatedShutdownBehavior=behaviour)
        worker = agent.wait_for("worker-started", instance)["pid"]
        assert agent.wait_for("powered-off", instance)["behaviour"] == behaviour
        assert not alive(worker)
        eventually(lambda: world.state(instance) == state, f"it is {state}")
        agent.wait_for("ended", instance)
        assert agent.events("worker-connected", instance)


def test_a_guest_can_power_itself_off_before_it_connects(world: World) -> None:
    world.bake("w3")
    world.config["fates"] = [{"fate": "poweroff", "seconds": 0, "from": "boot"}]
    with BootAgent(world.config) as agent:
        instance = world.launch(InstanceInitiatedShutdownBehavior="terminate")
        agent.wait_for("powered-off", instance)
        assert not agent.events("worker-connected", instance)


def test_a_stopped_instance_that_runs_again_has_a_second_life(world: World) -> None:
    world.bake("w4")
    with BootAgent(world.config) as agent:
        instance = world.launch()
        agent.wait_for("worker-connected", instance)
        world.ec2.stop_instances(InstanceIds=[instance])
        agent.wait_for("ended", instance)
        eventually(lambda: not world.master.connected("w4"), "w4 is gone")
        eventually(lambda: world.state(instance) == "stopped", "it is stopped")
        world.ec2.start_instances(InstanceIds=[instance])
        agent.wait_for("worker-connected", instance, nth=2)
        assert [boot["nth"] for boot in agent.events("boot", instance)] == [1, 1]


def test_a_worker_that_exits_is_started_again_unless_it_is_to_die(world: World) -> None:
    world.bake("w5")
    with BootAgent(world.config) as agent:
        instance = world.launch()
        worker = agent.wait_for("worker-started", instance)["pid"]
        agent.wait_for("worker-connected", instance)
        os.kill(worker, signal.SIGKILL)
        status = agent.wait_for("worker-exited", instance)["status"]
        assert status == 128 + signal.SIGKILL
        assert agent.wait_for("worker-started", instance, nth=2)["pid"] != worker
        agent.wait_for("worker-connected", instance, nth=2)
        world.ec2.terminate_instances(InstanceIds=[instance])
        agent.wait_for("ended", instance)

        agent.configure(fates=[{"worker": "w5", "fate": "die", "seconds": 0}])
        mortal = world.launch()
        agent.wait_for("worker-exited", mortal)
        assert agent.events("worker-connected", mortal)
        # A second guest's whole boot takes longer than a restart would.
        agent.configure(fates=[{"fate": "late", "seconds": 1.0}])
        late = world.launch()
        agent.wait_for("worker-connected", late)
        assert len(agent.events("worker-started", mortal)) == 1
        assert world.state(mortal) == "running"


def test_a_worker_can_run_twice(world: World) -> None:
    world.bake("w6")
    world.config["fates"] = [{"worker": "*", "nth": 1, "fate": "twice"}]
    with BootAgent(world.config) as agent:
        instance = world.launch()
        first = agent.wait_for("worker-started", instance, nth=1)["pid"]
        second = agent.wait_for("worker-started", instance, nth=2)["pid"]
        eventually(lambda: world.master.connected("w6"), "one of both is connected")
        assert alive(first) and alive(second)
    assert not alive(first) and not alive(second)


def test_an_injected_identity_is_read_from_user_data_and_nothing_else_is(world: World) -> None:
    witness = Path(world.config["state_dir"]) / "witness"
    user_data = f"""#!/bin/sh
touch {witness}
WORKER_NAME=w7
  export WORKER_PASSWORD={shlex.quote(PASSWORD)}  # quoted
WORKER_MASTER="{world.master.address}"
exec /usr/local/bin/start-worker
"""
    with BootAgent(world.config) as agent:
        instance = world.launch("injected", UserData=user_data)
        silent = world.launch("injected", UserData="#!/bin/sh\nWORKER_NAME=w8\n")
        agent.wait_for("worker-connected", instance)
        eventually(lambda: world.master.connected("w7"), "w7 is connected")
        assert agent.wait_for("boot", instance)["worker"] == "w7"
        assert "WORKER_PASSWORD" in agent.wait_for("no-identity", silent)["problem"]
        assert not agent.events("worker-started", silent)
    assert not witness.exists()


def test_no_process_outlives_an_agent_that_is_killed(world: World) -> None:
    world.bake("w8")
    # Started plainly: not even the holder of `BootAgent` may be needed for this.
    watcher = BootAgent(world.config)
    watcher.configure()
    command = [sys.executable, str(SCRIPT), "--config", str(watcher.config_path)]
    with subprocess.Popen(command) as agent:
        try:
            instance = world.launch()
            eventually(lambda: bool(watcher.events("worker-connected", instance)), "w8 connects")
            worker = watcher.events("worker-started", instance)[0]["pid"]
            world.master.force_build("w8")
            step = step_of_build(watcher.state_dir / instance)
            assert alive(worker) and alive(step)
        finally:
            agent.kill()
    eventually(lambda: not alive(worker), "the worker is gone", seconds=10)
    eventually(lambda: not alive(step), "the build's step is gone", seconds=10)


def test_an_agent_ends_with_the_process_it_was_told_to_follow(world: World) -> None:
    config = BootAgent(world.config)
    config.configure()
    with subprocess.Popen(["sleep", "600"]) as followed:
        command = [sys.executable, str(SCRIPT), "--config", str(config.config_path)]
        with subprocess.Popen([*command, "--parent-pid", str(followed.pid)]) as agent:
            try:
                eventually(lambda: bool(config.events("agent-started")), "the agent runs")
            finally:
                followed.kill()
                followed.wait()
            assert agent.wait(10) == 0


def test_an_agent_survives_an_endpoint_that_is_away_and_a_bad_configuration(world: World) -> None:
    away = {**world.config, "endpoint": "http://127.0.0.1:9"}
    with BootAgent(away) as agent:
        agent.wait_for("unreachable")
        agent.configure(fates=[{"fate": "explode"}])
        assert "explode" in agent.wait_for("bad-config")["error"]
        agent.configure(fates=[])
        time.sleep(0.5)
        assert len(agent.events("unreachable")) == 1
        assert len(agent.events("bad-config")) == 1


def step_of_build(base: Path) -> int:
    """The process of the build's step on the guest with this directory."""

    def found() -> list[str]:
        return [path.read_text() for path in base.glob("*/build/step.pid")]

    eventually(lambda: any(text.endswith("\n") for text in found()), "the build runs its step")
    return int(found()[0])
