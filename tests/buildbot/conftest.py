"""What every test here needs: the binary, one fleet that they share, and a look at it when one fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "localstack"), str(Path(__file__).resolve().parent)]

from emulator import chosen_kind  # noqa: E402
from fleet import Fleet, Watch  # noqa: E402
from shown import FLEET, pytest_configure, pytest_runtest_makereport  # noqa: E402

__all__ = ["pytest_configure", "pytest_runtest_makereport"]


@pytest.fixture(scope="session")
def binary() -> str:
    """The latent program."""
    given = os.environ.get("LATENT_BIN", "")
    if not os.access(given, os.X_OK):
        pytest.exit(f"LATENT_BIN must name the latent program; it is {given!r}. `cargo build` makes it.", 2)
    return os.path.abspath(given)


class Holder:
    """The one fleet of the session."""

    fleet: Optional[Fleet] = None


@pytest.fixture(scope="session")
def holder(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holder]:
    """The fleet that tests share: a start of everything takes seconds."""
    holder = Holder()
    scratch = tmp_path_factory.mktemp("fleet")
    holder.fleet = Fleet(binary, scratch, scratch / "template.sqlite", chosen_kind())
    yield holder
    holder.fleet.close()


@pytest.fixture
def fleet(holder: Holder, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A fleet with nothing launched; at no time may a worker have two live instances."""
    fleet = holder.fleet
    assert fleet is not None
    request.node.stash[FLEET] = fleet
    fleet.refresh()
    with Watch(fleet) as watch:
        yield fleet
    assert not watch.twins, "two live instances of one worker"
