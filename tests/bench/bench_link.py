"""What a master says to the controller: single questions, many at once, and the report as the plugin makes it."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from typing import Any, Optional

from controller_link import Unreachable, ask

# The plugin's own times.
REPORT_S, GATHER_S, NEWS_S = 5.0, 0.05, 25
STORM_S = 120.0


def request_bytes(method: str, url: str, body: Optional[dict[str, Any]]) -> bytes:
    """One question on a connection of its own, ready to be sent."""
    text = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {url} HTTP/1.1\r\nHost: latent\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


def storm(path: str, questions: list[bytes]) -> tuple[list[float], list[float]]:
    """Asks all of them at once; when each was begun, and how long its answer took, in seconds."""
    began, took = [0.0] * len(questions), [0.0] * len(questions)
    with selectors.DefaultSelector() as waiting:
        for number, question in enumerate(questions):
            link = socket.socket(socket.AF_UNIX)
            began[number] = time.time()
            link.connect(path)
            link.sendall(question)
            link.setblocking(False)
            waiting.register(link, selectors.EVENT_READ, (number, bytearray()))
        end = time.time() + STORM_S
        while waiting.get_map() and time.time() < end:
            for key, _ in waiting.select(1.0):
                number, answer = key.data
                part = key.fileobj.recv(65536)  # type: ignore[union-attr]
                if part:
                    answer.extend(part)
                    continue
                took[number] = time.time() - began[number]
                waiting.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"a question was refused: {bytes(answer[-300:])!r}")
        if waiting.get_map():
            raise TimeoutError(f"{len(waiting.get_map())} questions have no answer after {STORM_S:.0f} s")
    return began, took


class Reporter:
    """One master: its report every few seconds, and at once when the controller's record moves."""

    def __init__(self, socket_path: str, name: str, workers: list[str]) -> None:
        self.name = name
        self.said: dict[str, dict[str, Any]] = {worker: _nothing() for worker in workers}
        # What the controller answered last; only where somebody looks at it.
        self.views: dict[str, Any] = {}
        self.looks = False
        self._socket = socket_path
        self._news = threading.Event()
        self._over = threading.Event()
        self._seen = 0
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._report, self._listen)]

    def start(self) -> None:
        """Begins to report and to listen."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the report at once, and the listening with its present question."""
        self._over.set()
        self._news.set()
        self._threads[0].join()

    def say(self, worker: str, **changed: Any) -> None:
        """Something is new with a worker; the report that says so follows at once."""
        self.said[worker] = {**self.said[worker], **changed}
        self._news.set()

    def _report(self) -> None:
        while not self._over.is_set():
            body = {"workers": dict(self.said)}
            try:
                answer = ask(self._socket, "POST", f"/v1/masters/{self.name}/report", body)
            except Unreachable:
                answer = None
            if answer is not None:
                self._seen = max(self._seen, int(answer["seq"]))
                self.views = answer["workers"] if self.looks else {}
            if self._news.wait(REPORT_S):
                self._over.wait(GATHER_S)
                self._news.clear()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                page = ask(self._socket, "GET", f"/v1/events?after={self._seen}&wait={NEWS_S}", limit=NEWS_S + 15)
            except Unreachable:
                self._over.wait(1.0)
                continue
            if page["last"] != self._seen:
                self._seen = page["last"]
                self._news.set()


def _nothing() -> dict[str, Any]:
    return {"request": None, "wanted": False, "attached": False, "build": None}
