"""What a check-up of an account asks: dry runs, permissions, quotas, and the account's own settings."""

from __future__ import annotations

import email.utils
import time
from typing import Any

import pytest
from account import REGION, TYPE, Account, refused
from botocore.exceptions import ClientError

OURS = {"latent:fleet": "f"}
TAGS = [{"Key": "latent:fleet", "Value": "f"}]
STANDARD, STANDARD_SPOT = "L-1216C47A", "L-34B43A08"


def code_of(call: Any, **parameters: Any) -> str:
    """The code of a refusal, or the empty text."""
    try:
        call(**parameters)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def tagged() -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": TAGS} for kind in ("instance", "volume")]


def test_a_dry_run_does_nothing_and_says_so_in_the_trace(account: Account) -> None:
    image = account.image
    last = account.control.trace()["count"]
    launch = {"ImageId": image, "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1, "DryRun": True}
    assert code_of(account.ec2.run_instances, **launch) == "DryRunOperation"
    assert code_of(account.ec2.run_instances, **{**launch, "ImageId": "ami-00000000"}) == "InvalidAMIID.NotFound"
    assert code_of(account.ec2.describe_instances, DryRun=True) == "DryRunOperation"
    assert account.list() == []
    seen = [
        (one["what"], one["subject"])
        for one in account.control.trace(last)["events"]
        if one["place"].startswith(account.id)
    ]
    assert seen[0] == ("RunInstances", f"dry run {image}")
    assert [what for what, _ in seen] == ["RunInstances", "RunInstances", "DescribeInstances", "DescribeInstances"]
    assert [subject.startswith("dry run") for _, subject in seen] == [True, True, True, False]


def test_an_allow_list_refuses_what_is_not_in_it(account: Account) -> None:
    image, other = account.image, account.running()
    mine = account.running(TagSpecifications=tagged())
    account.control.allow(
        account.id,
        [
            {"actions": ["Describe*"]},
            {"actions": ["RunInstances"], "request_tags": OURS, "parameters": {"InstanceType": [TYPE]}},
            {"actions": ["TerminateInstances", "CreateTags"], "resource_tags": OURS},
        ],
    )
    try:
        launch = {"ImageId": image, "InstanceType": TYPE, "MinCount": 1, "MaxCount": 1, "DryRun": True}
        run = account.ec2.run_instances
        assert code_of(run, **launch) == "UnauthorizedOperation"
        assert code_of(run, **launch, TagSpecifications=tagged()) == "DryRunOperation"
        half = [*tagged(), {"ResourceType": "network-interface", "Tags": [{"Key": "a", "Value": "b"}]}]
        assert code_of(run, **launch, TagSpecifications=half) == "UnauthorizedOperation"
        larger = {**launch, "InstanceType": "m5.xlarge", "TagSpecifications": tagged()}
        assert code_of(run, **larger) == "UnauthorizedOperation"
        terminate = account.ec2.terminate_instances
        assert code_of(terminate, InstanceIds=[mine], DryRun=True) == "DryRunOperation"
        assert code_of(terminate, InstanceIds=[mine, other], DryRun=True) == "UnauthorizedOperation"
        assert code_of(terminate, InstanceIds=["i-0123456789abcdef0"]) == "UnauthorizedOperation"
        assert code_of(account.ec2.create_tags, Resources=[other], Tags=TAGS) == "UnauthorizedOperation"
        assert code_of(account.ec2.create_key_pair, KeyName="k") == "UnauthorizedOperation"
        quotas = account.client("service-quotas")
        assert code_of(quotas.get_service_quota, ServiceCode="ec2", QuotaCode=STANDARD) == "AccessDeniedException"
    finally:
        account.control.allow(account.id, None)
    assert code_of(account.ec2.create_key_pair, KeyName="k", DryRun=True) == "DryRunOperation"


def test_quotas_are_told_by_their_codes(account: Account) -> None:
    quotas = account.client("service-quotas")
    account.control.quota(account.id, REGION, 5)
    told = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=STANDARD)["Quota"]
    assert (told["Value"], told["QuotaCode"], told["Adjustable"]) == (5.0, STANDARD, True)
    assert "Spot" in quotas.get_service_quota(ServiceCode="ec2", QuotaCode=STANDARD_SPOT)["Quota"]["QuotaName"]
    with refused("VcpuLimitExceeded"):
        account.launch(InstanceType="c5.2xlarge")
    for service, code in (("ec2", "L-00000000"), ("vpc", STANDARD)):
        with pytest.raises(quotas.exceptions.NoSuchResourceException):
            quotas.get_service_quota(ServiceCode=service, QuotaCode=code)
    assert code_of(quotas.list_services) == "UnknownOperationException"


