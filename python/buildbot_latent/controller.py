"""Finds the ``latent`` program, and starts its controller when none answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Optional

from twisted.internet import defer, utils
from twisted.python import log

from .first_config import write_if_missing
from .http import LinkError, SocketClient
from .patience import pause
from .service_manager import unit_of_this_process, warning

# Of the program: see its --help.
EXIT_CONFIGURATION = 3
EXIT_ALREADY_RUNNING = 7
# The interface that this plugin speaks.
INTERFACE = 2
START_LIMIT_S = 20.0
LOG_TAIL_BYTES = 2000
# What every system takes.
SOCKET_PATH_BYTES_MAX = 103


def find_binary(given: Optional[str]) -> str:
    """The program: as given, from LATENT_BIN, on the PATH, or from this wheel."""
    bundled = Path(__file__).parent / "bin" / "latent"
    for candidate in (given, os.environ.get("LATENT_BIN"), shutil.which("latent"), str(bundled)):
        if candidate and os.access(candidate, os.X_OK):
            return os.path.abspath(candidate)
    raise LinkError(
        "the latent program was not found: set binary= or LATENT_BIN, or put it on the PATH", "no_binary"
    )


class Controller:
    """One controller: its socket, and the process if this master started it."""

    def __init__(
        self, reactor: Any, config: str, socket: Optional[str], binary: Optional[str], autostart: bool
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._socket = socket
        self._binary = binary
        self._autostart = autostart
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._client: Optional[SocketClient] = None
        self._starting = defer.DeferredLock()
        self._warned = False

    @defer.inlineCallbacks
    def client(self) -> Any:
        """A client for the controller's socket; the program is asked where that is."""
        if self._client is None:
            path = self._socket
            if path is None:
                path = yield self._ask_socket()
            length = len(os.fsencode(path))
            if length > SOCKET_PATH_BYTES_MAX:
                # Twisted would not say so: it raises in the reactor, where nobody hears it.
                raise LinkError(
                    f"the socket path {path} has {length} bytes, and a Unix socket takes "
                    f"{SOCKET_PATH_BYTES_MAX}; set a shorter link.socket",
                    "configuration",
                )
            self._client = SocketClient(self._reactor, path)
        return self._client

    @defer.inlineCallbacks
    def _ask_socket(self) -> Any:
        args = ["config", "socket", "--config", self._config]
        out, err, code = yield utils.getProcessOutputAndValue(
            find_binary(self._binary), args, env=os.environ, reactor=self._reactor
        )
        if code != 0:
            raise LinkError(err.decode(errors="replace").strip(), "configuration")
        return out.decode().strip()

    @defer.inlineCallbacks
    def ensure_running(self) -> Any:
        """Returns when a controller of this interface answers; starts one if need be and allowed."""
        client = yield self.client()
        # One at a time: whoever waited finds the controller that the one before has started.
        yield self._starting.acquire()
        try:
            version = yield self._greet(client)
        finally:
            self._starting.release()
        check_version(version)

    @defer.inlineCallbacks
    def _greet(self, client: SocketClient) -> Any:
        try:
            return (yield client.request("GET", "/v1/version", limit=5))
        except LinkError as e:
            if not e.unreachable or not self._autostart:
                raise
        return (yield self._start(client))

    @defer.inlineCallbacks
    def _start(self, client: SocketClient) -> Any:
        log_path = Path(client.path).with_suffix(".log")
        is_new = self._spawn(log_path)
        end = self._reactor.seconds() + START_LIMIT_S
        while True:
            try:
                return (yield client.request("GET", "/v1/version", limit=5))
            except LinkError as e:
                if not e.unreachable or self._reactor.seconds() >= end:
                    raise
            code = self._process.poll() if self._process else None
            if code is not None and not is_new:
                # The one of before was about to end when it was looked at.
                is_new = self._spawn(log_path)
                continue
            if code is not None and code != EXIT_ALREADY_RUNNING:
                kind = "configuration" if code == EXIT_CONFIGURATION else "controller"
                raise LinkError(f"latent serve ended with code {code}: {_tail(log_path)}", kind)
            yield pause(self._reactor, 0.1)

    def _spawn(self, log_path: Path) -> bool:
        """Starts one unless that of before runs still; says whether it did."""
        if self._process is not None and self._process.poll() is None:
            return False
        args = [find_binary(self._binary), "serve", "--config", self._config]
        try:
            log_path.parent.mkdir(parents=True, exist_ok=True)
            with open(log_path, "ab") as out:
                # A session of its own: the controller outlives this master, also its SIGKILL.
                self._process = subprocess.Popen(
                    args, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
                )
        except OSError as e:
            raise LinkError(
                f"latent serve cannot be started with its log in {log_path}: {e}; "
                "check the folder's owner, its mode and the free space",
                "controller",
            ) from e
        log.msg(f"latent: started the controller, process {self._process.pid}, log {log_path}")
        unit = unit_of_this_process()
        if unit is not None and not self._warned:
            self._warned = True
            log.msg(f"latent: {warning(unit)}")
        return True

    def write_config_if_missing(self) -> None:
        """For workers that master.cfg describes: a fleet they must have."""
        if self._socket is None and self._client is None:
            write_if_missing(self._config)


def check_version(version: dict[str, Any]) -> None:
    """LinkError, if a controller of this version does not understand this plugin, or this plugin not it."""
    newest = version.get("interface", 0)
    oldest = version.get("interface_min", newest)
    if oldest <= INTERFACE <= newest:
        return
    older = "the controller is older: end it (SIGTERM; instances stay), it is started anew"
    newer = "this plugin is older: upgrade it and restart the master"
    raise LinkError(
        f"the controller is latent {version.get('version')} and understands the interfaces {oldest} to {newest}, "
        f"this plugin speaks {INTERFACE}; {older if newest < INTERFACE else newer}",
        "incompatible",
    )


def _tail(path: Path) -> str:
    try:
        text = path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
    except OSError as e:
        return f"its log cannot be read: {e}"
    return text.splitlines()[-1] if text else "it said nothing"
