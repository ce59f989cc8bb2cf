"""HTTP and JSON over the controller's Unix socket, on Twisted; no thread, no further library."""

from __future__ import annotations

import io
import json
from typing import Any, Optional

from twisted.internet import defer
from twisted.internet import error as net_error
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    readBody,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

# Connections that are kept for the next questions: a worker that knocks shall not wait for a new one.
KEPT = 8
# An answer that broke off, and a question that did.
BROKEN = (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed)


class LinkError(Exception):
    """The controller refused, or could not be asked; the text says what to do."""

    def __init__(self, message: str, code: str = "unreachable") -> None:
        super().__init__(message)
        self.code = code

    @property
    def unreachable(self) -> bool:
        return self.code == "unreachable"


@implementer(IAgentEndpointFactory)
class _SocketFactory:
    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._path = path

    def endpointForURI(self, uri: Any) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(self._reactor, self._path, timeout=10)


class SocketClient:
    """Asks whoever listens on a Unix socket."""

    def __init__(self, reactor: Any, path: str) -> None:
        self.path = path
        self._reactor = reactor
        pool = HTTPConnectionPool(reactor)
        pool.maxPersistentPerHost = KEPT
        self._agent = Agent.usingEndpointFactory(reactor, _SocketFactory(reactor, path), pool)

    @defer.inlineCallbacks
    def request(self, method: str, url: str, body: Optional[dict[str, Any]] = None, limit: float = 40) -> Any:
        """The decoded answer. Raises LinkError; the code is ``unreachable`` if nobody answered."""
        headers = Headers({"content-type": ["application/json"]})
        producer = FileBodyProducer(io.BytesIO(json.dumps(body).encode())) if body is not None else None
        asked = self._agent.request(method.encode(), b"http://latent" + url.encode(), headers, producer)
        asked.addTimeout(limit, self._reactor)
        try:
            response = yield asked
            reading = readBody(response)
            reading.addTimeout(limit, self._reactor)
            text = yield reading
        except (defer.TimeoutError, defer.CancelledError, net_error.ConnectingCancelledError) as e:
            raise LinkError(f"the controller on {self.path} did not answer within {limit:.0f} s") from e
        except (net_error.ConnectError, net_error.ConnectionClosed, *BROKEN, OSError) as e:
            raise LinkError(f"no controller answers on {self.path}: {e}") from e
        return _decoded(response.code, text, self.path)


def _decoded(status: int, text: bytes, path: str) -> Any:
    try:
        answer = json.loads(text)
    except ValueError as e:
        raise LinkError(f"what answers on {path} is not a latent controller", "incompatible") from e
    if status == 200:
        return answer
    message = answer.get("message", f"HTTP {status}") if isinstance(answer, dict) else f"HTTP {status}"
    code = answer.get("code", "refused") if isinstance(answer, dict) else "refused"
    raise LinkError(message, code)