def test_the_accounts_defaults_for_metadata_hold_for_launches_that_say_nothing(account: Account) -> None:
    ec2 = account.ec2
    assert ec2.get_instance_metadata_defaults()["AccountLevel"] == {"ManagedBy": "account"}
    ec2.modify_instance_metadata_defaults(
        HttpTokens="required", HttpPutResponseHopLimit=2, HttpEndpoint="disabled"
    )
    level = ec2.get_instance_metadata_defaults()["AccountLevel"]
    assert (level["HttpTokens"], level["HttpPutResponseHopLimit"], level["HttpEndpoint"]) == (
        "required",
        2,
        "disabled",
    )
    options = account.describe(account.launch())["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 2)
    assert options["HttpEndpoint"] == "disabled"
    said = account.launch(MetadataOptions={"HttpTokens": "optional", "HttpEndpoint": "enabled"})
    options = account.describe(said)["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpEndpoint"]) == ("optional", "enabled")
    ec2.modify_instance_metadata_defaults(HttpTokens="no-preference", HttpPutResponseHopLimit=-1)
    level = ec2.get_instance_metadata_defaults()["AccountLevel"]
    assert level == {"HttpEndpoint": "disabled", "ManagedBy": "account"}
    with refused("InvalidParameterValue"):
        ec2.modify_instance_metadata_defaults(HttpPutResponseHopLimit=65)


def test_an_image_says_how_it_boots_and_who_may_launch_it(account: Account) -> None:
    ec2 = account.ec2
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}
    image = ec2.register_image(
        Name="uefi",
        Architecture="arm64",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[disk],
        BootMode="uefi",
        ImdsSupport="v2.0",
    )["ImageId"]
    (shown,) = ec2.describe_images(ImageIds=[image])["Images"]
    assert (shown["BootMode"], shown["ImdsSupport"], shown["Public"]) == ("uefi", "v2.0", False)
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"Group": "all"}]})
    assert ec2.describe_images(ImageIds=[image])["Images"][0]["Public"]
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Remove": [{"Group": "all"}]})
    assert not ec2.describe_images(ImageIds=[image])["Images"][0]["Public"]
    with refused("UnsupportedOperation"):
        ec2.modify_image_attribute(ImageId=image, Description={"Value": "x"})


def test_types_say_what_they_are_built_on(account: Account) -> None:
    names = ["m1.small", "m5.large", "c7g.xlarge"]
    shown = {
        one["InstanceType"]: one
        for one in account.ec2.describe_instance_types(InstanceTypes=names)["InstanceTypes"]
    }
    assert [shown[name]["Hypervisor"] for name in names] == ["xen", "nitro", "nitro"]
    assert [shown[name]["NetworkInfo"]["EnaSupport"] for name in names] == ["unsupported", "required", "required"]
    assert [shown[name]["SupportedBootModes"] for name in names] == [
        ["legacy-bios"],
        ["legacy-bios", "uefi"],
        ["uefi"],
    ]


def test_a_clock_that_is_off_is_in_the_answer_and_far_off_refuses(slow: Account) -> None:
    def ahead() -> float:
        answer = slow.client("sts").get_caller_identity()
        date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
        return float(email.utils.parsedate_to_datetime(date).timestamp() - time.time())

    assert abs(ahead()) < 5
    try:
        slow.control.skew(300)
        assert 290 < ahead() < 310
        slow.control.skew(1000)
        assert code_of(slow.client("ec2").describe_regions) == "RequestExpired"
    finally:
        slow.control.skew(0)
