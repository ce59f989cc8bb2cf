"""`latent sweep` as a person or cron runs it, against the wire door whose time is two days behind."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("localstack", "tests/wire", "tests/kill", "tests/sweep")]

from leftovers import Swept  # noqa: E402
from sim_server import SimServer, Weather  # noqa: E402

NUMBERS = itertools.count(300000000001)
# An instance ends within a second or two.
SPEED = 30.0
# What is made is older than `young` at once.
BEHIND = "2d"


@pytest.fixture(scope="session")
def sim(binary: str) -> str:
    """The program that plays EC2; an optimised one is faster."""
    return os.environ.get("LATENT_SIM_BIN") or binary


@pytest.fixture(scope="session")
def server(sim: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    """A calm EC2 of two days ago."""
    weather = Weather(speed=SPEED, behind=BEHIND)
    with SimServer(tmp_path_factory.mktemp("sim") / "sim.log", sim, weather) as running:
        yield running


@pytest.fixture(scope="session")
def today(sim: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    """A calm EC2 of now: what STS gives is good for an hour of it."""
    with SimServer(tmp_path_factory.mktemp("today") / "sim.log", sim, Weather(speed=SPEED)) as running:
        yield running


@pytest.fixture
def swept(server: SimServer, binary: str, tmp_path: Path) -> Iterator[Swept]:
    """An account of its own, and the command on a bare machine."""
    yield Swept(server.endpoint, next(NUMBERS), binary, tmp_path)
    server.control.clear_faults()


@pytest.fixture
def swept_today(today: SimServer, binary: str, tmp_path: Path) -> Iterator[Swept]:
    """The same, where the time is now."""
    yield Swept(today.endpoint, next(NUMBERS), binary, tmp_path)
    today.control.clear_faults()
