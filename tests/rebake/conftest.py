"""A fleet whose images are rebaked: real controller, real master, real scripts in builders that are folders."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "localstack"), str(ROOT / "tests/buildbot"), str(Path(__file__).resolve().parent)]

from bakehouse import Bakehouse  # noqa: E402
from emulator import chosen_kind  # noqa: E402
from fleet import Watch  # noqa: E402
from shown import FLEET, pytest_configure, pytest_runtest_makereport  # noqa: E402

__all__ = ["pytest_configure", "pytest_runtest_makereport"]


class Holder:
    """The one fleet of the session."""

    bakehouse: Optional[Bakehouse] = None


@pytest.fixture(scope="session")
def holder(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holder]:
    """The fleet that tests share: a start of everything takes seconds."""
    if chosen_kind() != "sim":
        pytest.skip("only the model shows a console; what moto can show of a rebake is in test_on_moto.py")
    holder = Holder()
    scratch = tmp_path_factory.mktemp("fleet")
    holder.bakehouse = Bakehouse(binary, scratch, scratch / "template.sqlite", "sim")
    yield holder
    holder.bakehouse.close()


@pytest.fixture
def bakehouse(holder: Holder, request: pytest.FixtureRequest) -> Iterator[Bakehouse]:
    """A fleet with nothing launched; at no time may a worker have two live instances, a canary included."""
    bakehouse = holder.bakehouse
    assert bakehouse is not None
    request.node.stash[FLEET] = bakehouse
    bakehouse.refresh()
    with Watch(bakehouse) as watch:
        yield bakehouse
    assert not [told for told in watch.twins if not told.startswith(" ")], "two live instances of one worker"
