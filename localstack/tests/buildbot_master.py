"""The Buildbot master of these tests: plain workers, and builds that stay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from master_process import MasterProcess

PASSWORD = "it's a $ecret"

# The step of a build tells its process id and then stays.
MASTER_CFG = """\
from buildbot.plugins import schedulers, steps, util, worker

names = {names!r}
step = steps.ShellCommand(command=["sh", "-c", "echo $$ > step.pid; exec sleep 600"])
BuildmasterConfig = {{
    "workers": [worker.Worker(name, {password!r}) for name in names],
    "builders": [
        util.BuilderConfig(name=f"on-{{name}}", workername=name, factory=util.BuildFactory([step]))
        for name in names
    ],
    "schedulers": [
        schedulers.ForceScheduler(name=f"force-{{name}}", builderNames=[f"on-{{name}}"])
        for name in names
    ],
    "protocols": {{"pb": {{"port": "tcp:@PB@:interface=127.0.0.1"}}}},
    "www": {{"port": "tcp:@WWW@:interface=127.0.0.1"}},
    "buildbotNetUsageData": None,
}}
"""


class BuildbotMaster(MasterProcess):
    """One master process; it ends with this process at the latest."""

    def __init__(self, folder: Path, workers: Sequence[str]) -> None:
        super().__init__(folder)
        self._workers = list(workers)
        self.address = f"127.0.0.1:{self.pb_port}"

    def __enter__(self) -> BuildbotMaster:
        self.write(MASTER_CFG.format(names=self._workers, password=PASSWORD))
        try:
            self.start(builders=len(self._workers))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def worker(self, name: str) -> dict[str, Any]:
        """What the master says about a worker."""
        found: dict[str, Any] = self.rest(f"workers/{name}")["workers"][0]
        return found

    def connected(self, name: str) -> bool:
        """Whether the worker is logged in."""
        return bool(self.worker(name)["connected_to"])

    def force_build(self, worker: str) -> None:
        """Asks for a build on the worker."""
        self.control(f"forceschedulers/force-{worker}", "force")
