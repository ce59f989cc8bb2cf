"""The arguments of Buildbot's own ``EC2LatentWorker``, said in the words of ``amis/`` and ``policies/``.

Nothing here asks anybody: it is used by ``buildbot checkconfig`` too, which has neither network nor AWS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from buildbot.interfaces import IRenderable
from buildbot.process.properties import renderer

Options = Mapping[str, Any]
Declaration = dict[str, Any]

# What EC2LatentWorker has beside the arguments of AbstractLatentWorker, with its defaults.
DEFAULTS: dict[str, Any] = {
    "instance_type": None,
    "ami": None,
    "valid_ami_owners": None,
    "valid_ami_location_regex": None,
    "elastic_ip": None,
    "identifier": None,
    "secret_identifier": None,
    "aws_id_file_path": None,
    "user_data": None,
    "region": None,
    "keypair_name": None,
    "security_name": None,
    "spot_instance": False,
    "max_spot_price": 1.6,
    "volumes": None,
    "placement": None,
    "price_multiplier": 1.2,
    "tags": None,
    "product_description": "Linux/UNIX",
    "subnet_id": None,
    "security_group_ids": None,
    "instance_profile_name": None,
    "block_device_map": None,
    "session": None,
    # Ours: an [owner.NAME] of latent.toml, with the role to assume.
    "owner": None,
}
# Whose keys they are is said once, when the worker is configured, and not by a build.
FIXED = ("identifier", "secret_identifier", "aws_id_file_path", "session", "owner", "region")
DEFAULT_REGION = "us-east-1"
# Where Buildbot's own class looks when it is given no keys.
OLD_KEY_FILE = "~/.ec2/aws_id"
OWNER_ID = re.compile(r"[0-9]{12}")
OWNER_NAMES = ("self", "amazon", "aws-marketplace", "microsoft")
# What the lease watch can stand beside in the user data.
WINDOWS_USER_DATA = ("<powershell>", "<script>")
KNOWN_USER_DATA = ("#!", "#cloud-config", "Content-Type: multipart/", "MIME-Version:", *WINDOWS_USER_DATA)


def taken_from(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
    """The EC2 options among the arguments after name and password, which are taken out of `keywords`."""
    order = list(DEFAULTS)
    if len(arguments) > len(order):
        raise TypeError(f"at most {len(order) + 2} arguments may be given by their place")
    placed = dict(zip(order, arguments))
    twice = sorted(set(placed) & set(keywords))
    if twice:
        raise TypeError(f"{', '.join(twice)} is given twice")
    named = {key: keywords.pop(key) for key in order if key in keywords}
    return {**DEFAULTS, **placed, **named}


def is_declared(options: Options) -> bool:
    """Whether the worker is described in master.cfg, as with the old class, and not in latent.toml."""
    return any(options[key] != default for key, default in DEFAULTS.items())


def is_dynamic(value: Any) -> bool:
    """Whether a build decides it: it holds a renderable, or a function of the build's properties."""
    if isinstance(value, Mapping):
        return any(is_dynamic(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return any(is_dynamic(one) for one in value)
    return IRenderable.providedBy(value) or callable(value)


def as_renderable(value: Any) -> Any:
    """The same for `build.render`, which does not know plain functions."""
    if isinstance(value, Mapping):
        return {key: as_renderable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_renderable(one) for one in value]
    if callable(value) and not IRenderable.providedBy(value):
        return renderer(value)
    return value


def mistakes(options: Options) -> list[str]:
    """What is wrong with the arguments, as far as it can be seen before a build."""
    given = {key: value for key, value in options.items() if not is_dynamic(value)}
    found = [*_whose(options), *_which_image(options, given), *_where(options), *_shapes(given)]
    if options["session"] is not None:
        found.append(
            "session= is an object of boto3 and cannot be handed to the controller; "
            "write the role into latent.toml, [owner.NAME], and give owner='NAME'"
        )
    if options["instance_type"] is None:
        found.append("instance_type= is missing")
    return found


def _whose(options: Options) -> Iterable[str]:
    keys = (options["identifier"], options["secret_identifier"])
    if (keys[0] is None) != (keys[1] is None):
        yield "give both or neither of identifier= and secret_identifier="
    if keys[0] is not None and options["aws_id_file_path"] is not None:
        yield "give either identifier= and secret_identifier= or aws_id_file_path=, not both"
    if options["owner"] is not None and (keys[0] is not None or options["aws_id_file_path"] is not None):
        yield "owner= names whose credentials are used, so give no keys beside it"


def _which_image(options: Options, given: Options) -> Iterable[str]:
    by_filter = options["valid_ami_owners"] is not None or options["valid_ami_location_regex"] is not None
    if (options["ami"] is not None) == by_filter:
        yield "give either ami= or one or both of valid_ami_owners= and valid_ami_location_regex="
    regex = given.get("valid_ami_location_regex")
    if regex is not None:
        try:
            re.compile(regex)
        except (re.error, TypeError) as e:
            yield f"valid_ami_location_regex={regex!r} is not a regular expression: {e}"
    for owner in _listed(given.get("valid_ami_owners")):
        if isinstance(owner, bool) or not _owner_id(owner):
            names = ", ".join(OWNER_NAMES)
            yield f"valid_ami_owners: {owner!r} is neither an account number (12 digits) nor one of {names}"


def _where(options: Options) -> Iterable[str]:
    if options["security_name"] and options["subnet_id"]:
        yield "security_name= is a group of the default VPC; with subnet_id= give security_group_ids="
    if options["security_name"] and options["security_group_ids"]:
        yield "give either security_name= or security_group_ids=, not both"
    if options["spot_instance"] and options["max_spot_price"] is None and options["price_multiplier"] is None:
        yield "give max_spot_price= or price_multiplier= for a spot instance"


def _shapes(given: Options) -> Iterable[str]:
    for key in ("ami", "instance_type", "region", "keypair_name", "security_name", "elastic_ip", "subnet_id"):
        if given.get(key) is not None and not isinstance(given[key], str):
            yield f"{key}={given[key]!r} must be a string"
    if not isinstance(given.get("tags", {}) or {}, Mapping):
        yield f"tags={given['tags']!r} must be a dictionary"
    if given.get("user_data") is not None and not isinstance(given["user_data"], (str, bytes)):
        yield "user_data= must be a string"
    for volume in _listed(given.get("volumes")):
        if not isinstance(volume, (list, tuple)) or len(volume) != 2:
            yield f"volumes: {volume!r} must be a pair of a volume's id and a device"
    devices = given.get("block_device_map")
    if devices is not None and not isinstance(devices, (list, tuple)):
        yield "block_device_map= must be a list"
    for device in _listed(devices):
        if isinstance(device, Mapping):
            yield from (f"block_device_map: {key} is not known" for key in _unknown(device))
        else:
            yield f"block_device_map: {device!r} must be a dictionary"


def _unknown(device: Mapping[str, Any]) -> list[str]:
    top = [key for key in device if key not in (*DEVICE, "Ebs")]
    return [*top, *(f"Ebs.{key}" for key in device.get("Ebs") or {} if key not in EBS)]


def declaration(options: Options, build_wait_timeout: float, missing_timeout: Optional[float]) -> Declaration:
    """What the controller is told; every value is rendered. Raises ValueError if something is wrong."""
    found = mistakes(options)
    if found:
        raise ValueError("; ".join(found))
    owner, credentials = _owner(options)
    text = _user_data(options)
    idle = "never" if build_wait_timeout < 0 else _seconds(build_wait_timeout)
    policy: dict[str, Any] = {"idle_timeout": idle}
    if missing_timeout:
        policy["connect_deadline"] = _seconds(missing_timeout)
    image = {**_image(options), **({} if _is_mergeable(text) else {"lease_watch": "none"})}
    return {
        "owner": owner,
        "credentials": credentials,
        "image": image,
        "user_data": text,
        "policy": policy,
    }


def _owner(options: Options) -> tuple[str, Optional[dict[str, Any]]]:
    if options["owner"] is not None:
        return options["owner"], None
    if options["identifier"] is not None:
        keys = {"id": options["identifier"], "secret": options["secret_identifier"]}
        return _named("aws", options["identifier"]), {"access_key": keys}
    path = options["aws_id_file_path"]
    if path is None and os.path.exists(os.path.expanduser(OLD_KEY_FILE)):
        path = OLD_KEY_FILE
    if path is not None:
        path = os.path.abspath(os.path.expanduser(path))
        return _named("aws", path), {"key_file": path}
    return "environment", {"environment": True}


def _named(prefix: str, what: str) -> str:
    """A name that says nothing of it, and is the same each time."""
    return f"{prefix}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


def _image(options: Options) -> dict[str, Any]:
    region = options["region"] or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    region = region or DEFAULT_REGION
    spot = bool(options["spot_instance"])
    said = {
        "region": region,
        "ami": options["ami"],
        "ami_owners": [_owner_id(owner) for owner in _listed(options["valid_ami_owners"])],
        "ami_location": options["valid_ami_location_regex"],
        "instance_types": [options["instance_type"]],
        "subnets": [{"id": options["subnet_id"]}] if options["subnet_id"] else None,
        "zones": _zones(options, region),
        "security_groups": list(options["security_group_ids"] or ()),
        "security_group_names": [options["security_name"]] if options["security_name"] else None,
        "key_pair": options["keypair_name"],
        "instance_profile": options["instance_profile_name"],
        "market": ["spot"] if spot else ["on-demand"],
        "spot_price_max": _price(options["max_spot_price"]) if spot else None,
        "elastic_ip": options["elastic_ip"],
        "volumes": [{"id": id, "device": device} for id, device in _listed(options["volumes"])],
        "block_devices": [_block_device(one) for one in _listed(options["block_device_map"])],
        "platform": "windows" if _is_windows(options) else None,
        "tags": [f"{key}={value}" for key, value in (options["tags"] or {}).items()],
    }
    return {key: value for key, value in said.items() if value not in (None, [])}


def _is_windows(options: Options) -> bool:
    text = _user_data(options) or ""
    return "windows" in str(options["product_description"]).lower() or text.startswith(WINDOWS_USER_DATA)


def _zones(options: Options, region: str) -> Optional[list[str]]:
    """`placement` is the letter of a zone; a subnet lies in one already."""
    if options["placement"] is None or options["subnet_id"]:
        return None
    return [f"{region}{options['placement']}"]


def _price(price: Any) -> Optional[str]:
    return None if price is None else f"{float(price):.6f}".rstrip("0").rstrip(".")


# boto3's words and ours.
DEVICE = {"DeviceName": "device", "VirtualName": "virtual_name", "NoDevice": "no_device"}
EBS = {
    "SnapshotId": "snapshot",
    "VolumeSize": "size_gib",
    "VolumeType": "type",
    "Iops": "iops",
    "Throughput": "throughput",
    "Encrypted": "encrypted",
    "KmsKeyId": "kms_key",
    "DeleteOnTermination": "delete_on_termination",
}


def _block_device(device: Mapping[str, Any]) -> dict[str, Any]:
    said = {ours: device[theirs] for theirs, ours in DEVICE.items() if theirs in device}
    if "no_device" in said:
        # EC2 takes any text for it, also an empty one.
        said["no_device"] = True
    ebs = device.get("Ebs") or {}
    return {**said, **{ours: ebs[theirs] for theirs, ours in EBS.items() if theirs in ebs}}


def _user_data(options: Options) -> Optional[str]:
    text = options["user_data"]
    if not text:
        return None
    if isinstance(text, bytes):
        text = text.decode()
    # Buildbot's own class wants it encoded for a spot instance, and only there.
    return _decoded(text) if options["spot_instance"] else str(text)


def _decoded(text: str) -> str:
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return text
    return decoded if decoded.startswith(KNOWN_USER_DATA) else text


def _is_mergeable(text: Optional[str]) -> bool:
    return text is None or text.startswith(KNOWN_USER_DATA)


def _owner_id(owner: Any) -> Optional[str]:
    """An account number keeps its leading zeros; as a number, as the old class wants it, it has lost them."""
    text = f"{owner:012d}" if isinstance(owner, int) else str(owner)
    return text if OWNER_ID.fullmatch(text) or text in OWNER_NAMES else None


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple, set)) else [value]


def _seconds(seconds: float) -> str:
    return f"{max(1, round(seconds))}s"
