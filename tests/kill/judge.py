"""What the model of EC2 says happened, and what of it must never happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What the trace says of an instance, and what that makes of it.
BEGINS_TO_COST = {"is launched", "is started"}
ENDS = {"is shutting down", "is terminated"}
NO_LONGER_RUNS = ENDS | {"is stopping", "is stopped"}
BY_US = "by a caller"


@dataclass(frozen=True)
class Happening:
    """One line of the trace, as far as it matters here."""

    number: int
    at: str
    what: str
    subject: str
    outcome: str

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Happening:
        """From the trace's JSON."""
        return cls(int(raw["number"]), str(raw["at"]), raw["what"], raw["subject"], raw["outcome"])

    def __str__(self) -> str:
        return f"{self.number} {self.at} {self.subject} {self.what} {self.outcome}".rstrip()


@dataclass
class Life:
    """One instance, from the trace."""

    worker: str
    # Everything that happened to it.
    told: list[Happening] = field(default_factory=list)
    live: bool = True
    # Its tags were changed by somebody else: nobody can know any more whose it is.
    disowned: bool = False

    def taken_by_us(self) -> bool:
        """Whether the first thing that kept it from running was a call of ours."""
        first = next((one for one in self.told if one.what in NO_LONGER_RUNS), None)
        return first is not None and first.outcome == BY_US


@dataclass(frozen=True)
class LostBuild:
    """A build that ended because its instance or its connection did."""

    build: str
    worker: str
    instance: str
    why: str


class Judge:
    """Follows the trace from its beginning."""

    def __init__(self) -> None:
        self.lives: dict[str, Life] = {}
        # In words, with the evidence.
        self.duplicates: list[str] = []

    def launched(self, instance: str, worker: str) -> None:
        """Says whose an instance is; before the trace tells of its launch."""
        self.lives.setdefault(instance, Life(worker))

    def hear(self, one: Happening) -> None:
        """Takes in the next line of the trace."""
        life = self.lives.get(one.subject)
        if life is None:
            return
        if one.what in BEGINS_TO_COST:
            self._look_for_twins(one, life)
            life.live = True
        life.told.append(one)
        if one.what in ENDS:
            life.live = False
        if one.what == "is tagged" and one.outcome != BY_US:
            life.disowned = True

    def _look_for_twins(self, one: Happening, life: Life) -> None:
        for other, twin in self.lives.items():
            born = any(told.what in BEGINS_TO_COST for told in twin.told)
            same = twin.worker == life.worker and other != one.subject
            if same and born and twin.live and not twin.disowned:
                lines = "".join(f"\n    {told}" for told in [*twin.told, *life.told, one])
                self.duplicates.append(f"{life.worker} has {other} and {one.subject}:{lines}")

    def zombies(self) -> list[str]:
        """What costs still, in words."""
        return [
            f"{life.worker} has {instance}:" + "".join(f"\n    {told}" for told in life.told)
            for instance, life in self.lives.items()
            if life.live and not life.disowned
        ]

    def costing(self) -> bool:
        """Whether anything costs that we could end."""
        return any(life.live and not life.disowned for life in self.lives.values())

    def lost(self, builds: list[LostBuild]) -> list[str]:
        """The builds among these that we are to blame for, in words."""
        return [self._blame(build) for build in builds if self._ours(build)]

    def _ours(self, build: LostBuild) -> bool:
        life = self.lives[build.instance]
        if life.disowned:
            return False
        # A connection that was ended while the instance ran was ended by the controller's word.
        runs = not any(told.what in NO_LONGER_RUNS for told in life.told)
        return runs or life.taken_by_us()

    def _blame(self, build: LostBuild) -> str:
        lines = "".join(f"\n    {told}" for told in self.lives[build.instance].told)
        return f"{build.build} on {build.worker}, {build.instance}, {build.why}:{lines}"
