"""The arguments of Buildbot's own class, and what the controller is told of them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from buildbot.process.properties import Interpolate
from buildbot_latent import options


def given(**changed: Any) -> dict[str, Any]:
    base = {"instance_type": "m5.large", "ami": "ami-1", "region": "us-west-2"}
    return {**options.DEFAULTS, **base, **changed}


def said(**changed: Any) -> dict[str, Any]:
    return options.declaration(given(**changed), 600, None)


def image(**changed: Any) -> dict[str, Any]:
    return dict(said(**changed)["image"])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's keys and nobody's region."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_least_that_can_be_said() -> None:
    assert said() == {
        "owner": "environment",
        "credentials": {"environment": True},
        "image": {
            "region": "us-west-2",
            "ami": "ami-1",
            "instance_types": ["m5.large"],
            "market": ["on-demand"],
        },
        "user_data": None,
        "policy": {"idle_timeout": "600s"},
    }


@pytest.mark.parametrize(
    ("argument", "value", "key", "told"),
    [
        ("keypair_name", "key", "key_pair", "key"),
        ("security_name", "group", "security_group_names", ["group"]),
        ("security_group_ids", ["sg-1", "sg-2"], "security_groups", ["sg-1", "sg-2"]),
        ("subnet_id", "subnet-1", "subnets", [{"id": "subnet-1"}]),
        ("placement", "b", "zones", ["us-west-2b"]),
        ("instance_profile_name", "builder", "instance_profile", "builder"),
        ("elastic_ip", "203.0.113.9", "elastic_ip", "203.0.113.9"),
        ("volumes", [("vol-1", "/dev/sdf")], "volumes", [{"id": "vol-1", "device": "/dev/sdf"}]),
        ("tags", {"team": "ci", "n": 1}, "tags", ["team=ci", "n=1"]),
        ("product_description", "Windows", "platform", "windows"),
        ("user_data", "<powershell>\n</powershell>", "platform", "windows"),
    ],
)
def test_an_argument_keeps_its_meaning(argument: str, value: Any, key: str, told: Any) -> None:
    assert image(**{argument: value})[key] == told
    assert key not in image()


def test_a_subnet_lies_in_a_zone_already() -> None:
    assert "zones" not in image(subnet_id="subnet-1", placement="b")


@pytest.mark.parametrize("owner", [12345678901, "012345678901"])
def test_the_number_of_an_owner_keeps_its_leading_zeros(owner: Any) -> None:
    told = image(ami=None, valid_ami_owners=owner, valid_ami_location_regex=r"(\d+)")
    assert told["ami_owners"] == ["012345678901"]
    assert told["ami_location"] == r"(\d+)"
    assert "ami" not in told


def test_several_owners_of_amis() -> None:
    assert image(ami=None, valid_ami_owners=[1, "amazon"])["ami_owners"] == ["000000000001", "amazon"]


def test_a_spot_instance_has_its_highest_price_and_no_other_market() -> None:
    told = image(spot_instance=True, max_spot_price=0.25)
    assert (told["market"], told["spot_price_max"]) == (["spot"], "0.25")
    assert "spot_price_max" not in image(spot_instance=True, max_spot_price=None)
    assert image(spot_instance=True)["spot_price_max"] == "1.6"


def test_disks_are_said_in_our_words() -> None:
    disks = [
        {
            "DeviceName": "/dev/sda1",
            "Ebs": {
                "SnapshotId": "snap-1",
                "VolumeSize": 40,
                "VolumeType": "gp3",
                "Iops": 3000,
                "Throughput": 250,
                "Encrypted": True,
                "KmsKeyId": "key",
                "DeleteOnTermination": False,
            },
        },
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
        {"DeviceName": "/dev/sdc", "NoDevice": ""},
    ]
    assert image(block_device_map=disks)["block_devices"] == [
        {
            "device": "/dev/sda1",
            "snapshot": "snap-1",
            "size_gib": 40,
            "type": "gp3",
            "iops": 3000,
            "throughput": 250,
            "encrypted": True,
            "kms_key": "key",
            "delete_on_termination": False,
        },
        {"device": "/dev/sdb", "virtual_name": "ephemeral0"},
        {"device": "/dev/sdc", "no_device": True},
    ]


@pytest.mark.parametrize(
    ("text", "watched"),
    [("#!/bin/sh\n", True), ("#cloud-config\n", True), ("WORKER=w1", False), ("", True), (None, True)],
)
def test_the_lease_watch_comes_only_beside_what_it_can_stand_beside(text: Any, watched: bool) -> None:
    assert ("lease_watch" not in image(user_data=text)) == watched
    assert said(user_data=text)["user_data"] == (text or None)


def test_user_data_of_a_spot_instance_may_be_encoded_as_the_old_class_wants_it() -> None:
    text = "#!/bin/sh\necho"
    encoded = base64.b64encode(text.encode()).decode()
    assert said(spot_instance=True, user_data=encoded)["user_data"] == text
    assert said(spot_instance=True, user_data=text)["user_data"] == text
    assert said(user_data=encoded)["user_data"] == encoded


@pytest.mark.parametrize(("wait", "told"), [(-1, "never"), (0, "1s"), (90, "90s"), (0.4, "1s")])
def test_the_idle_time_is_the_masters(wait: float, told: str) -> None:
    assert options.declaration(given(), wait, 1200)["policy"] == {
        "idle_timeout": told,
        "connect_deadline": "1200s",
    }


def test_the_region_is_the_environments_and_else_the_old_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert image(region=None)["region"] == "us-east-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert image(region=None)["region"] == "eu-north-1"


def test_keys_make_an_owner_whose_name_says_nothing_of_them() -> None:
    told = said(identifier="AKIAEXAMPLE", secret_identifier="secret")
    assert told["credentials"] == {"access_key": {"id": "AKIAEXAMPLE", "secret": "secret"}}
    assert told["owner"].startswith("aws-") and "AKIA" not in told["owner"]
    assert told["owner"] == said(identifier="AKIAEXAMPLE", secret_identifier="other")["owner"]
    assert told["owner"] != said(identifier="AKIAOTHER", secret_identifier="secret")["owner"]


def test_a_file_of_keys_is_named_and_the_old_one_is_found(home: Path) -> None:
    assert said(aws_id_file_path="/k")["credentials"] == {"key_file": "/k"}
    (home / ".ec2").mkdir()
    (home / ".ec2" / "aws_id").write_text("id\nsecret\n")
    assert said()["credentials"] == {"key_file": str(home / ".ec2" / "aws_id")}
    assert said(owner="alice")["credentials"] is None


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"ami": None}, "either ami="),
        ({"valid_ami_owners": [1]}, "either ami="),
        ({"ami": None, "valid_ami_owners": ["self", "x"]}, "'x' is neither"),
        ({"ami": None, "valid_ami_owners": True}, "True is neither"),
        ({"ami": None, "valid_ami_location_regex": "("}, "not a regular expression"),
        ({"ami": None, "valid_ami_location_regex": 3}, "not a regular expression"),
        ({"ami": 3}, "ami=3 must be a string"),
        ({"instance_type": None}, "instance_type= is missing"),
        ({"identifier": "x"}, "both or neither"),
        ({"secret_identifier": "x"}, "both or neither"),
        ({"identifier": "x", "secret_identifier": "y", "aws_id_file_path": "/k"}, "not both"),
        ({"owner": "alice", "aws_id_file_path": "/k"}, "give no keys beside it"),
        ({"security_name": "g", "subnet_id": "subnet-1"}, "security_group_ids="),
        ({"security_name": "g", "security_group_ids": ["sg-1"]}, "not both"),
        ({"spot_instance": True, "max_spot_price": None, "price_multiplier": None}, "max_spot_price="),
        ({"session": object()}, "[owner.NAME]"),
        ({"tags": ["a"]}, "dictionary"),
        ({"user_data": 3}, "string"),
        ({"volumes": [("vol-1",)]}, "pair"),
        ({"volumes": "vol-1"}, "pair"),
        ({"block_device_map": {}}, "must be a list"),
        ({"block_device_map": ["x"]}, "must be a dictionary"),
        ({"block_device_map": [{"Device": "x"}]}, "Device is not known"),
        ({"block_device_map": [{"DeviceName": "x", "Ebs": {"Size": 1}}]}, "Ebs.Size is not known"),
    ],
)
def test_a_mistake_is_told(changed: dict[str, Any], text: str) -> None:
    found = options.mistakes(given(**changed))
    assert len(found) == 1 and text in found[0]
    with pytest.raises(ValueError, match="."):
        options.declaration(given(**changed), 600, None)


def test_what_a_build_decides_is_looked_at_when_there_is_one() -> None:
    dynamic = given(ami=Interpolate("%(prop:ami)s"), tags={"x": lambda props: "y"})
    assert options.is_dynamic(dynamic)
    assert not options.is_dynamic(given(tags={"a": "b"}, volumes=[("vol-1", "/dev/sdf")]))
    assert options.mistakes(dynamic) == []


def test_arguments_may_be_given_by_their_place() -> None:
    keywords = {"region": "eu-west-1", "max_builds": 2}
    taken = options.taken_from(("m5.large", "ami-1"), keywords)
    assert (taken["instance_type"], taken["ami"], taken["region"]) == ("m5.large", "ami-1", "eu-west-1")
    assert keywords == {"max_builds": 2}
    assert options.is_declared(taken)
    assert not options.is_declared(options.taken_from((), {"max_builds": 2}))
    with pytest.raises(TypeError, match="ami is given twice"):
        options.taken_from(("m5.large", "ami-1"), {"ami": "ami-2"})
    with pytest.raises(TypeError, match="by their place"):
        options.taken_from(tuple("x" * 40), {})
