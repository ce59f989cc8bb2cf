"""Every call that the code makes is allowed, with the parameters that it really sent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from iam_calls import Form, requested
from iam_fleet import ACCOUNT, EXTERNAL_ID, KMS_KEY, PRINCIPAL, REGION, Recorded
from iam_simulator import Ask, Role, Simulator

# What is called in a day of launches, renewals, a stop, a start, an end, and a sweep.
CALLED = {
    "AssociateAddress",
    "AttachVolume",
    "CreateTags",
    "DescribeAddresses",
    "DescribeImages",
    "DescribeInstances",
    "DescribeNetworkInterfaces",
    "DescribeSnapshots",
    "DescribeSpotInstanceRequests",
    "DescribeVolumes",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
}
# STS knows who asks; it asks IAM about the first only, and that by the trust policy.
OF_STS = {"AssumeRole", "GetCallerIdentity"}


def denied(simulator: Simulator, role: Role, asks: list[Ask]) -> list[str]:
    """What of it the role may not."""
    return [str(ask) for ask in asks if not simulator.allows(role, ask)]


def test_the_recorded_day_holds_every_kind_of_call(recorded: Recorded) -> None:
    assert {action for action, _ in recorded.calls} == CALLED | OF_STS
    assert len(recorded.of("RunInstances")) >= 2


@pytest.mark.parametrize("action", sorted(CALLED))
def test_what_the_controller_called_is_allowed(
    action: str, recorded: Recorded, granted: dict[str, Role], simulator: Simulator
) -> None:
    forms = recorded.of(action)
    asks = [ask for form in forms for ask in recorded.account.asks(action, form)]
    assert asks
    assert not denied(simulator, granted["worker"], asks)


def test_the_role_was_assumed_as_its_trust_policy_demands(
    recorded: Recorded, granted: dict[str, Role], simulator: Simulator
) -> None:
    forms = recorded.of("AssumeRole")
    assert {form["RoleArn"] for form in forms} == {granted["worker"].arn}
    assert {form["RoleSessionName"] for form in forms} == {"latent-serve-main", "latent-sweep"}
    for form in forms:
        assert form["ExternalId"] == EXTERNAL_ID
        said = {"sts:ExternalId": form["ExternalId"], "sts:RoleSessionName": form["RoleSessionName"]}
        assert simulator.lets_in(granted["worker"], PRINCIPAL, said)


@pytest.mark.parametrize("command", ["doctor", "sweep", "rebake", "audit"])
def test_every_subcommand_may_assume_a_role(command: str, granted: dict[str, Role], simulator: Simulator) -> None:
    for role in granted.values():
        said = {"sts:ExternalId": EXTERNAL_ID, "sts:RoleSessionName": f"latent-{command}-main"}
        assert simulator.lets_in(role, PRINCIPAL, said)


MINE = {"aws:ResourceTag/latent:fleet": "cpython", "aws:ResourceTag/latent:owner": "alice"}
HERE = {"aws:RequestedRegion": REGION}
BUILDER = {**MINE, "aws:ResourceTag/latent:role": "rebake"}
BAKED = {**MINE, "aws:ResourceTag/latent:image-origin": "rebake"}
FENCED = requested({"latent:fleet": "cpython", "latent:role": "rebake"})
BORN = requested({"latent:fleet": "cpython", "latent:image-origin": "rebake", "latent:owner": "alice"})


def arn(kind: str, name: str) -> str:
    return f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/{name}"


def shared(kind: str, name: str) -> str:
    return f"arn:aws:ec2:{REGION}::{kind}/{name}"


def marked(key: str, of: dict[str, str]) -> dict[str, object]:
    return {**of, **requested({key: "2026-03-02T08:00:00Z"})}


# EC2 uses the key of a disk in the name of whoever launches.
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{KMS_KEY}"
VIA = {"kms:ViaService": f"ec2.{REGION}.amazonaws.com"}

# What other subcommands call beside what `serve` does: role, action, resource, keys.
OTHER_CALLS = [
    ("worker", "ec2:CreateTags", arn("instance", "i-1"), marked("latent:mark", MINE)),
    ("worker", "ec2:CreateTags", arn("volume", "vol-1"), marked("latent:mark", MINE)),
    ("worker", "ec2:CreateTags", arn("network-interface", "eni-1"), marked("latent:mark", MINE)),
    ("worker", "ec2:CreateTags", arn("elastic-ip", "eipalloc-1"), marked("latent:mark", MINE)),
    ("worker", "ec2:DeleteVolume", arn("volume", "vol-1"), MINE),
    ("worker", "ec2:DeleteNetworkInterface", arn("network-interface", "eni-1"), MINE),
    ("worker", "ec2:ReleaseAddress", arn("elastic-ip", "eipalloc-1"), MINE),
    ("worker", "ec2:CancelSpotInstanceRequests", arn("spot-instances-request", "sir-1"), MINE),
    ("worker", "ec2:GetConsoleOutput", arn("instance", "i-1"), MINE),
    ("worker", "kms:GenerateDataKeyWithoutPlaintext", KEY, VIA),
    ("worker", "kms:CreateGrant", KEY, {**VIA, "kms:GrantIsForAWSResource": "true"}),
    # A builder that a rebake left behind.
    ("worker", "ec2:TerminateInstances", arn("instance", "i-1"), BUILDER),
    ("worker", "ec2:DescribeRegions", "*", {}),
    ("worker", "servicequotas:GetServiceQuota", f"arn:aws:servicequotas:{REGION}:{ACCOUNT}:ec2/L-1216C47A", HERE),
    ("rebake", "ec2:CreateImage", arn("instance", "i-1"), BUILDER),
    ("rebake", "ec2:CreateImage", shared("image", "ami-new"), BORN),
    ("rebake", "ec2:CreateImage", shared("snapshot", "snap-new"), BORN),
    ("rebake", "ec2:CreateTags", shared("image", "ami-new"), {**BORN, "ec2:CreateAction": "CreateImage"}),
    ("rebake", "ec2:CreateTags", shared("snapshot", "snap-new"), {**BORN, "ec2:CreateAction": "CreateImage"}),
    ("rebake", "ec2:CreateTags", shared("snapshot", "snap-1"), marked("latent:retired", BAKED)),
    ("rebake", "ec2:CreateTags", arn("instance", "i-1"), marked("latent:lease", BUILDER)),
    ("rebake", "ec2:DeregisterImage", shared("image", "ami-1"), BAKED),
    ("rebake", "ec2:DisableImage", shared("image", "ami-1"), BAKED),
    ("rebake", "ec2:DeleteSnapshot", shared("snapshot", "snap-1"), BAKED),
    ("rebake", "ec2:TerminateInstances", arn("instance", "i-1"), BUILDER),
    # The fence of a builder: born tagged, put right, launched into, taken down.
    ("rebake", "ec2:CreateSecurityGroup", arn("security-group", "sg-new"), FENCED),
    ("rebake", "ec2:CreateSecurityGroup", arn("vpc", "vpc-1"), FENCED),
    (
        "rebake",
        "ec2:CreateTags",
        arn("security-group", "sg-new"),
        {**FENCED, "ec2:CreateAction": "CreateSecurityGroup"},
    ),
    ("rebake", "ec2:AuthorizeSecurityGroupEgress", arn("security-group", "sg-1"), BUILDER),
    ("rebake", "ec2:RevokeSecurityGroupEgress", arn("security-group", "sg-1"), BUILDER),
    ("rebake", "ec2:RevokeSecurityGroupIngress", arn("security-group", "sg-1"), BUILDER),
    ("rebake", "ec2:DeleteSecurityGroup", arn("security-group", "sg-1"), BUILDER),
    ("rebake", "ec2:RunInstances", arn("security-group", "sg-1"), BUILDER),
    ("rebake", "ec2:CreateTags", shared("image", "ami-1"), marked("latent:rollout", BAKED)),
    ("rebake", "ec2:EnableImage", shared("image", "ami-1"), BAKED),
    ("rebake", "ec2:EnableImageDeprecation", shared("image", "ami-1"), BAKED),
    ("rebake", "ec2:DisableImageDeprecation", shared("image", "ami-1"), BAKED),
    (
        "rebake",
        "ssm:SendCommand",
        arn("instance", "i-1"),
        {"ssm:resourceTag/latent:fleet": "cpython", "ssm:resourceTag/latent:role": "rebake"},
    ),
    # The documents of AWS itself have no account in their ARNs; the evaluator takes none without.
    ("audit", "cloudtrail:LookupEvents", "*", HERE),
    ("audit", "pricing:GetProducts", "*", {"aws:RequestedRegion": "us-east-1"}),
    ("audit", "ce:GetCostAndUsage", "*", {"aws:RequestedRegion": "us-east-1"}),
]


@pytest.mark.parametrize("call", OTHER_CALLS, ids=lambda call: f"{call[0]}-{call[1]}-{call[2].split(':')[-1]}")
def test_what_other_subcommands_call_is_allowed(
    call: tuple[str, str, str, dict[str, object]], granted: dict[str, Role], simulator: Simulator
) -> None:
    role, action, resource, context = call
    assert simulator.allows(granted[role], Ask(action, resource, dict(context)))


def looks(role: Role) -> list[str]:
    """What the role may look at, by its own words."""
    statement = next(one for one in role.policy["Statement"] if one["Sid"] == "Look")
    return list(statement["Action"])


@pytest.mark.parametrize("purpose", ["worker", "rebake", "audit"])
def test_every_listing_works_in_the_regions_of_the_manifests(
    purpose: str, granted: dict[str, Role], simulator: Simulator
) -> None:
    asks = [Ask(action, "*", {"aws:RequestedRegion": REGION}) for action in looks(granted[purpose])]
    assert len(asks) >= 5
    assert not denied(simulator, granted[purpose], asks)


def test_a_canary_is_launched_from_an_image_that_rebake_made_by_rebake_and_by_the_controller(
    recorded: Recorded, granted: dict[str, Role], simulator: Simulator
) -> None:
    form: Form = recorded.launch("on-demand")
    del form["IamInstanceProfile.Name"]
    canary = {key: "canary" if value == "worker" else value for key, value in form.items()}
    canary["ImageId"] = "ami-0baked"
    image = next(iter(recorded.account.images.values()))
    tags = {"latent:fleet": "cpython", "latent:image-origin": "rebake"}
    images = {**recorded.account.images, "ami-0baked": {**image, "tags": tags}}
    account = replace(recorded.account, images=images)
    assert not denied(simulator, granted["rebake"], account.launch(canary))
    assert not denied(simulator, granted["worker"], account.launch(canary))
    # And the worker role may start it once it is in the manifest, or carries the fleet's tag.
    worker = {**form, "ImageId": "ami-0baked"}
    assert not denied(simulator, granted["worker"], account.launch(worker))
