"""A builder of an emulated EC2: launched with its user data, and left to itself until it is stopped."""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from account import REGION, Account, tag_specs
from agent_process import BootAgent
from aws_client import client
from emulator import chosen_kind
from machine import NONCE, RECIPES, bare, marks_in
from moto_server import MotoServer
from seed import seed
from sim_server import SimServer, Weather

pytestmark = pytest.mark.skipif(chosen_kind() != "sim", reason="only the model shows a console")
PATIENCE_S = 90.0


def user_data(family: str = "apt", boothook: bool = True, channel: str = "user-data") -> str:
    """As `policy::rebake_script` packs it; its own text is unpacked by a real shell in tests/it/recipes.rs."""
    settings = {"NONCE": NONCE, "RECIPE": family, "CHANNEL": channel, "ROUNDS_MAX": "5", "DEADLINE_S": "600"}
    settings |= {"SERVICES": "", "WORKER_VERSION": "", "CLEAN": "", "SETUP": "0"}
    driver = "".join(f"LATENT_{name}={value}\n" for name, value in settings.items())
    driver += "".join(bare((RECIPES / name).read_text()) for name in (f"{family}.sh", "rebake.sh"))
    mode = "go" if channel == "ssm" else "start"
    unpack = (
        "d=${LATENT_ROOT:-}/var/lib/latent-rebake\n"
        f'cat > "$d/rebake" <<\'END-OF-REBAKE\'\n{driver}END-OF-REBAKE\nexec /bin/sh "$d/rebake" {mode}\n'
    )
    pack = base64.encodebytes(gzip.compress(unpack.encode())).decode()
    decode = "b64decode -r" if family == "freebsd" else "base64 -d"
    return (
        ("#cloud-boothook\n" if boothook else "")
        + '#!/bin/sh\nd=${LATENT_ROOT:-}/var/lib/latent-rebake\nmkdir -p "$d"\n'
        + f'{decode} <<\'END-OF-PACK\' | gzip -dc > "$d/unpack"\n{pack}END-OF-PACK\nexec /bin/sh "$d/unpack"\n'
    )


