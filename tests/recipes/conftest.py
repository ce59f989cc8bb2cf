"""The recipes run for real, in a machine that is a folder: the shells there are, no privileges, no network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "localstack"), str(HERE), str(ROOT / "tests" / "guest"), str(ROOT / "tests" / "wire")]

from machine import Rebake  # noqa: E402
from watch import SHELLS  # noqa: E402


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest) -> list[str]:
    """A shell that a builder may have."""
    command = SHELLS[request.param]
    if command is None:
        pytest.skip(f"no {request.param} on this machine")
    return command


@pytest.fixture
def one_shell() -> list[str]:
    """Where the shell makes no difference."""
    return SHELLS["dash"] or ["sh"]


@pytest.fixture
def rebake(tmp_path: Path, one_shell: list[str]) -> Iterator[Callable[..., Rebake]]:
    """Makes builders, and ends what runs in them."""
    made: list[Rebake] = []

    def make(family: str = "apt", shell: list[str] | None = None, **settings: object) -> Rebake:
        made.append(Rebake(tmp_path / f"builder-{len(made)}", shell or one_shell, family, **settings))
        return made[-1]

    yield make
    for one in made:
        one.box.power_cut()
