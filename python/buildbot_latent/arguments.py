"""The arguments of a `LatentEC2Worker`, before they are options."""

from __future__ import annotations

from typing import Any, Optional

from buildbot import config

from . import options as ec2_options

# How often a start is asked after; that costs no call to AWS.
CHECK_INTERVAL_S = 2


def taken(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Optional[dict[str, Any]]:
    """Takes the options of Buildbot's own class out of the arguments; None if they are wrong, which is told."""
    try:
        return ec2_options.taken_from(args, kwargs)
    except TypeError as e:
        config.error(f"LatentEC2Worker {name!r}: {e}")
        return None


def timing(kwargs: dict[str, Any]) -> tuple[Optional[float], float]:
    """How long a worker may be idle, if that is given, and how often a start is asked after."""
    return kwargs.pop("build_wait_timeout", None), kwargs.pop("check_instance_interval", CHECK_INTERVAL_S)


def check_own(name: str, ours: dict[str, Any]) -> None:
    """Tells what is wrong with the options that only our class has."""
    for option in ("config", "socket", "binary"):
        value = ours.get(option)
        if value is not None and not isinstance(value, str):
            config.error(f"LatentEC2Worker {name!r}: {option}={value!r} must be a path in a string")
    if not isinstance(ours.get("autostart", True), bool):
        config.error(f"LatentEC2Worker {name!r}: autostart={ours['autostart']!r} must be True or False")
