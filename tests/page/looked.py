"""A fleet whose page is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Fleet:
    """A fleet that is served."""

    address: str
    socket: Path
    binary: str
