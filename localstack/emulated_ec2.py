"""What the boot agent asks of an emulated EC2, in its own words."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aws_client import client
from sim_control import Imds, SimControl, imds_address

WORKER_TAG = "latent:worker"
ROLE_TAG = "latent:role"


@dataclass(frozen=True)
class Instance:
    """What is known of an instance."""

    id: str
    region: str
    zone: str
    image: str
    # From its tag; empty if it has none.
    worker: str
    # EC2's word for it.
    state: str
    # Text that sorts by time.
    launched: str
    # From its tag; empty if it has none.
    role: str = ""


class EmulatedEc2(Protocol):
    """One region. Every method may raise one of `aws_client.CALL_ERRORS`."""

    region: str

    def instances(self, states: Sequence[str] = ()) -> list[Instance]:
        """All instances, or those in such a state, in the order of their launch."""

    def user_data(self, instance_id: str) -> str:
        """Its user data; empty if it has none."""

    def imds(self, instance_id: str) -> str:
        """The address of its metadata service; empty where it has none that knows its tags."""

    def console(self, instance_id: str, text: str) -> None:
        """Its guest writes that onto its console; where nobody can read it, it is lost."""

    def side_entrance(self) -> SimControl | None:
        """By which an agent of Systems Manager is reached; None where there is none."""

    def power_off(self, instance_id: str) -> str:
        """Its guest shuts itself down; returns what that means: `terminate` or `stop`."""


def emulated_ec2(endpoint: str, region: str) -> EmulatedEc2:
    """The one that answers there; raises OSError if none does."""
    control = SimControl(endpoint)
    return SimulatedEc2(control, region) if control.is_there() else MotoEc2(endpoint, region)


class MotoEc2:
    """Moto, or LocalStack whose EC2 is moto's. There is only EC2's own interface to ask."""

    def __init__(self, endpoint: str, region: str) -> None:
        self.region = region
        self._ec2 = client("ec2", endpoint, region)

    def instances(self, states: Sequence[str] = ()) -> list[Instance]:
        """See `EmulatedEc2`."""
        # Moto keeps terminated instances for ever: the filter keeps the listing small.
        filters = [{"Name": "instance-state-name", "Values": list(states)}] if states else []
        pages = self._ec2.get_paginator("describe_instances").paginate(Filters=filters)
        found = [
            self._instance(raw)
            for page in pages
            for reservation in page["Reservations"]
            for raw in reservation["Instances"]
        ]
        return sorted(found, key=lambda instance: (instance.launched, instance.id))

    def user_data(self, instance_id: str) -> str:
        """See `EmulatedEc2`."""
        answer = self._attribute(instance_id, "userData")
        encoded = answer.get("UserData", {}).get("Value", "")
        return base64.b64decode(encoded).decode("utf-8", "replace")

    def imds(self, instance_id: str) -> str:
        """See `EmulatedEc2`."""
        return ""

    def console(self, instance_id: str, text: str) -> None:
        """See `EmulatedEc2`. Moto's console is always the same text."""

    def side_entrance(self) -> SimControl | None:
        """See `EmulatedEc2`."""
        return None

    def power_off(self, instance_id: str) -> str:
        """See `EmulatedEc2`.

        Only for an instance that was just seen running: moto would "stop" a terminated one, and
        so bring it back.
        """
        answer = self._attribute(instance_id, "instanceInitiatedShutdownBehavior")
        behaviour = str(answer["InstanceInitiatedShutdownBehavior"]["Value"])
        if behaviour == "terminate":
            self._ec2.terminate_instances(InstanceIds=[instance_id])
        else:
            self._ec2.stop_instances(InstanceIds=[instance_id])
        return behaviour

    def _attribute(self, instance_id: str, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._ec2.describe_instance_attribute(InstanceId=instance_id, Attribute=name)
        return answer

    def _instance(self, raw: dict[str, Any]) -> Instance:
        tags = {tag["Key"]: tag["Value"] for tag in raw.get("Tags", [])}
        return Instance(
            id=raw["InstanceId"],
            region=self.region,
            zone=raw["Placement"]["AvailabilityZone"],
            image=raw["ImageId"],
            worker=tags.get(WORKER_TAG, ""),
            state=raw["State"]["Name"],
            launched=raw["LaunchTime"].isoformat(),
            role=tags.get(ROLE_TAG, ""),
        )


class SimulatedEc2:
    """Latent's own model. A guest is not a caller of EC2: it sees no lag, and no call is counted."""

    def __init__(self, control: SimControl, region: str) -> None:
        self.region = region
        self._control = control

    def instances(self, states: Sequence[str] = ()) -> list[Instance]:
        """See `EmulatedEc2`."""
        here = [self._instance(raw) for raw in self._control.instances() if raw["region"] == self.region]
        return [instance for instance in here if not states or instance.state in states]

    def user_data(self, instance_id: str) -> str:
        """See `EmulatedEc2`. As a guest gets it: from the metadata service, with a token."""
        return Imds(self._control.endpoint, instance_id).get("user-data") or ""

    def imds(self, instance_id: str) -> str:
        """See `EmulatedEc2`."""
        return imds_address(self._control.endpoint, instance_id)

    def console(self, instance_id: str, text: str) -> None:
        """See `EmulatedEc2`."""
        self._control.console(instance_id, text)

    def side_entrance(self) -> SimControl | None:
        """See `EmulatedEc2`."""
        return self._control

    def power_off(self, instance_id: str) -> str:
        """See `EmulatedEc2`."""
        return str(self._control.power_off(instance_id)["shutdown_behavior"])

    def _instance(self, raw: dict[str, Any]) -> Instance:
        return Instance(
            id=raw["id"],
            region=raw["region"],
            zone=raw["zone"],
            image=raw["image"],
            worker=raw["tags"].get(WORKER_TAG, ""),
            state=raw["state"],
            launched=raw["launch_time"],
            role=raw["tags"].get(ROLE_TAG, ""),
        )
