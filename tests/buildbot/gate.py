"""A gate between the controller and the emulated EC2, where calls can be held, refused or lost.

The controller's endpoint is the gate; tests and the boot agent talk to the emulator directly. A
rule is about one EC2 action and meets its next calls; without a rule a call passes.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Optional
from xml.sax.saxutils import escape

from master_process import port_of, reserve_port

Form = dict[str, str]
ANSWER_S = 60.0

ERROR_XML = """<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
<RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"""

# Headers that are about one connection and not about the message.
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}


@dataclass
class Answer:
    """What the caller gets."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Rule:
    """What happens to calls of one action."""

    action: str
    # Answers in the emulator's place; None hands the call on.
    instead: Optional[Answer] = None
    # Replaces the emulator's answer after the call was handed on.
    spoilt: Optional[Answer] = None
    hold: Optional[Hold] = None
    times: Optional[int] = None
    fits: Callable[[Form], bool] = lambda form: True


class Hold:
    """One call that is stopped on its way: before the emulator hears it, or its answer after."""

    def __init__(self, before: bool) -> None:
        self.before = before
        self._reached = threading.Event()
        self._settled = threading.Event()
        self._lock = threading.Lock()
        self._passes = False

    def wait(self, seconds: float = 30) -> None:
        """Returns when a call is held; raises TimeoutError."""
        if not self._reached.wait(seconds):
            raise TimeoutError(f"no call was held within {seconds:.0f} s")

    def let_go(self) -> None:
        """The held call goes on as if nothing had been, unless it was dropped."""
        self._settle(True)

    def drop(self) -> None:
        """The held call ends here, and the connection breaks, unless it was let go."""
        self._settle(False)

    def _settle(self, passes: bool) -> None:
        with self._lock:
            if not self._settled.is_set():
                self._passes = passes
                self._settled.set()

    def stay(self) -> bool:
        """For the gate: waits for the decision; whether the call goes on."""
        self._reached.set()
        self._settled.wait()
        return self._passes


@dataclass
class _Book:
    calls: list[tuple[str, Form]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)


class Gate:
    """One gate in front of one emulator."""

    def __init__(self, target: str) -> None:
        self._target = urllib.parse.urlsplit(target)
        self._port = reserve_port()
        self._lock = threading.Lock()
        self._book = _Book()
        self._connections: set[BaseHTTPRequestHandler] = set()
        self._server: Optional[_Server] = None
        self.endpoint = f"http://127.0.0.1:{port_of(self._port)}"
        self.up()

    # What tests say.

    def refuse(
        self,
        action: str,
        code: str,
        message: str = "refused by the gate",
        status: int = 400,
        times: Optional[int] = None,
        fits: Callable[[Form], bool] = lambda form: True,
    ) -> None:
        """EC2 refuses the calls with this code; they are not handed on."""
        body = ERROR_XML.format(code=escape(code), message=escape(message)).encode()
        self._add(
            Rule(action, instead=Answer(status, [("Content-Type", "text/xml")], body), times=times, fits=fits)
        )

    def garble(self, action: str, after: bool = False, times: Optional[int] = None) -> None:
        """The calls are answered with something that is not EC2's; with `after`, EC2 has heard them."""
        answer = Answer(
            200, [("Content-Type", "text/html")], b"<html><body>Please log in to this network<br></html>"
        )
        rule = Rule(action, spoilt=answer) if after else Rule(action, instead=answer)
        rule.times = times
        self._add(rule)

    def hold_call(self, action: str) -> Hold:
        """The next call that is no dry run is stopped before EC2 hears it."""
        return self._hold(action, before=True)

    def hold_answer(self, action: str) -> Hold:
        """The next call that is no dry run is heard by EC2, and its answer stopped."""
        return self._hold(action, before=False)

    def _hold(self, action: str, before: bool) -> Hold:
        hold = Hold(before)
        self._add(Rule(action, hold=hold, times=1, fits=lambda form: form.get("DryRun") != "true"))
        return hold

    def clear(self) -> None:
        """Calls pass again; what is held is dropped, and what was counted is forgotten."""
        with self._lock:
            rules, self._book = self._book.rules, _Book()
        for rule in rules:
            if rule.hold is not None:
                rule.hold.drop()

    def count(self, action: str) -> int:
        """How many calls of this action came, whatever became of them."""
        return len(self.forms(action))

    def forms(self, action: str) -> list[Form]:
        """The calls of this action, with their parameters."""
        with self._lock:
            return [form for name, form in self._book.calls if name == action]

    def calls(self) -> list[tuple[str, Form]]:
        """Every call with its action, in their order."""
        with self._lock:
            return list(self._book.calls)

    def down(self) -> None:
        """Nobody answers: connections are refused, and open ones break."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        with self._lock:
            handlers = list(self._connections)
        for handler in handlers:
            _break(handler)

    def up(self) -> None:
        """Listens, on the same port as ever."""
        if self._server is not None:
            return
        self._server = _Server(self, port_of(self._port))
        # A short poll: `down` waits for it.
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Ends it."""
        self.clear()
        self.down()
        self._port.close()

    # What the handler asks.

    def _add(self, rule: Rule) -> None:
        with self._lock:
            self._book.rules.append(rule)

    def rule_for(self, action: str, form: Form) -> Optional[Rule]:
        """Counts a call, and gives the rule that it meets."""
        with self._lock:
            self._book.calls.append((action, form))
            for rule in self._book.rules:
                if rule.action == action and rule.times != 0 and rule.fits(form):
                    if rule.times is not None:
                        rule.times -= 1
                    return rule
        return None

    def forward(self, path: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """Asks the emulator."""
        link = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=ANSWER_S)
        try:
            link.request("POST", path, body, dict(headers))
            answer = link.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
            return Answer(answer.status, kept, answer.read())
        finally:
            link.close()

    def connected(self, handler: BaseHTTPRequestHandler, there: bool) -> None:
        """Keeps the list of open connections."""
        with self._lock:
            (self._connections.add if there else self._connections.discard)(handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, gate: Gate, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.gate = gate

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that was killed breaks its connection; that is what the tests are about."""


def _break(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.gate.connected(self, True)

    def finish(self) -> None:
        self.server.gate.connected(self, False)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """The emulator logs."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self._decide(body)
        if answer is None:
            _break(self)
            return
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _decide(self, body: bytes) -> Optional[Answer]:
        """The answer; None breaks the connection."""
        gate = self.server.gate
        form = dict(urllib.parse.parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        rule = gate.rule_for(form.get("Action", ""), form) or Rule("")
        if rule.instead is not None:
            return rule.instead
        if rule.hold is not None and rule.hold.before and not rule.hold.stay():
            return None
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP]
        answer = gate.forward(self.path, headers, body)
        if rule.hold is not None and not rule.hold.before and not rule.hold.stay():
            return None
        return rule.spoilt or answer