class Bakery:
    """An account, and the agent of its guests."""

    def __init__(self, account: Account, folder: Path, **builder: Any) -> None:
        self.account = account
        self.agent = BootAgent(
            {
                "endpoint": account.endpoint,
                "region": REGION,
                "state_dir": str(folder),
                "boot_delay": 0.1,
                "poll_interval": 0.1,
                "builder": builder,
            }
        ).start()

    def launch(self, text: str, role: str = "rebake") -> str:
        """A builder: what its own power-off does is a stop."""
        return self.account.running(
            UserData=text,
            InstanceInitiatedShutdownBehavior="stop",
            MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
            TagSpecifications=tag_specs("instance", **{"latent:role": role}),
        )

    def console(self, instance: str) -> str:
        """What GetConsoleOutput shows."""
        return str(self.account.ec2.get_console_output(InstanceId=instance, Latest=True).get("Output", ""))

    def state(self, instance: str) -> str:
        """EC2's word for it."""
        return str(self.account.control.instance(instance)["state"])

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Until it holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}; {self.agent.events()[-5:]}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def account(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """Of a calm EC2, of which no state takes long."""
    with SimServer(tmp_path_factory.mktemp("sim") / "sim.log", binary, Weather(speed=20)) as running:
        yield Account(running.endpoint, 210000000009)


@pytest.mark.parametrize("family", ["apt", "dnf", "freebsd"])
def test_a_builder_updates_reboots_reports_and_stops_itself(account: Account, tmp_path: Path, family: str) -> None:
    bakery = Bakery(account, tmp_path, family=family, updates="3 1")
    try:
        builder = bakery.launch(user_data(family, boothook=family != "freebsd"))
        bakery.wait("the power-off", lambda: bakery.state(builder) == "stopped")
        marks = marks_in(bakery.console(builder))
        assert (marks[-1].word, marks[-1]["rounds"], marks[-1]["reboots"]) == ("done", "2", "1")
        assert len({mark["id"] for mark in marks if mark.word == "boot"}) == 2
        assert bakery.agent.wait_for("powered-off", builder)["behaviour"] == "stop"
        bakery.agent.wait_for("ended", builder)
        assert not (tmp_path / builder / "machine/root/var/lib/latent-rebake").exists()
    finally:
        bakery.agent.stop()


def test_a_builder_that_fails_says_so_and_stops_itself(account: Account, tmp_path: Path) -> None:
    bakery = Bakery(account, tmp_path, fail="100 apt-get update\n" * 9)
    try:
        builder = bakery.launch(user_data())
        bakery.wait("the power-off", lambda: bakery.state(builder) == "stopped")
        last = marks_in(bakery.console(builder))[-1]
        assert (last.word, last["step"], last["code"]) == ("fail", "update", "100")
    finally:
        bakery.agent.stop()


def test_a_worker_with_a_builders_user_data_is_no_builder(account: Account, tmp_path: Path) -> None:
    """The agent runs it as one only by its role; the script itself asks for that, too."""
    bakery = Bakery(account, tmp_path)
    try:
        worker = bakery.launch(user_data(), role="worker")
        bakery.agent.wait_for("no-identity", worker)
        assert not (tmp_path / worker / "machine").exists()
        # What has no sandbox runs on the machine of whoever tests.
        assert bakery.agent.events("boot-hook-passed-over", worker)
        assert not (tmp_path / worker / "boothook").exists()
    finally:
        account.ec2.terminate_instances(InstanceIds=[worker])
        bakery.agent.stop()


def test_a_builder_that_is_ended_leaves_no_process(account: Account, tmp_path: Path) -> None:
    bakery = Bakery(account, tmp_path, environment={"LATENT_PAUSE": "100"}, fail="1 apt-get update\n" * 9)
    try:
        builder = bakery.launch(user_data())
        bakery.wait("its first step", lambda: "step name=update" in bakery.console(builder))
        bakery.account.ec2.terminate_instances(InstanceIds=[builder])
        bakery.agent.wait_for("ended", builder, timeout=60)
        assert processes_of(builder) == []
    finally:
        bakery.agent.stop()


@pytest.mark.parametrize("fail", ["", "100 apt-get update\n" * 9], ids=["well", "not well"])
def test_an_agent_runs_the_same_and_tells_how_it_ended(account: Account, tmp_path: Path, fail: str) -> None:
    bakery = Bakery(account, tmp_path, agent=True, fail=fail)
    try:
        builder = bakery.launch("#cloud-config\n{}\n")
        bakery.agent.wait_for("ssm-agent-online", builder)
        ssm = account.client("ssm")
        text = user_data(boothook=False, channel="ssm")
        sent = ssm.send_command(
            InstanceIds=[builder], DocumentName="AWS-RunShellScript", Parameters={"commands": [text]}
        )
        bakery.wait("the power-off", lambda: bakery.state(builder) == "stopped")
        told = ssm.get_command_invocation(CommandId=sent["Command"]["CommandId"], InstanceId=builder)
        # Each run has its own output: the last marks are in the last one.
        said = told["StandardOutputContent"]
        if fail:
            assert (told["Status"], told["ResponseCode"]) == ("Failed", 1)
            assert f"latent-rebake {NONCE} " in said and " fail step=update code=100 why=" in said
        else:
            assert (told["Status"], told["ResponseCode"]) == ("Success", 0)
            assert " done rounds=2 reboots=1 packages=4 " in said
            assert [one["exit_code"] for one in bakery.agent.events("ssm-answer", builder)] == [194, 0]
    finally:
        bakery.agent.stop()


def test_on_moto_a_builder_stops_itself_too(tmp_path: Path) -> None:
    """Which shows no console; what happened is seen on the disk."""
    with MotoServer(tmp_path / "moto.log") as moto:
        ec2 = client("ec2", moto.endpoint, REGION)
        image = seed(moto.endpoint, REGION, ["image"])["amis"]["image"]
        config = {"endpoint": moto.endpoint, "region": REGION, "state_dir": str(tmp_path / "guests")}
        with BootAgent({**config, "boot_delay": 0.1, "poll_interval": 0.1}) as agent:
            made = ec2.run_instances(
                ImageId=image,
                InstanceType="t3.micro",
                MinCount=1,
                MaxCount=1,
                UserData=user_data(),
                InstanceInitiatedShutdownBehavior="stop",
                TagSpecifications=tag_specs("instance", **{"latent:role": "rebake"}),
            )
            builder = str(made["Instances"][0]["InstanceId"])
            assert agent.wait_for("powered-off", builder, timeout=PATIENCE_S)["behaviour"] == "stop"
            assert " done rounds=2 reboots=1 " in agent.events("builder-ended", builder)[0]["said"]
            state = ec2.describe_instances(InstanceIds=[builder])["Reservations"][0]["Instances"][0]["State"][
                "Name"
            ]
            assert state in ("stopping", "stopped")


def processes_of(builder: str) -> list[str]:
    """What still runs of it, by its command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/{builder}/machine" in command:
            found.append(command)
    return found
