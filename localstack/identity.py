"""Which worker a guest is, and how it gets to know: baked into its image, or from user data."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from user_data import parts

VARIABLES = ("WORKER_NAME", "WORKER_PASSWORD", "WORKER_MASTER")
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?((?:" + "|".join(VARIABLES) + r")=.*)")


@dataclass(frozen=True)
class Identity:
    """What a worker needs to log in."""

    worker: str
    password: str = field(repr=False)
    # HOST:PORT.
    master: str

    def __post_init__(self) -> None:
        host, _, port = self.master.rpartition(":")
        if not (self.worker and host and port.isdigit()):
            raise ValueError("a worker needs a name and a master as HOST:PORT")


@dataclass(frozen=True)
class Image:
    """What is on an AMI. Without a baked identity its guests read their user data."""

    baked: Identity | None


def image_from_config(raw: Mapping[str, Any]) -> Image:
    """Reads one value of `images`; raises ValueError."""
    fields = dict(raw)
    kind = fields.pop("identity", None)
    if kind == "injected" and not fields:
        return Image(baked=None)
    if kind == "baked" and set(fields) == {"worker", "password", "master"}:
        return Image(baked=Identity(**{name: str(value) for name, value in fields.items()}))
    raise ValueError('an image is {"identity": "injected"}, or "baked" with worker, password, master')


def from_user_data(text: str) -> Identity:
    """The identity in user data; raises ValueError, without a value in it, if there is none.

    Nothing of the user data is executed. Only lines that assign one of `VARIABLES`, as a shell
    would read them, count, in whichever part they stand; of several the last one.
    """
    values: dict[str, str] = {}
    lines = [line for part in parts(text) for line in part.text.splitlines()]
    for line in lines:
        assignment = ASSIGNMENT.fullmatch(line)
        if not assignment:
            continue
        name = assignment.group(1).partition("=")[0]
        try:
            words = shlex.split(assignment.group(1), comments=True)
        except ValueError:
            raise ValueError(f"{name} is badly quoted") from None
        if len(words) != 1:
            raise ValueError(f"{name} is not one word")
        values[name] = words[0].partition("=")[2]
    missing = [name for name in VARIABLES if name not in values]
    if missing:
        raise ValueError(f"the user data has no {', '.join(missing)}")
    return Identity(*(values[name] for name in VARIABLES))
