"""All that an emulated account holds: to see what something left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emulated_ec2 import EmulatedEc2

ENDED = ("terminated", "shutting-down")


@dataclass(frozen=True)
class Holdings:
    """What lies in a region of an account and may cost something, by id; what ended is not in it."""

    instances: frozenset[str]
    images: frozenset[str]
    snapshots: frozenset[str]
    volumes: frozenset[str]
    groups: frozenset[str]

    def beyond(self, other: Holdings) -> dict[str, list[str]]:
        """What is here and not there, by kind."""
        more = {name: sorted(getattr(self, name) - getattr(other, name)) for name in self.__dataclass_fields__}
        return {name: ids for name, ids in more.items() if ids}


def holdings(ec2: Any, truth: EmulatedEc2) -> Holdings:
    """As they are now; `ec2` is a client of the account's."""
    live = [one.id for one in truth.instances() if one.state not in ENDED]
    images = ec2.describe_images(Owners=["self"], IncludeDisabled=True, IncludeDeprecated=True)["Images"]
    snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    volumes = ec2.describe_volumes()["Volumes"]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    return Holdings(
        frozenset(live),
        frozenset(one["ImageId"] for one in images),
        frozenset(one["SnapshotId"] for one in snapshots),
        frozenset(one["VolumeId"] for one in volumes),
        frozenset(one["GroupId"] for one in groups),
    )


def snapshots_of(image: dict[str, Any]) -> frozenset[str]:
    """Those of an AMI, as DescribeImages shows it."""
    return frozenset(disk["Ebs"]["SnapshotId"] for disk in image["BlockDeviceMappings"] if "Ebs" in disk)
