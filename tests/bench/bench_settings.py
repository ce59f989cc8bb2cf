"""How large everything is, and which programs take part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """The same for all rows of a run."""

    binary: str
    # The program that plays EC2.
    door: str
    workers: int = 200
    fifty: int = 50
    few: int = 1000
    many: int = 10_000
    cells: int = 100
    # After so long each cell has been swept for the first time, one to two minutes after it began.
    settle_s: float = 130.0
    # How long a steady state is measured, in seconds.
    steady_s: float = 120.0
    # Of each kind that is measured by examples: deaths, stops.
    examples: int = 10
    # How many of the old workers a master is given where each has a session of its own, at 28 MB.
    old_workers: int = 50
    # Of the plot: the fewest cells first, and the workers in them; how long each point is measured.
    growth_cells: tuple[int, ...] = (10, 25, 50, 100)
    growth_workers: tuple[int, ...] = (100, 250, 500, 1000)
    growth_s: float = 60.0
    # Of the record.
    ledger_workers: int = 1000
    ledger_days: int = 365

    def words(self) -> dict[str, str]:
        """What the titles of the rows name."""
        numbers = {"workers": self.workers, "fifty": self.fifty, "cells": self.cells}
        numbers |= {"record": self.ledger_workers, "days": self.ledger_days}
        return {key: f"{value:,}" for key, value in {**numbers, "few": self.few, "many": self.many}.items()}


QUICK: dict[str, Any] = {
    "workers": 20,
    "fifty": 5,
    "few": 100,
    "many": 500,
    "cells": 10,
    "settle_s": 20.0,
    "steady_s": 15.0,
    "examples": 3,
    "old_workers": 4,
    "growth_cells": (2, 4),
    "growth_workers": (10, 20),
    "growth_s": 15.0,
    "ledger_workers": 20,
    "ledger_days": 40,
}
