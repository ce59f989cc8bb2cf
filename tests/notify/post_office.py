"""A real SMTP server that does as a test says."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
import threading
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Optional

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


@dataclass
class Letter:
    """One message that was taken."""

    sender: str
    to: list[str]
    message: EmailMessage
    tls: bool
    user: Optional[str]


@dataclass
class PostOffice:
    """Listens on 127.0.0.1 while it is entered. `answers` are given to DATA in their order, then 250;
    `reset` ends that many connections in the middle of a message."""

    tls: str = "none"
    context: Optional[ssl.SSLContext] = None
    password: Optional[str] = None
    answers: list[str] = field(default_factory=list)
    recipients: dict[str, str] = field(default_factory=dict)
    reset: int = 0
    letters: list[Letter] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> PostOffice:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()

        async def listen() -> None:
            tls = self.context if self.tls == "tls" else None
            server = await self._loop.create_server(self._protocol, "127.0.0.1", self.port, ssl=tls)
            self.port = server.sockets[0].getsockname()[1]
            self._server = server
            ready.set()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.create_task(listen())
            self._loop.run_forever()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert ready.wait(10), "the mail server listens"
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self._server.close()
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)
        self._thread.join(10)

    def _protocol(self) -> SMTP:
        starttls = self.context if self.tls == "starttls" else None
        return SMTP(
            self,
            hostname="localhost",
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=self._login if self.password else None,
            auth_required=self.password is not None,
            # Behind TLS from the beginning aiosmtpd does not know that it is protected.
            auth_require_tls=starttls is not None,
            loop=self._loop,
        )

    def _login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        right = data.password == (self.password or "").encode()
        # Not handled: the server says 535 itself.
        return AuthResult(success=right, handled=False, auth_data=data.login.decode() if right else None)

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.recipients:
            return self.recipients[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.reset > 0:
            self.reset -= 1
            assert server.transport is not None
            server.transport.abort()
            return "421 gone"
        if self.answers:
            answer = self.answers.pop(0)
            if not answer.startswith("2"):
                return answer
        content = envelope.original_content or b""
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        tls = session.ssl is not None or self.tls == "tls"
        user = session.auth_data if isinstance(session.auth_data, str) else None
        self.letters.append(Letter(envelope.mail_from or "", list(envelope.rcpt_tos), message, tls, user))
        return "250 taken"
