"""What EC2 asks IAM about when it is called: the parameters of a call, as resources and condition keys.

Which resources a call touches and which keys each has is what the Service Authorization Reference says;
the evaluator refuses a key that a resource does not have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from iam_simulator import Ask, Context

Form = dict[str, str]

NUMBERED = re.compile(r"\.\d+")


@dataclass
class Account:
    """What an account holds, as far as IAM looks at it."""

    number: str
    region: str
    # Images by id: owner, tags, disks.
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    # The default subnet of each zone, and the zone of each subnet.
    default_subnets: dict[str, str] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=dict)
    # The tags of each resource by its id.
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    # Elastic IP addresses by their allocations.
    addresses: dict[str, str] = field(default_factory=dict)

    def own(self, kind: str, name: str) -> str:
        """The ARN of what belongs to the account."""
        return f"arn:aws:ec2:{self.region}:{self.number}:{kind}/{name}"

    def shared(self, kind: str, name: str) -> str:
        """The ARN of an image or a snapshot."""
        return f"arn:aws:ec2:{self.region}::{kind}/{name}"

    def arn(self, resource_id: str) -> str:
        """The ARN of what has this id."""
        kinds = {"i": "instance", "vol": "volume", "eni": "network-interface", "sir": "spot-instances-request"}
        kinds |= {"eipalloc": "elastic-ip"}
        prefix = resource_id.split("-")[0]
        if prefix in ("snap", "ami"):
            return self.shared("snapshot" if prefix == "snap" else "image", resource_id)
        return self.own(kinds[prefix], resource_id)

    def tagged(self, resource_id: str) -> Context:
        """Its tags, as keys."""
        return {f"aws:ResourceTag/{key}": value for key, value in self.tags.get(resource_id, {}).items()}

    def asks(self, action: str, form: Form) -> list[Ask]:
        """What one call asks about."""
        if action.startswith("Describe"):
            return [Ask(f"ec2:{action}", "*", {"aws:RequestedRegion": self.region})]
        if action == "RunInstances":
            return self.launch(form)
        if action == "CreateTags":
            return self.tag(numbered(form, "ResourceId"), tags_of(form, "Tag"))
        if action in ("StartInstances", "StopInstances", "TerminateInstances"):
            return [self.on(action, name) for name in numbered(form, "InstanceId")]
        if action == "AssociateAddress":
            address = {"ec2:PublicIpAddress": self.addresses[form["AllocationId"]]}
            named = Ask(f"ec2:{action}", self.own("elastic-ip", form["AllocationId"]), address)
            return [named, self.on(action, form["InstanceId"])]
        if action == "AttachVolume":
            return [self.on(action, form["VolumeId"]), self.on(action, form["InstanceId"])]
        raise AssertionError(f"{action} is a call that nobody here knows")

    def on(self, action: str, resource_id: str) -> Ask:
        """A call about what is there."""
        return Ask(f"ec2:{action}", self.arn(resource_id), self.tagged(resource_id))

    def tag(self, ids: list[str], tags: dict[str, str]) -> list[Ask]:
        """CreateTags on what is there already."""
        return [Ask("ec2:CreateTags", self.arn(name), {**self.tagged(name), **requested(tags)}) for name in ids]

    def launch(self, form: Form) -> list[Ask]:
        """RunInstances: everything that it makes, everything that it uses, and the tags."""
        born = tag_specifications(form)
        zone = form.get("Placement.AvailabilityZone") or self.zones.get(form.get("SubnetId", ""), "")
        zone = zone or sorted(self.default_subnets)[0]
        subnet = form.get("SubnetId") or self.default_subnets[zone]
        image = self.images[form["ImageId"]]
        asks = [
            self._run("image", form["ImageId"], {"ec2:Owner": image["owner"], **_resource_tags(image["tags"])}),
            self._run("subnet", subnet, {"ec2:AvailabilityZone": zone, "ec2:SubnetID": subnet}),
            self._run("instance", "i-new", {**self._instance(form, zone), **requested(born.get("instance", {}))}),
            self._run("network-interface", "eni-new", requested(born.get("network-interface", {}))),
        ]
        asks += [
            self._run("security-group", name, {}) for name in numbered(form, "SecurityGroupId") or ["sg-default"]
        ]
        for disk in self._disks(form, image).values():
            keys = {"ec2:VolumeSize": disk["size"], "ec2:VolumeType": disk["type"], "ec2:AvailabilityZone": zone}
            keys |= {"ec2:VolumeIops": disk["iops"]} if "iops" in disk else {}
            asks.append(self._run("volume", "vol-new", {**keys, **requested(born.get("volume", {}))}))
            if "snapshot" in disk:
                asks.append(self._run("snapshot", disk["snapshot"], {"ec2:Owner": disk["snapshot_owner"]}))
        if "KeyName" in form:
            asks.append(self._run("key-pair", form["KeyName"], {"ec2:KeyPairName": form["KeyName"]}))
        if form.get("InstanceMarketOptions.MarketType") == "spot":
            tags = requested(born.get("spot-instances-request", {}))
            asks.append(self._run("spot-instances-request", "sir-new", tags))
        return asks + self._tags_at_birth(born) + self._passed(form)

    def _run(self, kind: str, name: str, context: Context) -> Ask:
        arn = self.shared(kind, name) if kind in ("image", "snapshot") else self.own(kind, name)
        return Ask(
            "ec2:RunInstances",
            arn,
            {key: str(value) if isinstance(value, int) else value for key, value in context.items()},
        )

    def _instance(self, form: Form, zone: str) -> Context:
        keys: Context = {
            "ec2:AvailabilityZone": zone,
            "ec2:InstanceType": form["InstanceType"],
            "ec2:MetadataHttpTokens": form.get("MetadataOptions.HttpTokens", "optional"),
            "ec2:MetadataHttpPutResponseHopLimit": form.get("MetadataOptions.HttpPutResponseHopLimit", "2"),
            "ec2:InstanceMetadataTags": form.get("MetadataOptions.InstanceMetadataTags", "disabled"),
            "ec2:Tenancy": form.get("Placement.Tenancy", "default"),
        }
        if "IamInstanceProfile.Name" in form:
            keys["ec2:InstanceProfile"] = self._iam("instance-profile", form["IamInstanceProfile.Name"])
        return keys

    def _iam(self, kind: str, name: str) -> str:
        return f"arn:aws:iam::{self.number}:{kind}/{name}"

    def _disks(self, form: Form, image: dict[str, Any]) -> dict[str, dict[str, Any]]:
        disks = {device: dict(disk) for device, disk in image["disks"].items()}
        at = 1
        while f"BlockDeviceMapping.{at}.DeviceName" in form:
            name = f"BlockDeviceMapping.{at}"
            disk = disks.setdefault(form[f"{name}.DeviceName"], {"size": "8", "type": "gp2"})
            for key, said in (
                ("size", "VolumeSize"),
                ("type", "VolumeType"),
                ("iops", "Iops"),
                ("snapshot", "SnapshotId"),
            ):
                if f"{name}.Ebs.{said}" in form:
                    disk[key] = form[f"{name}.Ebs.{said}"]
            disk.setdefault("snapshot_owner", self.number)
            at += 1
        return disks

    def _tags_at_birth(self, born: dict[str, dict[str, str]]) -> list[Ask]:
        """CreateTags is asked about only for what is given tags."""
        new = {"instance": "i-new", "volume": "vol-new", "network-interface": "eni-new"}
        new |= {"spot-instances-request": "sir-new"}
        made = {"ec2:CreateAction": "RunInstances"}
        return [
            Ask("ec2:CreateTags", self.own(kind, new[kind]), {**made, **requested(tags)})
            for kind, tags in born.items()
            if tags
        ]

    def _passed(self, form: Form) -> list[Ask]:
        if "IamInstanceProfile.Name" not in form:
            return []
        # The console gives a profile and its role one name.
        role = self._iam("role", form["IamInstanceProfile.Name"])
        return [Ask("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})]


def requested(tags: dict[str, str]) -> Context:
    """Tags that a call gives, as keys. A call that gives none has no `aws:TagKeys` at all."""
    keys: Context = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    return {**keys, "aws:TagKeys": sorted(tags)} if tags else keys


def _resource_tags(tags: dict[str, str]) -> Context:
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def numbered(form: Form, name: str) -> list[str]:
    """The values `name.1`, `name.2` and so on."""
    return [value for key, value in form.items() if NUMBERED.sub("", key) == name and key != name]


def tags_of(form: Form, prefix: str) -> dict[str, str]:
    """The tags `prefix.1.Key`, `prefix.1.Value` and so on."""
    tags, at = {}, 1
    while f"{prefix}.{at}.Key" in form:
        tags[form[f"{prefix}.{at}.Key"]] = form.get(f"{prefix}.{at}.Value", "")
        at += 1
    return tags


def tag_specifications(form: Form) -> dict[str, dict[str, str]]:
    """The tags of a launch by the kind of what they are for."""
    found, at = {}, 1
    while f"TagSpecification.{at}.ResourceType" in form:
        found[form[f"TagSpecification.{at}.ResourceType"]] = tags_of(form, f"TagSpecification.{at}.Tag")
        at += 1
    return found
