"""An account with leftovers, and the command that finds them on a machine that has nothing else."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import Any, Optional

from account import REGION, TYPE, Account

SECRET = "a-secret-key-that-nothing-may-print"
FLEET, CONTROLLER = "snakes", "snakes-main"
CHANGES = re.compile(
    r"^(Run|Start|Stop|Terminate|Create|Delete|Modify|Deregister|Release|Cancel|Register|Allocate)"
)
SECONDS_MAX = 120.0


def time_in(minutes: float) -> str:
    """The wall's time in so many minutes, as a tag has it."""
    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def tags(**changed: Optional[str]) -> dict[str, str]:
    """A worker's tags as the controller sets them, in good order; None takes one away."""
    usual: dict[str, Optional[str]] = {
        "fleet": FLEET,
        "controller": CONTROLLER,
        "owner": "alice",
        "worker": "w1",
        "attempt": "1-1",
        "role": "worker",
        "created": time_in(-300),
        "lease": time_in(60),
        "deadline": time_in(600),
    }
    every = {**usual, **changed}
    return {"latent:" + key.replace("_", "-"): value for key, value in every.items() if value is not None}


def specs(wanted: dict[str, str], *kinds: str) -> list[dict[str, Any]]:
    """Tags at the birth of these kinds."""
    pairs = [{"Key": key, "Value": value} for key, value in wanted.items()]
    return [{"ResourceType": kind, "Tags": pairs} for kind in kinds]


class Ran(subprocess.CompletedProcess[str]):
    """One run of the command."""

    def data(self) -> dict[str, Any]:
        """What it printed as JSON."""
        return dict(json.loads(self.stdout))

    def plan(self) -> dict[str, Any]:
        """The plan in that."""
        return dict(self.data()["plan"])

    def finding(self, an_id: str) -> dict[str, Any]:
        """What it says of one leftover."""
        return next(one for one in self.plan()["findings"] if one["id"] == an_id)

    def found(self) -> dict[str, str]:
        """The ids, and what is to be done about each."""
        return {one["id"]: one["act"] for one in self.plan()["findings"]}

    def kept(self) -> dict[str, str]:
        """What was left alone, and why."""
        return {one["id"]: one["why"] for one in self.plan()["kept"]}


