"""What `latent config import` is told of an old master.cfg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import buildbot.worker.ec2
import pytest
from buildbot_latent import importer
from buildbot_latent.worker import IDLE_UNTIL_TOLD_S

MASTER_CFG = """
from buildbot.plugins import util
from buildbot.worker.ec2 import EC2LatentWorker
c = BuildmasterConfig = {
    "workers": [EC2LatentWorker("w1", "secret", "m5.large", ami="ami-1", keypair_name="k", security_name="s"%s)],
    "builders": [util.BuilderConfig(name="b1", workername="w1", factory=util.BuildFactory())],
    "protocols": {"pb": {"port": 9989}},
    "multiMaster": True,
}
"""


@pytest.fixture
def of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The policy of the worker of a master.cfg with these further options."""
    # It is put in the place of Buildbot's own for good, in a process of its own.
    monkeypatch.setattr(buildbot.worker.ec2, "EC2LatentWorker", None)

    def policy(options: str = "") -> dict:
        path = tmp_path / "master.cfg"
        path.write_text(MASTER_CFG % options)
        said = importer.workers_of(str(path))
        return dict(said["workers"]["w1"]["policy"])

    return policy


def test_a_worker_that_does_not_say_when_it_is_idle_has_the_plugins_own_default(
    of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of() == {"idle_timeout": f"{IDLE_UNTIL_TOLD_S}s"}
    monkeypatch.setattr(importer, "IDLE_UNTIL_TOLD_S", 77)
    assert of() == {"idle_timeout": "77s"}


def test_a_worker_that_says_it_keeps_it(of: Any) -> None:
    assert of(", build_wait_timeout=20, missing_timeout=90") == {"idle_timeout": "20s", "connect_deadline": "90s"}
