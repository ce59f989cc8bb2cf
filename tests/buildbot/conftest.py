"""What every test here needs: the binary, one fleet that they share, and a look at it when one fails."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Optional

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "localstack"), str(Path(__file__).resolve().parent)]

from emulator import chosen_kind  # noqa: E402
from fleet import Fleet, Watch  # noqa: E402

TAIL_LINES = 60


def pytest_configure(config: pytest.Config) -> None:
    """Lets the processes that were started end also when pytest is told to."""

    def leave(_signal: int, _frame: Optional[FrameType]) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)


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


FLEET = pytest.StashKey[Fleet]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Adds to a failure what the processes have said."""
    report = yield
    fleet = item.stash.get(FLEET, None)
    if report.failed and fleet is not None:
        fleet.changed = True
        report.sections.extend(look(fleet))
    return report


def look(fleet: Fleet) -> list[tuple[str, str]]:
    """The state of a fleet, in words."""
    sections = [
        ("the master's log", tail(fleet.master.log())),
        ("the controller's log", tail(fleet.controller_log())),
    ]
    if fleet.agent is not None:
        sections.append(("the boot agent's events", tail("\n".join(map(str, fleet.agent.events())))))
    for args in (("status", "--json"), ("events",)):
        asked = fleet.latent(*args)
        sections.append((f"latent {' '.join(args)}", tail(asked.stdout + asked.stderr, 3 * TAIL_LINES)))
    return sections


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines."""
    return "\n".join(text.splitlines()[-lines:])