class Swept(Account):
    """An account, and `latent sweep` in an empty directory with an empty home."""

    def __init__(self, endpoint: str, number: int, binary: str, folder: Path) -> None:
        super().__init__(endpoint, number)
        self.binary = binary
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()

    # What there is.

    def worker(self, region: str = REGION, count: int = 1, **changed: Optional[str]) -> str:
        """One instance of the fleet, with its disk and interface tagged as itself."""
        return self.workers(count, region, **changed)[0]

    def workers(self, count: int, region: str = REGION, **changed: Optional[str]) -> list[str]:
        """So many alike."""
        ec2 = self.ec2 if region == REGION else self.client(region=region)
        image = self.image if region == REGION else self.image_in(region)
        made = ec2.run_instances(
            ImageId=image,
            InstanceType=TYPE,
            MinCount=count,
            MaxCount=count,
            TagSpecifications=specs(tags(**changed), "instance", "volume", "network-interface"),
        )
        ids = [one["InstanceId"] for one in made["Instances"]]
        ec2.get_waiter("instance_running").wait(InstanceIds=ids[:100], WaiterConfig={"Delay": 1})
        return ids

    def image_in(self, region: str) -> str:
        """An image in another region."""
        ec2 = self.client(region=region)
        known = ec2.describe_images(Owners=["self"])["Images"]
        if known:
            return str(known[0]["ImageId"])
        root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": True}}
        made = ec2.register_image(
            Name="worker", Architecture="x86_64", RootDeviceName="/dev/sda1", BlockDeviceMappings=[root]
        )
        return str(made["ImageId"])

    def abandoned(self, region: str = REGION, **changed: Optional[str]) -> str:
        """An instance whose lease has been over for an hour: one look is enough."""
        return self.worker(region, **{"lease": time_in(-60), **changed})

    def expired(self, minutes: float = 5, **changed: Optional[str]) -> str:
        """An instance past its deadline, by less than the grace: two looks are needed."""
        return self.worker(**{"deadline": time_in(-minutes), **changed})

    def disk(self, **changed: Optional[str]) -> str:
        """A volume of the fleet that is attached to nothing."""
        made = self.ec2.create_volume(
            AvailabilityZone=f"{REGION}a",
            Size=100,
            VolumeType="gp3",
            TagSpecifications=specs(tags(**changed), "volume"),
        )
        return str(made["VolumeId"])

    def state(self, instance: str) -> str:
        """Its true state."""
        return str(self.control.instance(instance)["state"])

    def tag(self, an_id: str, **wanted: str) -> None:
        """Somebody sets tags of latent's."""
        pairs = [{"Key": "latent:" + key.replace("_", "-"), "Value": value} for key, value in wanted.items()]
        self.ec2.create_tags(Resources=[an_id], Tags=pairs)

    def tags_of(self, an_id: str) -> dict[str, str]:
        """The tags of anything."""
        wanted = [{"Name": "resource-id", "Values": [an_id]}]
        return {one["Key"]: one["Value"] for one in self.ec2.describe_tags(Filters=wanted)["Tags"]}

    # The command.

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing but where AWS is and who asks."""
        return {
            "HOME": str(self.home),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            **more,
        }

    def sweep(self, *words: str, exits: Optional[int] = None, **more: str) -> Ran:
        """Runs it without a terminal. No run may print the secret."""
        done = subprocess.run(
            [self.binary, "sweep", *words],
            cwd=self.folder,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert SECRET not in done.stdout + done.stderr
        assert exits is None or done.returncode == exits, (done.returncode, done.stdout, done.stderr)
        return Ran(done.args, done.returncode, done.stdout, done.stderr)

    def here(self, *words: str, exits: Optional[int] = None) -> Ran:
        """In the usual region."""
        return self.sweep("--region", REGION, *words, exits=exits)

    def json(self, *words: str, exits: Optional[int] = None) -> Ran:
        """In the usual region, as JSON."""
        return self.here("--json", *words, exits=exits)

    def on_a_terminal(self, *words: str, answer: str = "", columns: int = 80, **more: str) -> tuple[int, str]:
        """Runs it on a terminal, and types the answer when it asks; its exit code, and all it showed."""
        process, screen = pty.fork()
        if not process:
            os.chdir(self.folder)
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            environment = self.environment(TERM="xterm-256color", **more)
            os.execve(self.binary, [self.binary, "sweep", *words], environment)
        shown, asked, end = b"", False, time.monotonic() + SECONDS_MAX
        while time.monotonic() < end:
            if select.select([screen], [], [], 1.0)[0]:
                try:
                    some = os.read(screen, 65536)
                except OSError:
                    break
                if not some:
                    break
                shown += some
            if not asked and b"to go on: " in shown:
                os.write(screen, answer.encode() + b"\n")
                asked = True
        _, status = os.waitpid(process, 0)
        os.close(screen)
        text = shown.decode("utf-8", "replace")
        assert SECRET not in text
        return os.waitstatus_to_exitcode(status), text

    # What the door saw.

    def calls(self, after: int = 0) -> list[str]:
        """The API calls of this account, in order."""
        events = self.control.trace(after)["events"]
        mine = [one for one in events if one["place"].split()[0] == self.id]
        return [str(one["what"]) for one in mine if one["what"][:1].isupper()]

    def changes(self, after: int) -> list[str]:
        """The calls among them that change anything."""
        return [call for call in self.calls(after) if CHANGES.match(call)]

    def moment(self) -> int:
        """The number of the last event so far."""
        return int(self.control.trace(2**62)["count"])
