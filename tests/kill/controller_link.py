"""HTTP and JSON over the controller's Unix socket, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, Optional


class Unreachable(Exception):
    """No controller answers now; another one will."""


class Refused(Exception):
    """The controller answered, and did not do it."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("latent", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, method: str, url: str, body: Optional[dict[str, Any]] = None, limit: float = 20) -> Any:
    """One question to whoever listens on the socket."""
    link = _Connection(path, limit)
    try:
        data = None if body is None else json.dumps(body)
        link.request(method, url, data, {"Content-Type": "application/json"})
        answer = link.getresponse()
        status, text = answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(str(error)) from error
    finally:
        link.close()
    if status != 200:
        raise Refused(f"{method} {url}: {status} {text[:300]!r}")
    return json.loads(text)
