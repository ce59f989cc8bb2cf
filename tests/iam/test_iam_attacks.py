"""What a stolen or mistaken controller might try. Each is denied, and for the reason that is named.

An attack on a launch changes one thing of a launch that was really made: what is denied must be that
thing, and everything else of the call must still be allowed, or the test would prove nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from iam_calls import Account, Form, requested
from iam_fleet import ACCOUNT, EXTERNAL_ID, KMS_KEY, PRINCIPAL, REGION, Recorded
from iam_simulator import Ask, Role, Simulator

OTHER_ACCOUNT, OTHER_REGION = "222222222222", "us-east-1"
MINE = {"aws:ResourceTag/latent:fleet": "cpython", "aws:ResourceTag/latent:role": "worker"}
THEIRS = {"aws:ResourceTag/Name": "production database"}
OTHER_FLEET = {"aws:ResourceTag/latent:fleet": "openzfs", "aws:ResourceTag/latent:role": "worker"}
BUILDER = {"aws:ResourceTag/latent:fleet": "cpython", "aws:ResourceTag/latent:role": "rebake"}
SSM_MINE = {"ssm:resourceTag/latent:fleet": "cpython", "ssm:resourceTag/latent:role": "worker"}
# In the fleet, but the owner's own: what rebake did not make.
ORIGINAL = {"aws:ResourceTag/latent:fleet": "cpython"}

BAKED = {**ORIGINAL, "aws:ResourceTag/latent:image-origin": "rebake"}
OTHER_BUILDER = {**BUILDER, "aws:ResourceTag/latent:fleet": "openzfs"}
OTHER_BAKED = {**BAKED, "aws:ResourceTag/latent:fleet": "openzfs"}


def own(kind: str, name: str, account: str = ACCOUNT, region: str = REGION) -> str:
    return f"arn:aws:ec2:{region}:{account}:{kind}/{name}"


def shared(kind: str, name: str) -> str:
    return f"arn:aws:ec2:{REGION}::{kind}/{name}"


INSTANCE, VOLUME = own("instance", "i-1"), own("volume", "vol-1")
SNAPSHOT, IMAGE = shared("snapshot", "snap-1"), shared("image", "ami-1")
GROUP = own("security-group", "sg-1")

# Attacks on a launch.


# The launches that are attacked: who makes them, and what they are.
BASES = {
    "worker": "a worker with an instance profile, in a zone",
    "spot": "a worker on spot, in a subnet, with a key pair",
    "rebake": "a builder, in a zone",
}
ALL = tuple(BASES)


@dataclass(frozen=True)
class LaunchAttack:
    """One change of a launch, and what of the call is then denied."""

    name: str
    change: Callable[[Form], None]
    denied: set[str]
    bases: tuple[str, ...] = ALL
    # What is denied beside that where there is a spot request and a key pair.
    on_spot: frozenset[str] = frozenset()
    # What the account holds otherwise.
    account: Callable[[Account], Account] = lambda account: account
    # Who tries, if not who may make such a launch.
    role: str = ""

    def asks(self, recorded: Recorded, base: str) -> list[Ask]:
        """What EC2 asks about."""
        form = recorded.launch("spot" if base == "spot" else "on-demand")
        if base == "rebake":
            del form["IamInstanceProfile.Name"]
            retag("latent:role", "rebake")(form)
        self.change(form)
        return self.account(recorded.account).launch(form)

    def who(self, base: str) -> str:
        """The role that tries."""
        return self.role or ("rebake" if base == "rebake" else "worker")


def to(**changes: str) -> Callable[[Form], None]:
    """Sets parameters; `__` stands for a dot."""

    def change(form: Form) -> None:
        form.update({key.replace("__", "."): value for key, value in changes.items()})

    return change


def without(*names: str) -> Callable[[Form], None]:
    def change(form: Form) -> None:
        for name in names:
            del form[name]

    return change


def untag(kind: str, key: str) -> Callable[[Form], None]:
    """The kind is born without this tag."""

    def change(form: Form) -> None:
        prefix = next(name for name, value in form.items() if name.endswith("ResourceType") and value == kind)
        prefix = prefix.removesuffix("ResourceType") + "Tag."
        at = next(name for name, value in form.items() if name.startswith(prefix) and value == key)
        form[at] = "some-other-key"

    return change


def retag(key: str, value: str) -> Callable[[Form], None]:
    """Everything is born with another value of this tag."""

    def change(form: Form) -> None:
        for name in [name for name, given in form.items() if name.endswith(".Key") and given == key]:
            form[name.removesuffix("Key") + "Value"] = value

    return change


def foreign(owner: str, tags: dict[str, str]) -> Callable[[Account], Account]:
    """An image `ami-0evil` of somebody else."""

    def change(account: Account) -> Account:
        some = next(iter(account.images.values()))
        return replace(account, images={**account.images, "ami-0evil": {**some, "owner": owner, "tags": tags}})

    return change


def abroad(account: Account) -> Account:
    return replace(account, region=OTHER_REGION)


SPOT_REQUEST = {"spot-instances-request", "spot-instances-request (tags)"}
EVERYTHING = {"image", "instance", "network-interface", "security-group", "subnet", "volume"}
TAGGED = {f"{kind} (tags)" for kind in ("instance", "network-interface", "volume")}
EVIL_DISK = "BlockDeviceMapping.2."


def nothing(form: Form) -> None:
    """The launch as it was."""


LAUNCHES = [
    *(
        LaunchAttack(
            f"without the fleet's tag on its {kind}", untag(kind, "latent:fleet"), {kind, f"{kind} (tags)"}
        )
        for kind in ("instance", "volume", "network-interface")
    ),
    LaunchAttack(
        "without the fleet's tag on its spot request",
        untag("spot-instances-request", "latent:fleet"),
        SPOT_REQUEST,
        bases=("spot",),
    ),
    LaunchAttack(
        "into another fleet",
        retag("latent:fleet", "openzfs"),
        {"instance", "volume", "network-interface"} | TAGGED,
        on_spot=frozenset(SPOT_REQUEST),
    ),
    LaunchAttack("in another owner's name", retag("latent:owner", "bob"), {"instance"}),
    LaunchAttack("as a builder of rebake", retag("latent:role", "rebake"), {"instance"}, bases=("worker", "spot")),
    LaunchAttack("as a worker", retag("latent:role", "worker"), {"instance"}, bases=("rebake",)),
    LaunchAttack("from a foreign AMI", to(ImageId="ami-0evil"), {"image"}, account=foreign(OTHER_ACCOUNT, {})),
    LaunchAttack(
        "from a foreign AMI whose owner gave it the fleet's tag",
        to(ImageId="ami-0evil"),
        {"image"},
        account=foreign(OTHER_ACCOUNT, {"latent:fleet": "cpython"}),
    ),
    LaunchAttack(
        "from another AMI of the owner",
        to(ImageId="ami-0evil"),
        {"image"},
        account=foreign(ACCOUNT, {"Name": "vpn"}),
    ),
    LaunchAttack("of a bigger type", to(InstanceType="p5.48xlarge"), {"instance"}),
    LaunchAttack("with a bigger disk", to(BlockDeviceMapping__1__Ebs__VolumeSize="101"), {"volume"}),
    LaunchAttack("with a dearer disk", to(BlockDeviceMapping__1__Ebs__VolumeType="io2"), {"volume"}),
    LaunchAttack(
        "with a faster disk",
        to(BlockDeviceMapping__1__Ebs__VolumeType="gp3", BlockDeviceMapping__1__Ebs__Iops="80000"),
        {"volume"},
    ),
    LaunchAttack(
        "with a disk made of somebody's snapshot",
        to(**{f"{EVIL_DISK}DeviceName": "/dev/sdz", f"{EVIL_DISK}Ebs.SnapshotId": "snap-0secret"}),
        {"snapshot"},
    ),
    LaunchAttack("with the metadata service that leaks", to(MetadataOptions__HttpTokens="optional"), {"instance"}),
    LaunchAttack(
        "with metadata that containers reach", to(MetadataOptions__HttpPutResponseHopLimit="64"), {"instance"}
    ),
    LaunchAttack("on hardware of its own", to(Placement__Tenancy="dedicated"), {"instance"}),
    LaunchAttack("with a key pair of the attacker", to(KeyName="attacker"), {"key-pair"}),
    # Where a manifest names zones, every subnet in them is allowed: `latent iam` says so.
    LaunchAttack("into another subnet", to(SubnetId="subnet-0database"), {"subnet"}, bases=("spot",)),
    LaunchAttack(
        "into another zone", to(Placement__AvailabilityZone=f"{REGION}c"), {"subnet"}, bases=("worker", "rebake")
    ),
    LaunchAttack("into another security group", to(SecurityGroupId__1="sg-0database"), {"security-group"}),
    LaunchAttack("with another security group as well", to(SecurityGroupId__2="sg-0database"), {"security-group"}),
    LaunchAttack(
        "with the instance profile of an administrator",
        to(IamInstanceProfile__Name="admin"),
        {"instance", "admin (passed)"},
    ),
    LaunchAttack(
        "with the profile of the workers",
        to(IamInstanceProfile__Name="windows-activation"),
        {"instance", "windows-activation (passed)"},
        bases=("rebake",),
    ),
    LaunchAttack(
        "in another region",
        nothing,
        EVERYTHING | TAGGED,
        on_spot=frozenset(SPOT_REQUEST | {"key-pair"}),
        account=abroad,
    ),
    LaunchAttack("by the rebake role", nothing, {"instance"} | SPOT_REQUEST, bases=("spot",), role="rebake"),
    LaunchAttack("by the worker role", nothing, {"instance"}, bases=("rebake",), role="worker"),
    LaunchAttack("by the audit role", nothing, EVERYTHING | TAGGED, bases=("rebake",), role="audit"),
]


def what(ask: Ask) -> str:
    """The kind of resource that is asked about, and whether that is its tags."""
    last = ask.resource.split(":")[-1]
    if ask.action == "iam:PassRole":
        return f"{last.split('/')[-1]} (passed)"
    return last.split("/")[0] + (" (tags)" if ask.action == "ec2:CreateTags" else "")


@pytest.mark.parametrize("base", ALL)
def test_an_untouched_launch_is_allowed(
    base: str, recorded: Recorded, granted: dict[str, Role], simulator: Simulator
) -> None:
    untouched = LaunchAttack("", nothing, set())
    role = granted[untouched.who(base)]
    assert [str(ask) for ask in untouched.asks(recorded, base) if not simulator.allows(role, ask)] == []


TRIED = [pytest.param(attack, base, id=f"{base}: {attack.name}") for attack in LAUNCHES for base in attack.bases]


@pytest.mark.parametrize(("attack", "base"), TRIED)
def test_no_launch(
    attack: LaunchAttack, base: str, recorded: Recorded, granted: dict[str, Role], simulator: Simulator
) -> None:
    role = granted[attack.who(base)]
    denied = {what(ask) for ask in attack.asks(recorded, base) if not simulator.allows(role, ask)}
    assert denied == attack.denied | (attack.on_spot if base == "spot" else set())


# Attacks on what is there.

HIJACK = requested({"latent:fleet": "cpython"})
MARK = requested({"latent:mark": "x"})
LEASE = requested({"latent:lease": "2030-01-01T00:00:00Z"})
FROM_REBAKE = requested({"latent:image-origin": "rebake"})
OTHER_FENCE = requested({"latent:fleet": "openzfs", "latent:role": "rebake"})
AT_FENCE = {"ec2:CreateAction": "CreateSecurityGroup"}
AT_IMAGE = {"ec2:CreateAction": "CreateImage"}
READ_USER_DATA = "ec2:DescribeInstanceAttribute"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{KMS_KEY}"
VIA_EC2 = {"kms:ViaService": f"ec2.{REGION}.amazonaws.com"}

# Role, what it does, action, resource, keys.
CALLS: list[tuple[str, str, str, str, dict[str, Any]]] = [
    # The tag hijack: make it ours, then end it.
    ("worker", "take a foreign instance by its tag", "ec2:CreateTags", INSTANCE, {**THEIRS, **HIJACK}),
    ("worker", "take an untagged instance", "ec2:CreateTags", INSTANCE, HIJACK),
    ("worker", "take an instance of another fleet", "ec2:CreateTags", INSTANCE, {**OTHER_FLEET, **HIJACK}),
    ("worker", "take a foreign disk by its tag", "ec2:CreateTags", VOLUME, {**THEIRS, **HIJACK}),
    (
        "worker",
        "take it in the name of another call",
        "ec2:CreateTags",
        INSTANCE,
        {**THEIRS, **HIJACK, "ec2:CreateAction": "CreateVolume"},
    ),
    ("worker", "mark a foreign instance", "ec2:CreateTags", INSTANCE, {**THEIRS, **MARK}),
    (
        "worker",
        "give an own instance to another fleet",
        "ec2:CreateTags",
        INSTANCE,
        {**MINE, **requested({"latent:fleet": "x"})},
    ),
    (
        "worker",
        "hide a forbidden key behind an allowed one",
        "ec2:CreateTags",
        INSTANCE,
        {**MINE, **requested({"latent:lease": "x", "latent:role": "rebake"})},
    ),
    ("worker", "write no tag at all, so that every tag is allowed", "ec2:CreateTags", INSTANCE, MINE),
    (
        "worker",
        "protect a leftover from the sweep",
        "ec2:CreateTags",
        INSTANCE,
        {**MINE, **requested({"latent:keep": "x"})},
    ),
    ("worker", "make an AMI the fleet's by its tag", "ec2:CreateTags", IMAGE, HIJACK),
    ("worker", "mark a snapshot", "ec2:CreateTags", SNAPSHOT, {**ORIGINAL, **MARK}),
    ("worker", "delete tags", "ec2:DeleteTags", INSTANCE, MINE),
    # Foreign instances.
    ("worker", "end a foreign instance", "ec2:TerminateInstances", INSTANCE, THEIRS),
    ("worker", "end an untagged instance", "ec2:TerminateInstances", INSTANCE, {}),
    ("worker", "end an instance of another fleet", "ec2:TerminateInstances", INSTANCE, OTHER_FLEET),
    (
        "worker",
        "end one whose tag differs in case",
        "ec2:TerminateInstances",
        INSTANCE,
        {"aws:ResourceTag/latent:fleet": "CPython"},
    ),
    ("worker", "stop a foreign instance", "ec2:StopInstances", INSTANCE, THEIRS),
    ("worker", "start a foreign instance", "ec2:StartInstances", INSTANCE, THEIRS),
    ("worker", "read a foreign console", "ec2:GetConsoleOutput", INSTANCE, THEIRS),
    (
        "worker",
        "end one in another region",
        "ec2:TerminateInstances",
        own("instance", "i-1", region=OTHER_REGION),
        MINE,
    ),
    (
        "worker",
        "end one in another owner's account",
        "ec2:TerminateInstances",
        own("instance", "i-1", OTHER_ACCOUNT),
        MINE,
    ),
    # User data, and what else an instance is.
    ("worker", "read user data", READ_USER_DATA, INSTANCE, MINE),
    ("audit", "read user data", READ_USER_DATA, INSTANCE, MINE),
    ("worker", "replace user data", "ec2:ModifyInstanceAttribute", INSTANCE, MINE),
    ("worker", "weaken the metadata service", "ec2:ModifyInstanceMetadataOptions", INSTANCE, MINE),
    ("worker", "give a running instance a profile", "ec2:AssociateIamInstanceProfile", INSTANCE, MINE),
    # Leftovers that are not ours.
    ("worker", "delete a foreign disk", "ec2:DeleteVolume", VOLUME, THEIRS),
    ("worker", "delete an untagged disk", "ec2:DeleteVolume", VOLUME, {}),
    (
        "worker",
        "delete a foreign interface",
        "ec2:DeleteNetworkInterface",
        own("network-interface", "eni-1"),
        THEIRS,
    ),
    ("worker", "release a foreign address", "ec2:ReleaseAddress", own("elastic-ip", "eipalloc-1"), THEIRS),
    (
        "worker",
        "cancel a foreign spot request",
        "ec2:CancelSpotInstanceRequests",
        own("spot-instances-request", "sir-1"),
        THEIRS,
    ),
    ("worker", "attach a foreign disk", "ec2:AttachVolume", VOLUME, THEIRS),
    ("worker", "attach a disk of the manifest to a foreign instance", "ec2:AttachVolume", INSTANCE, THEIRS),
    ("worker", "give a foreign instance an address", "ec2:AssociateAddress", INSTANCE, THEIRS),
    (
        "worker",
        "take another address of the owner",
        "ec2:AssociateAddress",
        own("elastic-ip", "eipalloc-other"),
        {"ec2:PublicIpAddress": "192.0.2.77"},
    ),
    # The key of a disk is for EC2 alone.
    ("worker", "read with the key of a disk", "kms:Decrypt", KEY, {}),
    ("worker", "give the key of a disk to somebody", "kms:CreateGrant", KEY, VIA_EC2),
    ("worker", "give it without EC2", "kms:CreateGrant", KEY, {"kms:GrantIsForAWSResource": "true"}),
    ("worker", "use another key of the account", "kms:Decrypt", f"{KEY}0", VIA_EC2),
    # Images are rebake's, and the owner's own are nobody's.
    (
        "worker",
        "deregister an image",
        "ec2:DeregisterImage",
        IMAGE,
        {**ORIGINAL, "aws:ResourceTag/latent:image-origin": "rebake"},
    ),
    ("worker", "delete a snapshot", "ec2:DeleteSnapshot", SNAPSHOT, ORIGINAL),
    ("rebake", "deregister the original image", "ec2:DeregisterImage", IMAGE, ORIGINAL),
    ("rebake", "disable the original image", "ec2:DisableImage", IMAGE, ORIGINAL),
    ("rebake", "delete the original's snapshot", "ec2:DeleteSnapshot", SNAPSHOT, ORIGINAL),
    ("rebake", "delete a foreign snapshot", "ec2:DeleteSnapshot", SNAPSHOT, THEIRS),
    (
        "rebake",
        "pass the original image off as its own",
        "ec2:CreateTags",
        IMAGE,
        {**ORIGINAL, **requested({"latent:fleet": "cpython", "latent:image-origin": "rebake"})},
    ),
    (
        "rebake",
        "mark the original's snapshot",
        "ec2:CreateTags",
        SNAPSHOT,
        {**ORIGINAL, **requested({"latent:retired": "x"})},
    ),
    ("rebake", "make an image of a worker", "ec2:CreateImage", INSTANCE, MINE),
    ("rebake", "make an image of a foreign instance", "ec2:CreateImage", INSTANCE, THEIRS),
    ("rebake", "make an image without the fleet's tag", "ec2:CreateImage", IMAGE, {}),
    ("rebake", "share an image", "ec2:ModifyImageAttribute", IMAGE, ORIGINAL),
    ("rebake", "end a worker", "ec2:TerminateInstances", INSTANCE, MINE),
    ("rebake", "take a foreign instance by its tag", "ec2:CreateTags", INSTANCE, {**THEIRS, **HIJACK}),
    (
        "rebake",
        "run a command on a worker",
        "ssm:SendCommand",
        INSTANCE,
        {"ssm:resourceTag/latent:fleet": "cpython", "ssm:resourceTag/latent:role": "worker"},
    ),
    (
        "rebake",
        "run a document of somebody",
        "ssm:SendCommand",
        f"arn:aws:ssm:{REGION}:{OTHER_ACCOUNT}:document/evil",
        {},
    ),
    # Rebake, and what is another fleet's rebake's or a worker's.
    ("rebake", "renew a builder of another fleet", "ec2:CreateTags", INSTANCE, {**OTHER_BUILDER, **LEASE}),
    ("rebake", "renew a worker", "ec2:CreateTags", INSTANCE, {**MINE, **LEASE}),
    (
        "rebake",
        "make its builder a worker",
        "ec2:CreateTags",
        INSTANCE,
        {**BUILDER, **requested({"latent:role": "worker"})},
    ),
    ("rebake", "write no tag on its builder, so that every tag is allowed", "ec2:CreateTags", INSTANCE, BUILDER),
    ("rebake", "end a builder of another fleet", "ec2:TerminateInstances", INSTANCE, OTHER_BUILDER),
    ("rebake", "make an image of another fleet's builder", "ec2:CreateImage", INSTANCE, OTHER_BUILDER),
    ("rebake", "make an image that is in no fleet", "ec2:CreateImage", IMAGE, FROM_REBAKE),
    ("rebake", "make an image that looks like an original", "ec2:CreateImage", IMAGE, HIJACK),
    ("rebake", "tag a new image without the fleet", "ec2:CreateTags", IMAGE, {**FROM_REBAKE, **AT_IMAGE}),
    ("rebake", "tag a new image without its origin", "ec2:CreateTags", IMAGE, {**HIJACK, **AT_IMAGE}),
    ("rebake", "tag an original while making an image", "ec2:CreateTags", IMAGE, {**ORIGINAL, **AT_IMAGE}),
    (
        "rebake",
        "give its snapshot to another fleet",
        "ec2:CreateTags",
        SNAPSHOT,
        {**BAKED, **requested({"latent:fleet": "x"})},
    ),
    ("rebake", "write no tag on its snapshot, so that every tag is allowed", "ec2:CreateTags", SNAPSHOT, BAKED),
    (
        "rebake",
        "mark another fleet's snapshot",
        "ec2:CreateTags",
        SNAPSHOT,
        {**OTHER_BAKED, **requested({"latent:retired": "x"})},
    ),
    ("rebake", "deregister another fleet's image", "ec2:DeregisterImage", IMAGE, OTHER_BAKED),
    ("rebake", "delete another fleet's snapshot", "ec2:DeleteSnapshot", SNAPSHOT, OTHER_BAKED),
    (
        "rebake",
        "run a command on another fleet's builder",
        "ssm:SendCommand",
        INSTANCE,
        {"ssm:resourceTag/latent:fleet": "openzfs", "ssm:resourceTag/latent:role": "rebake"},
    ),
    # The fence of a builder, and the groups of others.
    ("rebake", "let somebody into a fence", "ec2:AuthorizeSecurityGroupIngress", GROUP, BUILDER),
    ("rebake", "let a group of somebody out", "ec2:AuthorizeSecurityGroupEgress", GROUP, THEIRS),
    ("rebake", "let a group of the fleet's workers out", "ec2:AuthorizeSecurityGroupEgress", GROUP, MINE),
    ("rebake", "close a group of somebody", "ec2:RevokeSecurityGroupIngress", GROUP, THEIRS),
    ("rebake", "delete a group of somebody", "ec2:DeleteSecurityGroup", GROUP, THEIRS),
    ("rebake", "delete a group without tags", "ec2:DeleteSecurityGroup", GROUP, {}),
    ("rebake", "delete another fleet's fence", "ec2:DeleteSecurityGroup", GROUP, OTHER_BUILDER),
    ("rebake", "launch into another fleet's fence", "ec2:RunInstances", GROUP, OTHER_BUILDER),
    ("rebake", "launch into a group of the fleet's workers", "ec2:RunInstances", GROUP, MINE),
    ("rebake", "make a group without a tag", "ec2:CreateSecurityGroup", GROUP, {}),
    ("rebake", "make a group that is no fence", "ec2:CreateSecurityGroup", GROUP, HIJACK),
    ("rebake", "make a fence of another fleet", "ec2:CreateSecurityGroup", GROUP, OTHER_FENCE),
    ("rebake", "tag a new group as another fleet's fence", "ec2:CreateTags", GROUP, {**OTHER_FENCE, **AT_FENCE}),
    ("rebake", "tag a new group as no fence", "ec2:CreateTags", GROUP, {**HIJACK, **AT_FENCE}),
    (
        "rebake",
        "take a group of somebody by its tag",
        "ec2:CreateTags",
        GROUP,
        {**THEIRS, **requested({"latent:fleet": "cpython", "latent:role": "rebake"})},
    ),
    ("worker", "make a group", "ec2:CreateSecurityGroup", GROUP, HIJACK),
    ("worker", "let a fence out", "ec2:AuthorizeSecurityGroupEgress", GROUP, BUILDER),
    ("audit", "delete a fence", "ec2:DeleteSecurityGroup", GROUP, BUILDER),
    # What has become of an image is told on those of rebake alone, and nothing else is.
    (
        "rebake",
        "roll out the original image",
        "ec2:CreateTags",
        IMAGE,
        {**ORIGINAL, **requested({"latent:rollout": "promoted"})},
    ),
    (
        "rebake",
        "give its image to another fleet",
        "ec2:CreateTags",
        IMAGE,
        {**BAKED, **requested({"latent:fleet": "x", "latent:rollout": "promoted"})},
    ),
    (
        "rebake",
        "roll out another fleet's image",
        "ec2:CreateTags",
        IMAGE,
        {**OTHER_BAKED, **requested({"latent:rollout": "promoted"})},
    ),
    ("rebake", "write no tag on its image, so that every tag is allowed", "ec2:CreateTags", IMAGE, BAKED),
    ("rebake", "announce that the original goes", "ec2:EnableImageDeprecation", IMAGE, ORIGINAL),
    ("rebake", "reboot its builder from outside", "ec2:RebootInstances", INSTANCE, BUILDER),
    (
        "rebake",
        "run a command on a canary, which has the worker's secrets in use",
        "ssm:SendCommand",
        INSTANCE,
        {"ssm:resourceTag/latent:fleet": "cpython", "ssm:resourceTag/latent:role": "canary"},
    ),
    (
        "rebake",
        "run a command on a machine that is not in EC2",
        "ssm:SendCommand",
        f"arn:aws:ssm:{REGION}:{ACCOUNT}:managed-instance/mi-0aaaaaaaaaaaaaaaa",
        {"ssm:resourceTag/latent:fleet": "cpython", "ssm:resourceTag/latent:role": "rebake"},
    ),
    (
        "rebake",
        "run a document of the account's own",
        "ssm:SendCommand",
        f"arn:aws:ssm:{REGION}:{ACCOUNT}:document/AWS-RunShellScript",
        {},
    ),
    # IAM cannot bind it to an instance: whoever holds it ends anybody's command.
    ("rebake", "end somebody's command", "ssm:CancelCommand", "*", {"aws:RequestedRegion": REGION}),
    ("rebake", "open a session on its builder", "ssm:StartSession", INSTANCE, BUILDER),
    ("worker", "run a command on its own instance", "ssm:SendCommand", INSTANCE, SSM_MINE),
    ("worker", "see where commands stand", "ssm:GetCommandInvocation", "*", {"aws:RequestedRegion": REGION}),
    # Other ways in.
    (
        "worker",
        "ask for spot without tags",
        "ec2:RequestSpotInstances",
        own("spot-instances-request", "sir-1"),
        {},
    ),
    ("worker", "open a security group", "ec2:AuthorizeSecurityGroupIngress", own("security-group", "sg-1"), {}),
    ("worker", "make a key pair", "ec2:CreateKeyPair", own("key-pair", "attacker"), {}),
    (
        "worker",
        "pass another role",
        "iam:PassRole",
        f"arn:aws:iam::{ACCOUNT}:role/admin",
        {"iam:PassedToService": "ec2.amazonaws.com"},
    ),
    (
        "worker",
        "pass the profile's role to another service",
        "iam:PassRole",
        f"arn:aws:iam::{ACCOUNT}:role/windows-activation",
        {"iam:PassedToService": "lambda.amazonaws.com"},
    ),
    (
        "rebake",
        "pass the builder's role to another service",
        "iam:PassRole",
        f"arn:aws:iam::{ACCOUNT}:role/latent-rebake-instance",
        {"iam:PassedToService": "lambda.amazonaws.com"},
    ),
    ("worker", "widen itself", "iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/latent-worker", {}),
    ("worker", "become another role", "sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/admin", {}),
    ("worker", "look at another region", "ec2:DescribeInstances", "*", {"aws:RequestedRegion": OTHER_REGION}),
    ("rebake", "look at another region", "ec2:DescribeImages", "*", {"aws:RequestedRegion": OTHER_REGION}),
    ("audit", "look at another region", "ec2:DescribeImages", "*", {"aws:RequestedRegion": OTHER_REGION}),
    ("audit", "end an instance of the fleet", "ec2:TerminateInstances", INSTANCE, MINE),
    ("audit", "mark an instance of the fleet", "ec2:CreateTags", INSTANCE, {**MINE, **MARK}),
    (
        "audit",
        "raise a quota",
        "servicequotas:RequestServiceQuotaIncrease",
        f"arn:aws:servicequotas:{REGION}:{ACCOUNT}:ec2/L-1216C47A",
        {},
    ),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]}: {call[1]}")
def test_nobody_can(
    call: tuple[str, str, str, str, dict[str, Any]], granted: dict[str, Role], simulator: Simulator
) -> None:
    role, _, action, resource, context = call
    account = OTHER_ACCOUNT if OTHER_ACCOUNT in resource else ACCOUNT
    assert not simulator.allows(granted[role], Ask(action, resource, dict(context), account))


# Who gets in.

SAID = {"sts:ExternalId": EXTERNAL_ID, "sts:RoleSessionName": "latent-serve-main"}
STRANGERS = [
    ("another principal of the master's account", "arn:aws:iam::999999999999:role/intern", SAID),
    ("a principal of the owner's account", f"arn:aws:iam::{ACCOUNT}:role/intern", SAID),
    ("another account", "arn:aws:iam::666666666666:role/latent-master", SAID),
    ("the master without an external id", PRINCIPAL, {"sts:RoleSessionName": "latent-serve-main"}),
    ("the master with another owner's external id", PRINCIPAL, {**SAID, "sts:ExternalId": "latent-of-bob"}),
    (
        "the master under a name that says nothing",
        PRINCIPAL,
        {**SAID, "sts:RoleSessionName": "botocore-session-1"},
    ),
]


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda stranger: stranger[0])
def test_nobody_else_gets_in(
    stranger: tuple[str, str, dict[str, str]], granted: dict[str, Role], simulator: Simulator
) -> None:
    _, principal, context = stranger
    for role in granted.values():
        assert not simulator.lets_in(role, principal, dict(context))


# Every condition counts.


def all_denied(recorded: Recorded, roles: dict[str, Role], simulator: Simulator, purpose: str) -> list[Ask]:
    """Everything that the attacks above ask of one role and are denied."""
    asks = [Ask(call[2], call[3], dict(call[4])) for call in CALLS if call[0] == purpose]
    for attack in LAUNCHES:
        for base in attack.bases:
            if attack.who(base) == purpose:
                asks += attack.asks(recorded, base)
    distinct = list({str(ask): ask for ask in asks}.values())
    return [ask for ask in distinct if not simulator.allows(roles[purpose], ask)]


def weakened(role: Role) -> Iterator[tuple[str, list[str], Role]]:
    """The role with one key of one condition removed, as often as there are keys: where, and which actions."""
    for at, statement in enumerate(role.policy["Statement"]):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        for operator, keys in statement.get("Condition", {}).items():
            for key in keys:
                policy = copy.deepcopy(role.policy)
                condition = policy["Statement"][at]["Condition"]
                del condition[operator][key]
                if not condition[operator]:
                    del condition[operator]
                yield f"{statement['Sid']}: {operator} {key}", actions, replace(role, policy=policy)


@pytest.mark.parametrize("purpose", ["worker", "rebake", "audit"])
def test_every_condition_denies_an_attack_that_nothing_else_denies(
    purpose: str, recorded: Recorded, granted: dict[str, Role], simulator: Simulator
) -> None:
    denied = all_denied(recorded, granted, simulator, purpose)
    assert denied
    idle = [
        where
        for where, actions, role in weakened(granted[purpose])
        if not any(simulator.allows(role, ask) for ask in denied if ask.action in actions)
    ]
    assert not idle, "\n".join(idle)
