"""A fleet whose images are rebaked: real controller, real master, real scripts in builders that are folders."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Optional

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "localstack"), str(ROOT / "tests/buildbot"), str(Path(__file__).resolve().parent)]

from bakehouse import Bakehouse  # noqa: E402
from emulator import chosen_kind  # noqa: E402
from fleet import Watch  # noqa: E402

TAIL_LINES = 60


def pytest_configure(config: pytest.Config) -> None:
    """Lets the processes that were started end also when pytest is told to."""

    def leave(_signal: int, _frame: Optional[FrameType]) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)


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


FLEET = pytest.StashKey[Bakehouse]()


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Adds to a failure what the processes have said."""
    report = yield
    bakehouse = item.stash.get(FLEET, None)
    if report.failed and bakehouse is not None:
        bakehouse.changed = True
        report.sections.extend(look(bakehouse))
    return report


def look(bakehouse: Bakehouse) -> list[tuple[str, str]]:
    """The state of a fleet, in words."""
    sections = [
        ("the master's log", tail(bakehouse.master.log())),
        ("the controller's log", tail(bakehouse.controller_log())),
        ("the manifest", bakehouse.manifest().read_text()),
    ]
    if bakehouse.agent is not None:
        sections.append(("the boot agent's events", tail("\n".join(map(str, bakehouse.agent.events())))))
    for args in (("rebake", "--list"), ("status", "--json"), ("events",)):
        asked = bakehouse.latent(*args)
        sections.append((f"latent {' '.join(args)}", tail(asked.stdout + asked.stderr, 3 * TAIL_LINES)))
    return sections


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines."""
    return "\n".join(text.splitlines()[-lines:])
