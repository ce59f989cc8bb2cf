"""A canary as the fake controller knows it, and how events move it: as `src/model/canary.rs` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

# Of Buildbot's results success and warnings are good.
GOOD_MAX = 1


@dataclass
class Canary:
    """What a rebake asks of a worker, and how far that has come."""

    rebake: str = "rb1"
    ami: str = "ami-0new"
    generation: int = 2
    smoke: Optional[str] = None
    phase: str = "waiting"
    why: Optional[str] = None
    connected_at: Optional[str] = None
    built: Optional[dict[str, Any]] = None
    reconnected_at: Optional[str] = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is asked of it."""
        return self.phase in ("passed", "failed")

    def fail(self, why: str) -> None:
        """Something that was asked of it did not happen."""
        if not self.is_over:
            self.phase, self.why = "failed", why

    def attached(self, now: Optional[str]) -> None:
        """Its worker connected."""
        if self.phase == "starting":
            self.phase, self.connected_at = "connected", now
        elif self.phase == "restarting":
            self.reconnected_at = now

    def builds(self, build: Optional[str]) -> None:
        """What its master says of builds."""
        if self.phase in ("connected", "building"):
            self.phase = "building" if build else "connected"

    def hear(self, smoke: Optional[dict[str, Any]]) -> None:
        """How the smoke build ended."""
        awaited = self.smoke is not None and self.built is None and self.phase in ("connected", "building")
        if smoke is None or not awaited or smoke["rebake"] != self.rebake:
            return
        self.built = {"build": smoke["build"], "results": smoke["results"]}
        if smoke["results"] > GOOD_MAX:
            self.fail(f"the smoke build {smoke['build']} ended with {smoke['results']}")

    def ended(self) -> None:
        """Its instance is no more."""
        if self.reconnected_at is not None and not self.is_over:
            self.phase = "passed"
        self.fail("its instance was ended")

    @property
    def has_shown_enough(self) -> bool:
        """Whether its master shall let it go now, connected as it is and without a build."""
        built = self.smoke is None or self.built is not None
        return self.is_over or self.reconnected_at is not None or (self.phase == "connected" and built)

    def view(self, present: bool) -> dict[str, Any]:
        """As the interface shows it."""
        return {**vars(self), "present": present}
