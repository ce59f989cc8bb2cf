"""boto3 at the wire door: one server for all tests, and an account of its own for each."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "localstack"), str(Path(__file__).resolve().parent)]

from account import Account  # noqa: E402
from sim_server import SimServer, Weather  # noqa: E402

NUMBERS = itertools.count(200000000001)
# A call takes about a second of the model.
SPEED = 20.0


@pytest.fixture(scope="session")
def binary() -> str:
    """The latent program."""
    given = os.environ.get("LATENT_SIM_BIN") or os.environ.get("LATENT_BIN", "")
    if not os.access(given, os.X_OK):
        pytest.exit(f"LATENT_BIN must name the latent program; it is {given!r}. `cargo build` makes it.", 2)
    return os.path.abspath(given)


@pytest.fixture(scope="session")
def server(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    """A calm EC2 whose time flies; tests let more of it pass by the control interface."""
    with SimServer(tmp_path_factory.mktemp("sim") / "sim.log", binary, Weather(speed=SPEED)) as running:
        yield running


@pytest.fixture(scope="session")
def slow_server(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    """A calm EC2 as slow as the real one, for what a busy machine must not miss."""
    with SimServer(tmp_path_factory.mktemp("slow") / "sim.log", binary) as running:
        yield running


@pytest.fixture
def account(server: SimServer) -> Iterator[Account]:
    """An account that no other test sees; no fault is left behind."""
    yield Account(server.endpoint, next(NUMBERS))
    server.control.clear_faults()


@pytest.fixture
def slow(slow_server: SimServer) -> Account:
    """An account where a second lasts a second."""
    return Account(slow_server.endpoint, next(NUMBERS))


@pytest.fixture
def other(server: SimServer) -> Account:
    """A second account."""
    return Account(server.endpoint, next(NUMBERS))


@pytest.fixture
def slow_other(slow_server: SimServer) -> Account:
    """A second one there."""
    return Account(slow_server.endpoint, next(NUMBERS))
