#!/usr/bin/env python3
"""Makes what a fleet needs in an emulated account, and prints its ids as JSON.

May be run again: what is there already is found by its name and kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from aws_client import client

SECURITY_GROUP = "latent-workers"


def seed(endpoint: str, region: str, ami_names: Sequence[str], patience: float = 30.0) -> dict[str, Any]:
    """Seeds one region and returns what it holds: account, AMI ids by name, group, subnets."""
    ec2 = client("ec2", endpoint, region, patience)
    vpc = default_vpc(ec2)
    return {
        "region": region,
        "account": client("sts", endpoint, region, patience).get_caller_identity()["Account"],
        "amis": {name: image(ec2, name) for name in ami_names},
        "security_group": security_group(ec2, vpc),
        "subnets": subnets(ec2, vpc),
    }


def image(ec2: Any, name: str) -> str:
    """An AMI of the account with this name; its content is what the boot agent makes of it."""
    known = ec2.describe_images(Owners=["self"], Filters=named("name", name))["Images"]
    if known:
        return str(known[0]["ImageId"])
    made = ec2.register_image(
        Name=name,
        Description=f"{name}, emulated",
        Architecture="x86_64",
        RootDeviceName="/dev/sda1",
        # As a careless owner would: the disk outlives its instance, unless the launch says otherwise.
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": False}}],
        VirtualizationType="hvm",
    )
    return str(made["ImageId"])


def default_vpc(ec2: Any) -> str:
    """The VPC that every account is born with."""
    return str(ec2.describe_vpcs(Filters=named("is-default", "true"))["Vpcs"][0]["VpcId"])


def security_group(ec2: Any, vpc: str) -> str:
    """A group for the workers, without any way in."""
    filters = named("vpc-id", vpc) + named("group-name", SECURITY_GROUP)
    known = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    if known:
        return str(known[0]["GroupId"])
    made = ec2.create_security_group(GroupName=SECURITY_GROUP, Description="Workers, outgoing only", VpcId=vpc)
    return str(made["GroupId"])


def subnets(ec2: Any, vpc: str) -> list[dict[str, str]]:
    """The subnets of the VPC, by zone."""
    found = ec2.describe_subnets(Filters=named("vpc-id", vpc))["Subnets"]
    pairs = sorted((subnet["AvailabilityZone"], subnet["SubnetId"]) for subnet in found)
    return [{"id": subnet, "zone": zone} for zone, subnet in pairs]


def named(name: str, value: str) -> list[dict[str, Any]]:
    """One filter."""
    return [{"Name": name, "Values": [value]}]


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Seeds an emulated EC2; prints ids as JSON.")
    parser.add_argument("--endpoint", required=True, help="such as http://127.0.0.1:4566")
    parser.add_argument("--region", required=True, action="append", help="may be repeated")
    parser.add_argument("--ami", action="append", help="an AMI's name; may be repeated; default: baked, injected")
    arguments = parser.parse_args()
    names = arguments.ami or ["baked", "injected"]
    seeded = [seed(arguments.endpoint, region, names) for region in arguments.region]
    # One region is the usual case, and reads better without a list around it.
    json.dump(seeded[0] if len(seeded) == 1 else seeded, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
