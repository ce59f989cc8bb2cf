"""The few EC2 calls that the boot agent makes, in its own words."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from aws_client import client

WORKER_TAG = "latent:worker"


@dataclass(frozen=True)
class Instance:
    """What the agent knows of a running instance."""

    id: str
    region: str
    zone: str
    image: str
    # From its tag; empty if it has none.
    worker: str
    # Text that sorts by time.
    launched: str


class EmulatedEc2:
    """One region. Every method may raise one of `aws_client.CALL_ERRORS`."""

    def __init__(self, endpoint: str, region: str) -> None:
        self.region = region
        self._ec2 = client("ec2", endpoint, region)

    def running(self) -> list[Instance]:
        """All running instances, in the order of their launch."""
        # Moto keeps terminated instances for ever: the filter keeps the listing small.
        pages = self._ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "instance-state-name", "Values": ["running"]}]
        )
        found = [
            self._instance(raw)
            for page in pages
            for reservation in page["Reservations"]
            for raw in reservation["Instances"]
        ]
        return sorted(found, key=lambda instance: (instance.launched, instance.id))

    def user_data(self, instance_id: str) -> str:
        """Its user data; empty if it has none."""
        answer = self._attribute(instance_id, "userData")
        encoded = answer.get("UserData", {}).get("Value", "")
        return base64.b64decode(encoded).decode("utf-8", "replace")

    def power_off(self, instance_id: str) -> str:
        """Does what EC2 does when a guest shuts itself down; returns `terminate` or `stop`.

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
            launched=raw["LaunchTime"].isoformat(),
        )
