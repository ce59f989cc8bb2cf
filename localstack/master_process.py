"""A real Buildbot master on loopback: its folder, its process, its REST interface."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

HERE = str(Path(__file__).resolve().parent)
START_S = 60.0
LEAVE_S = 15.0

BUILDBOT_TAC = """\
import os

from buildbot.master import BuildMaster
from twisted.application import service

basedir = os.path.abspath(os.path.dirname(__file__))
application = service.Application('buildmaster')
master = BuildMaster(basedir, "master.cfg")
master.setServiceParent(application)
"""

# Found by import and not as scripts: they need not be on the PATH nor beside the interpreter.
RUN = "import sys; from {module} import run; sys.exit(run())"
BUILDBOT = [sys.executable, "-c", RUN.format(module="buildbot.scripts.runner")]
# The process asks to end with the one that started it, should that be killed: there is no one left
# to end it then. It asks itself, because code between fork and exec can hang when threads run.
TIE = (
    f"import sys; sys.path.insert(0, {HERE!r}); "
    "from leash import end_with_parent; end_with_parent(); sys.path.pop(0); "
)
TWISTD = [sys.executable, "-c", TIE + RUN.format(module="twisted.scripts.twistd")]


def wait_for(what: str, check: Callable[[], Any], seconds: float = 30.0, every: float = 0.05) -> Any:
    """The first true answer of `check`; raises TimeoutError that says what was waited for."""
    end = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() >= end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


def reserve_port() -> socket.socket:
    """A loopback port for servers that are started, ended and started again.

    While the socket is open the kernel gives the port to nobody who asks for a free one; a server
    that sets SO_REUSEADDR, as all do here, can listen on it. Without one, connections are refused.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def port_of(reserved: socket.socket) -> int:
    """Its number."""
    return int(reserved.getsockname()[1])


def end_process(process: Optional[subprocess.Popen[bytes]], how: int) -> None:
    """Ends a child as told, and waits until it is gone; one that stays is killed."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class MasterProcess:
    """One master. Its ports stay the same when it is started again."""

    def __init__(
        self, folder: Path, environment: Optional[Mapping[str, str]] = None, template: Optional[Path] = None
    ) -> None:
        """`template` is an empty database to copy; it is made if it does not exist yet."""
        self.folder = folder
        self.environment = dict(os.environ if environment is None else environment)
        self.process: Optional[subprocess.Popen[bytes]] = None
        self._template = template
        self._pb, self._www = reserve_port(), reserve_port()
        # A proxy from the environment must not come between us and loopback.
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def pb_port(self) -> int:
        """Where workers connect."""
        return port_of(self._pb)

    @property
    def www_port(self) -> int:
        """Where the REST interface is."""
        return port_of(self._www)

    def write(self, config: str) -> None:
        """Makes its files. In `config`, @PB@ and @WWW@ stand for the ports."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = config.replace("@PB@", str(self.pb_port)).replace("@WWW@", str(self.www_port))
        (self.folder / "master.cfg").write_text(config)
        (self.folder / "buildbot.tac").write_text(BUILDBOT_TAC)
        database = self.folder / "state.sqlite"
        if database.exists():
            return
        if self._template is not None and self._template.exists():
            shutil.copy(self._template, database)
            return
        made = self.buildbot("upgrade-master", "--quiet", str(self.folder))
        if made.returncode != 0:
            raise RuntimeError(f"the master's database cannot be made: {made.stdout[-1500:]}{made.stderr[-1500:]}")
        if self._template is not None:
            shutil.copy(database, self._template)

    def buildbot(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of Buildbot in the master's environment."""
        command = [*BUILDBOT, *args]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=START_S)

    def start(self, builders: int = 1) -> None:
        """Starts it and waits until its interface shows so many builders."""
        args = [*TWISTD, "--nodaemon", "--no_save", "--pidfile=", "--python=buildbot.tac"]
        with open(self.folder / "master.out", "ab") as out:
            self.process = subprocess.Popen(args, cwd=self.folder, env=self.environment, stdout=out, stderr=out)
        wait_for("the master's interface", lambda: self._answers(builders), START_S)

    def _answers(self, builders: int) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError(f"the master ended: {self.log()[-2000:]}")
        try:
            return len(self.rest("builders")["builders"]) >= builders
        except (OSError, RuntimeError):
            return False

    def kill(self, how: int = signal.SIGKILL) -> None:
        """Ends it as told, and waits until it is gone."""
        end_process(self.process, how)
        self.process = None

    def close(self) -> None:
        """Ends it and gives its ports back."""
        self.kill()
        self._pb.close()
        self._www.close()

    def log(self) -> str:
        """What it logged."""
        texts = [self.folder / "twistd.log", self.folder / "master.out"]
        return "".join(path.read_text(errors="replace") for path in texts if path.exists())

    def rest(self, path: str, body: Optional[dict[str, Any]] = None) -> Any:
        """Asks the REST interface."""
        try:
            return self._ask(path, body)
        except http.client.HTTPException:
            # The answer broke off, as happens on a busy machine. A question may be asked again.
            if body is not None:
                raise
            return self._ask(path, body)

    def _ask(self, path: str, body: Optional[dict[str, Any]]) -> Any:
        url = f"http://127.0.0.1:{self.www_port}/api/v2/{path}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with self._http.open(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            raise RuntimeError(f"{path}: {e}: {e.read(500).decode(errors='replace')}") from e

    def control(self, path: str, method: str, **params: Any) -> Any:
        """Asks it to do something."""
        return self.rest(path, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})["result"]
