"""Images take minutes, own their snapshots, and may be withdrawn."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from account import OTHER_REGION, REGION, Account, named, refused, tag_specs, tags_of


def bake(account: Account, name: str = "baked", **options: Any) -> str:
    """Asks for an image of a running instance; its id, while it is still pending."""
    made = account.ec2.create_image(InstanceId=account.running(), Name=name, NoReboot=True, **options)
    return str(made["ImageId"])


def show(ec2: Any, image: str) -> dict[str, Any]:
    """An image as EC2 shows it."""
    return dict(ec2.describe_images(ImageIds=[image])["Images"][0])


def ready(account: Account, image: str, ec2: Any = None) -> dict[str, Any]:
    """Lets time pass until the image can be used."""

    def available() -> Any:
        shown = show(ec2 or account.ec2, image)
        return shown if shown["State"] == "available" else None

    return dict(account.until(available, 3 * 3600))


def snapshots_of(shown: dict[str, Any]) -> list[str]:
    """The snapshots behind an image."""
    return [disk["Ebs"]["SnapshotId"] for disk in shown["BlockDeviceMappings"] if "Ebs" in disk]


def test_an_image_takes_its_time_and_is_tagged_with_its_snapshots_from_birth(account: Account) -> None:
    image = bake(account, TagSpecifications=tag_specs("image", "snapshot", operation="bake-1"))
    first = show(account.ec2, image)
    assert first["State"] == "pending"
    assert tags_of(first) == {"operation": "bake-1"}
    with refused("InvalidAMIID.Unavailable"):
        account.launch(ImageId=image)
    shown = ready(account, image)
    (snapshot,) = snapshots_of(shown)
    (described,) = account.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert described["State"] == "completed"
    assert tags_of(described) == {"operation": "bake-1"}
    assert account.launch(ImageId=image)


def test_snapshots_are_found_by_their_tags(account: Account) -> None:
    image = bake(account, TagSpecifications=tag_specs("snapshot", operation="bake-1"))
    wanted = snapshots_of(ready(account, image))
    found = account.ec2.describe_snapshots(OwnerIds=["self"], Filters=named("tag:operation", "bake-1"))[
        "Snapshots"
    ]
    assert [one["SnapshotId"] for one in found] == wanted


def test_a_name_is_given_once(account: Account) -> None:
    image = bake(account)
    with refused("InvalidAMIName.Duplicate") as refusal:
        bake(account)
    assert image in str(refusal.value)
    with refused("InvalidAMIName.Duplicate"):
        account.register("baked")
    found = account.ec2.describe_images(Owners=["self"], Filters=named("name", "baked"))["Images"]
    assert [one["ImageId"] for one in found] == [image]


def test_names_are_free_between_accounts(account: Account, other: Account) -> None:
    assert account.register("same") != other.register("same")


def test_a_deregistered_image_is_gone_and_its_snapshots_stay(account: Account) -> None:
    image = bake(account)
    (snapshot,) = snapshots_of(ready(account, image))
    with refused("InvalidSnapshot.InUse"):
        account.ec2.delete_snapshot(SnapshotId=snapshot)
    account.ec2.deregister_image(ImageId=image)
    account.until(lambda: gone(account, image))
    with refused("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"):
        account.launch(ImageId=image)
    assert account.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    account.ec2.delete_snapshot(SnapshotId=snapshot)
    with refused("InvalidSnapshot.NotFound"):
        account.ec2.describe_snapshots(SnapshotIds=[snapshot])
    # And its name may be given again.
    assert account.register("baked")


def gone(account: Account, image: str) -> bool:
    """Whether no listing shows the image any more."""
    return not account.ec2.describe_images(Owners=["self"], Filters=named("image-id", image))["Images"]


def test_a_copy_in_another_region_is_an_image_of_its_own(account: Account) -> None:
    source = bake(account)
    ready(account, source)
    there = account.client(region=OTHER_REGION)
    request = {"Name": "copied", "SourceImageId": source, "SourceRegion": account.ec2.meta.region_name}
    copy = there.copy_image(**request, ClientToken="copy-1")["ImageId"]
    assert there.copy_image(**request, ClientToken="copy-1")["ImageId"] == copy != source
    assert show(there, copy)["State"] == "pending"
    shown = ready(account, copy, there)
    assert snapshots_of(shown) and snapshots_of(shown) != snapshots_of(show(account.ec2, source))
    with refused("InvalidAMIID.NotFound"):
        show(account.ec2, copy)


def test_a_deprecated_image_still_launches(account: Account) -> None:
    moment = datetime.now(timezone.utc) + timedelta(days=30)
    account.ec2.enable_image_deprecation(ImageId=account.image, DeprecateAt=moment)
    shown = show(account.ec2, account.image)
    assert shown["DeprecationTime"].startswith(moment.strftime("%Y-%m-%dT%H:%M"))
    assert account.launch()


def test_a_disabled_image_does_not_launch(account: Account) -> None:
    account.ec2.disable_image(ImageId=account.image)
    with refused("InvalidAMIID.Unavailable", "InvalidAMIID.NotFound"):
        account.launch()


def test_images_of_others_are_not_seen(account: Account, other: Account) -> None:
    image = account.image
    with refused("InvalidAMIID.NotFound", "AuthFailure"):
        other.ec2.describe_images(ImageIds=[image])
    with refused("InvalidAMIID.NotFound", "AuthFailure"):
        other.launch(ImageId=image)


def test_what_is_not_there_cannot_be_baked_or_withdrawn(account: Account) -> None:
    with refused("InvalidInstanceID.NotFound"):
        account.ec2.create_image(InstanceId="i-0123456789abcdef0", Name="baked")
    with refused("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"):
        account.ec2.deregister_image(ImageId="ami-0123456789abcdef0")


def test_an_image_may_be_pending_for_most_of_a_day(account: Account) -> None:
    account.control.next_image(account.id, REGION, pending_seconds=20 * 3600)
    slow, usual = bake(account, "slow"), bake(account, "usual")
    ready(account, usual)
    account.control.advance(16 * 3600)
    assert show(account.ec2, slow)["State"] == "pending"
    account.control.advance(5 * 3600)
    assert show(account.ec2, slow)["State"] == "available"


def test_an_image_may_fail_and_keeps_its_name_until_it_is_withdrawn(account: Account) -> None:
    account.control.next_image(account.id, REGION, pending_seconds=60, fails=True)
    image = bake(account, "unlucky")
    account.control.advance(120)
    assert show(account.ec2, image)["State"] == "failed"
    with refused("InvalidAMIID.Unavailable"):
        account.launch(ImageId=image)
    with refused("InvalidAMIName.Duplicate"):
        bake(account, "unlucky")
    account.ec2.deregister_image(ImageId=image)
    assert ready(account, bake(account, "unlucky"))["State"] == "available"


def test_a_protected_image_is_not_withdrawn(account: Account) -> None:
    account.ec2.enable_image_deregistration_protection(ImageId=account.image)
    with refused("OperationNotPermitted"):
        account.ec2.deregister_image(ImageId=account.image)
    account.ec2.disable_image_deregistration_protection(ImageId=account.image)
    account.ec2.deregister_image(ImageId=account.image)


def test_a_builder_that_powers_itself_off_is_stopped_and_baked(account: Account) -> None:
    builder = account.running(InstanceInitiatedShutdownBehavior="stop")
    account.control.power_off(builder)
    account.reach(builder, "stopped")
    image = account.ec2.create_image(InstanceId=builder, Name="of-a-stopped-one")["ImageId"]
    assert snapshots_of(ready(account, image))


def test_versions_of_a_template_are_told_and_launched(account: Account) -> None:
    def data(image: str) -> dict[str, str]:
        return {"ImageId": image, "InstanceType": "m5.large"}

    ec2 = account.ec2
    made = ec2.create_launch_template(
        LaunchTemplateName="workers", LaunchTemplateData=data("ami-0123456789abcdef0")
    )
    template = made["LaunchTemplate"]["LaunchTemplateId"]
    second = ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData=data(account.image))
    assert second["LaunchTemplateVersion"]["VersionNumber"] == 2
    third = ec2.create_launch_template_version(
        LaunchTemplateName="workers", SourceVersion="2", LaunchTemplateData={"KeyName": "somebody"}
    )
    said = third["LaunchTemplateVersion"]["LaunchTemplateData"]
    assert said == {**data(account.image), "KeyName": "somebody"}

    def numbers(**what: Any) -> list[int]:
        found = ec2.describe_launch_template_versions(**what)["LaunchTemplateVersions"]
        return [one["VersionNumber"] for one in found]

    assert numbers(LaunchTemplateId=template) == [1, 2, 3]
    assert numbers(LaunchTemplateName="workers", Versions=["$Latest", "1"]) == [1, 3]
    assert numbers(Versions=["$Latest"]) == [3]
    with refused("InvalidLaunchTemplateId.VersionNotFound"):
        numbers(LaunchTemplateId=template, Versions=["4"])
    named = {"LaunchTemplateId": template, "Version": "2"}
    (launched,) = ec2.run_instances(LaunchTemplate=named, MinCount=1, MaxCount=1)["Instances"]
    assert launched["ImageId"] == account.image
    with refused("InvalidAMIID.NotFound"):
        ec2.run_instances(LaunchTemplate={"LaunchTemplateId": template}, MinCount=1, MaxCount=1)

    told = ec2.describe_image_references(ImageIds=[account.image], IncludeAllResourceTypes=True)["ImageReferences"]
    kinds = {(one["ResourceType"], one["Arn"].rsplit("/", 1)[-1]) for one in told}
    assert kinds == {("ec2:Instance", launched["InstanceId"]), ("ec2:LaunchTemplate", template)}
