"""`latent notify` against a real mail server and a real receiver of webhooks, both on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("localstack", "tests/notify", "tests/kill", "tests/serve")]

from authority import Authority  # noqa: E402
from notify_fleet import NotifyFleet  # noqa: E402
from post_office import PostOffice  # noqa: E402


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody else trusts, with a certificate for localhost."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def office() -> Iterator[PostOffice]:
    """A mail server without TLS."""
    with PostOffice() as office:
        yield office


@pytest.fixture()
def fleet(binary: str, tmp_path: Path) -> NotifyFleet:
    """A folder with a configuration."""
    return NotifyFleet(binary, tmp_path)
