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
from sim_server import SimServer  # noqa: E402

NUMBERS = itertools.count(200000000001)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    """A calm EC2; tests let its time pass by the control interface."""
    binary = os.environ.get("LATENT_SIM_BIN") or os.environ.get("LATENT_BIN", "")
    if not os.access(binary, os.X_OK):
        pytest.exit(f"LATENT_BIN must name the latent program; it is {binary!r}. `cargo build` makes it.", 2)
    with SimServer(tmp_path_factory.mktemp("sim") / "sim.log", os.path.abspath(binary)) as running:
        yield running


@pytest.fixture
def account(server: SimServer) -> Iterator[Account]:
    """An account that no other test sees; no fault is left behind."""
    yield Account(server.endpoint, next(NUMBERS))
    server.control.clear_faults()


@pytest.fixture
def other(server: SimServer) -> Account:
    """A second account."""
    return Account(server.endpoint, next(NUMBERS))
