"""What tests with a real fleet ask of pytest: an end by signal, and a look at the fleet when one fails."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, Optional

import pytest
from fleet import Fleet

TAIL_LINES = 60
# The fleet of a test.
FLEET = pytest.StashKey[Fleet]()


def pytest_configure(config: pytest.Config) -> None:
    """Lets the processes that were started end also when pytest is told to."""

    def leave(_signal: int, _frame: Optional[FrameType]) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)


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
        *((str(path.relative_to(fleet.folder)), path.read_text()) for path in fleet.to_show()),
    ]
    if fleet.agent is not None:
        sections.append(("the boot agent's events", tail("\n".join(map(str, fleet.agent.events())))))
    for args in fleet.to_ask():
        asked = fleet.latent(*args)
        sections.append((f"latent {' '.join(args)}", tail(asked.stdout + asked.stderr, 3 * TAIL_LINES)))
    return sections


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines."""
    return "\n".join(text.splitlines()[-lines:])
