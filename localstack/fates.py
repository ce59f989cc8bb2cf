"""What becomes of a guest, and the rules that decide it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Each fate, and whether it needs "seconds".
FATES = {
    "connect": False,
    "never": False,
    "late": True,
    "die": True,
    "poweroff": True,
    "twice": False,
}


@dataclass(frozen=True)
class Fate:
    """One fate; `README.md` describes each."""

    name: str = "connect"
    seconds: float = 0.0
    # Whether "poweroff" counts its seconds from the boot and not from the connection.
    from_boot: bool = False


@dataclass(frozen=True)
class Rule:
    """A fate, and whom it meets."""

    worker: str
    nth: int | None
    fate: Fate
    # Of any AMI, if it is empty.
    image: str = ""

    def fits(self, worker: str, nth: int, image: str) -> bool:
        """Whether it is about the nth instance of this worker, which was launched from this AMI."""
        return self.worker in ("*", worker) and self.nth in (None, nth) and self.image in ("", image)


class Roll:
    """Numbers the instances of each worker, from 1, in the order in which they boot."""

    def __init__(self) -> None:
        self._instances: dict[str, list[str]] = {}

    def number(self, worker: str, instance_id: str) -> int:
        """The number of an instance; a second life keeps the first one's."""
        instances = self._instances.setdefault(worker, [])
        if instance_id not in instances:
            instances.append(instance_id)
        return instances.index(instance_id) + 1


def choose(rules: Sequence[Rule], worker: str, nth: int, image: str) -> Fate:
    """The fate of the first rule that fits; without one it connects."""
    return next((rule.fate for rule in rules if rule.fits(worker, nth, image)), Fate())


def rule_from_config(raw: Mapping[str, Any]) -> Rule:
    """Reads one of `fates`; raises ValueError."""
    unknown = set(raw) - {"worker", "nth", "image", "fate", "seconds", "from"}
    if unknown:
        raise ValueError(f"a fate has no {', '.join(sorted(unknown))}")
    name = raw.get("fate")
    if name not in FATES:
        raise ValueError(f"a fate is one of {', '.join(FATES)}, not {name!r}")
    if FATES[name] != ("seconds" in raw):
        raise ValueError(f"the fate {name} {'needs' if FATES[name] else 'has no'} seconds")
    start = raw.get("from", "connect")
    if start not in ("connect", "boot") or ("from" in raw and name != "poweroff"):
        raise ValueError('only poweroff has "from", which is "connect" or "boot"')
    nth = raw.get("nth")
    if nth is not None and (not isinstance(nth, int) or nth < 1):
        raise ValueError("nth counts from 1")
    fate = Fate(name, float(raw.get("seconds", 0.0)), from_boot=start == "boot")
    return Rule(str(raw.get("worker", "*")), nth, fate, str(raw.get("image", "")))
