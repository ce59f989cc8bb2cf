"""A real Buildbot master on free loopback ports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from leash import Leash

PASSWORD = "it's a $ecret"
START_SECONDS_MAX = 60.0

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
    "protocols": {{"pb": {{"port": "tcp:0:interface=127.0.0.1"}}}},
    "www": {{"port": "tcp:0:interface=127.0.0.1"}},
    "buildbotNetUsageData": None,
}}
"""

RUN = "import sys; from {module} import run; sys.exit(run())"
BUILDBOT = [sys.executable, "-c", RUN.format(module="buildbot.scripts.runner")]
TWISTD = [sys.executable, "-c", RUN.format(module="twisted.scripts.twistd")]


class BuildbotMaster:
    """One master process; it ends with this process at the latest."""

    def __init__(self, base: Path, workers: Sequence[str]) -> None:
        self.address = ""
        self._base = base
        self._config = MASTER_CFG.format(names=list(workers), password=PASSWORD)
        self._api = ""
        self._leash: Leash | None = None
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> BuildbotMaster:
        create = [*BUILDBOT, "create-master", "--quiet", str(self._base)]
        subprocess.run(create, check=True, timeout=START_SECONDS_MAX)
        (self._base / "master.cfg").write_text(self._config)
        tac = str(self._base / "buildbot.tac")
        self._leash = Leash(
            [*TWISTD, "--nodaemon", "--pidfile=", "--no_save", f"--python={tac}"],
            self._base / "output.log",
        )
        try:
            self.address = f"127.0.0.1:{self._port('PBServerFactory')}"
            self._api = f"http://127.0.0.1:{self._port('BuildbotSite')}/api/v2"
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def worker(self, name: str) -> dict[str, Any]:
        """What the master says about a worker."""
        with self._http.open(f"{self._api}/workers/{name}", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)["workers"][0]
        return found

    def connected(self, name: str) -> bool:
        """Whether the worker is logged in."""
        return bool(self.worker(name)["connected_to"])

    def force_build(self, worker: str) -> None:
        """Asks for a build on the worker."""
        call = {"jsonrpc": "2.0", "id": 1, "method": "force", "params": {}}
        request = urllib.request.Request(
            f"{self._api}/forceschedulers/force-{worker}",
            data=json.dumps(call).encode(),
            headers={"Content-Type": "application/json"},
        )
        self._http.open(request, timeout=10).close()

    def _port(self, factory: str) -> int:
        # Twisted binds port 0 and logs what it got: no one can take the port in between.
        log = self._base / "twistd.log"
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and self._leash and self._leash.poll() is None:
            text = log.read_text() if log.exists() else ""
            found = re.search(rf"{factory} starting on (\d+)\n", text)
            if found:
                return int(found.group(1))
            time.sleep(0.05)
        raise RuntimeError(f"the master did not start, see {log}")

    def _stop(self) -> None:
        if self._leash is not None:
            self._leash.end()
            self._leash.wait()
