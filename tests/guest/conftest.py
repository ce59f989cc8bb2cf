"""The lease watch run for real: the shells there are, the model's metadata service, guests of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "localstack"), str(Path(__file__).resolve().parent), str(ROOT / "tests" / "wire")]

from account import REGION, Account  # noqa: E402
from emulator import chosen_kind  # noqa: E402
from sim_server import SimServer, Weather  # noqa: E402
from watch import SHELLS, Guest  # noqa: E402

# Instances boot in no time.
SPEED = 20.0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Moto has no tags in its metadata, and no clock: there is nothing that a guest could watch."""
    if chosen_kind() == "sim":
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="only the model has a guest's metadata"))


@pytest.fixture(scope="session")
def server(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimServer]:
    """A calm EC2."""
    with SimServer(tmp_path_factory.mktemp("sim") / "sim.log", binary, Weather(speed=SPEED)) as running:
        yield running


@pytest.fixture(scope="session")
def account(server: SimServer) -> Account:
    """The account of all guests here."""
    account = Account(server.endpoint, 210000000001)
    # Which of the tests share it, nobody knows.
    account.control.quota(account.id, REGION, 100_000)
    return account


@pytest.fixture(scope="session")
def unhurried(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account whose time is the machine's: two minutes of notice are two minutes."""
    with SimServer(tmp_path_factory.mktemp("sim") / "sim.log", binary, Weather(speed=1.0)) as running:
        yield Account(running.endpoint, 210000000002)


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest) -> list[str]:
    """A shell that a guest may have."""
    command = SHELLS[request.param]
    if command is None:
        pytest.skip(f"no {request.param} on this machine")
    return command


@pytest.fixture
def guest(account: Account, tmp_path: Path) -> Guest:
    """A running instance with an hour of lease and a day to its deadline, and the watch in it."""
    return Guest(account, tmp_path, lease=3600, deadline=86_400)
