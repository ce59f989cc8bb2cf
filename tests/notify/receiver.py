"""A real HTTP receiver that does as a test says."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional


@dataclass
class Call:
    """One POST."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    """What the receiver says; `reset` ends the connection, `wait` is in seconds."""

    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False
    wait: float = 0.0


@dataclass
class Receiver:
    """Listens on 127.0.0.1 while it is entered; gives `answers` in their order, then 200."""

    answers: list[Answer] = field(default_factory=list)
    context: Optional[ssl.SSLContext] = None
    calls: list[Call] = field(default_factory=list)

    def __enter__(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                text = self.rfile.read(length)
                receiver.calls.append(Call(self.path, receiver.named(self.headers), json.loads(text)))
                answer = receiver.answers.pop(0) if receiver.answers else Answer()
                if answer.wait:
                    time.sleep(answer.wait)
                if answer.reset:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                try:
                    self.wfile.write(answer.body)
                except OSError:
                    return

            def do_GET(self) -> None:
                receiver.calls.append(Call(self.path, receiver.named(self.headers), None))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        scheme = "http"
        if self.context:
            self._server.socket = self.context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://localhost:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    @staticmethod
    def named(headers: Message) -> dict[str, str]:
        """Headers by their names in lower case."""
        return {name.lower(): value for name, value in headers.items()}

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
