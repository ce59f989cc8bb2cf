"""One AWS account at the wire door, as boto3 sees it and as it really is."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Optional

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from sim_control import Imds, SimControl

REGION, OTHER_REGION = "us-west-2", "us-east-1"
TYPE = "m5.large"
# In seconds of the model: longer than any change of a state takes, and the step between two looks.
CHANGE_S, STEP_S = 1800.0, 2.0


class Account:
    """Its clients, and short words for what most tests do."""

    def __init__(self, endpoint: str, number: int) -> None:
        self.endpoint = endpoint
        self.id = f"{number:012d}"
        # The wire door reads the account from the key.
        self.key = f"AKIA{self.id}TEST"
        self.control = SimControl(endpoint)

    # Clients.

    def client(
        self,
        service: str = "ec2",
        region: str = REGION,
        attempts: int = 1,
        credentials: Optional[dict[str, Any]] = None,
    ) -> Any:
        """A client that tries so often; with the account's key, or with what AssumeRole gave."""
        given = credentials or {"AccessKeyId": self.key, "SecretAccessKey": "secret", "SessionToken": None}
        retries = {"total_max_attempts": attempts, "mode": "standard"}
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=region,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
            config=Config(proxies={}, connect_timeout=5, read_timeout=30, retries=retries),
        )

    @functools.cached_property
    def ec2(self) -> Any:
        """EC2 in the usual region; a refusal is not tried again."""
        return self.client()

    # What there is.

    @functools.cached_property
    def image(self) -> str:
        """An image with one disk."""
        return self.register("worker")

    def register(self, name: str) -> str:
        """An image of that name."""
        return register(self.ec2, name)

    def subnets(self) -> list[dict[str, Any]]:
        """The account's subnets, by zone."""
        return sorted(self.ec2.describe_subnets()["Subnets"], key=lambda subnet: subnet["AvailabilityZone"])

    def launch(self, **options: Any) -> str:
        """Launches one instance; its id."""
        return self.launch_all(**options)[0]

    def launch_all(self, **options: Any) -> list[str]:
        """Launches; the ids."""
        return [instance["InstanceId"] for instance in self.run(**options)["Instances"]]

    def run(self, **options: Any) -> dict[str, Any]:
        """RunInstances; its whole answer."""
        usual = {"ImageId": self.image, "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1}
        answer: dict[str, Any] = self.ec2.run_instances(**{**usual, **options})
        return answer

    def running(self, **options: Any) -> str:
        """Launches one instance and lets time pass until it runs."""
        made = self.launch(**options)
        self.reach(made, "running")
        return made

    def describe(self, instance: str) -> dict[str, Any]:
        """An instance as EC2 shows it."""
        found: dict[str, Any] = self.ec2.describe_instances(InstanceIds=[instance])
        return dict(found["Reservations"][0]["Instances"][0])

    def list(self, **filters: str) -> list[dict[str, Any]]:
        """The instances that pass the filters; `_` stands for `-` in their names."""
        wanted = [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
        pages = self.ec2.get_paginator("describe_instances").paginate(Filters=wanted)
        return [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]

    def truth(self) -> list[dict[str, Any]]:
        """Every instance that the account ever had."""
        return [one for one in self.control.instances() if one["account"] == self.id]

    def imds(self, instance: str) -> Imds:
        """The metadata service of one instance."""
        return Imds(self.endpoint, instance)

    # Time.

    def reach(self, instance: str, state: str) -> dict[str, Any]:
        """Lets time pass until EC2 shows the instance in this state."""
        return dict(
            self.until(lambda: one if (one := self.describe(instance))["State"]["Name"] == state else None)
        )

    def until(self, check: Callable[[], Any], seconds: float = CHANGE_S) -> Any:
        """Lets the model's time pass until the check holds; its answer."""
        passed = 0.0
        while not (answer := check()):
            assert passed < seconds, f"not within {seconds:.0f} s of the model's time"
            self.control.advance(STEP_S)
            passed += STEP_S
        return answer


def register(ec2: Any, name: str) -> str:
    """An image of that name."""
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8}}
    made = ec2.register_image(
        Name=name, Architecture="x86_64", RootDeviceName="/dev/sda1", BlockDeviceMappings=[root]
    )
    return str(made["ImageId"])


@contextlib.contextmanager
def refused(*codes: str, status: int = 400) -> Iterator[pytest.ExceptionInfo[ClientError]]:
    """EC2 refuses what is done here, with one of these codes."""
    with pytest.raises(ClientError) as refusal:
        yield refusal
    answer = refusal.value.response
    assert answer["Error"]["Code"] in codes, answer
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
    assert answer["ResponseMetadata"]["RequestId"]


def tags_of(resource: dict[str, Any]) -> dict[str, str]:
    """The tags of what a Describe call shows."""
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", ())}


def tag_specs(*kinds: str, **tags: str) -> list[dict[str, Any]]:
    """The tags for these kinds of resources at their birth."""
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": kind, "Tags": pairs} for kind in kinds]


def named(name: str, *values: str) -> list[dict[str, Any]]:
    """One filter."""
    return [{"Name": name, "Values": list(values)}]
