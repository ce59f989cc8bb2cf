"""Lets a worker in only from the instance that the controller has for it at present."""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet import defer
from twisted.python import log

from .http import LinkError
from .link import Link
from .patience import within

# How long a worker that knocks waits for the controller's word.
LIMIT_S = 10
# Files of the worker's info/ that prove on which instance it is: what the controller calls them.
SECRET = "latent-join-secret"
INFO = {
    "latent-instance-id": "instance_id",
    SECRET: "join_secret",
    "latent-identity-document": "identity_document",
    "latent-identity-signature": "identity_signature",
}


class TurnedAway(RuntimeError):
    """A connection that is not let in; the text says why."""


class Door:
    """The door of one worker."""

    def __init__(self, reactor: Any, name: str, link: Link) -> None:
        self._reactor = reactor
        self._name = name
        self._link = link

    @defer.inlineCallbacks
    def ask(self, conn: Any) -> Any:
        """Returns when the controller says that this connection is from the right instance; else TurnedAway."""
        info = {ours: str(conn.info[file]) for file, ours in INFO.items() if conn.info.get(file)}
        # Buildbot keeps what the worker says of itself; a secret it need not keep.
        conn.info = {name: value for name, value in conn.info.items() if name != SECRET}
        answer = yield self._in_time(self._link.admit(self._name, _host(conn), info))
        if answer["admit"]:
            log.msg(f"latent: {self._name} knocks and is let in: {answer['proof']}")
            return
        if answer.get("twin"):
            # Its instance is ended by the controller; until then it shall not knock again and again.
            yield self._send_off(conn)
        raise TurnedAway(answer["why"] or "it is not on the worker's present instance")

    @defer.inlineCallbacks
    def view(self) -> Any:
        """What the controller knows of the worker, if it says so in time."""
        return (yield self._in_time(self._link.worker(self._name)))

    @defer.inlineCallbacks
    def _in_time(self, asked: defer.Deferred[Any]) -> Any:
        try:
            answer = yield within(self._reactor, LIMIT_S, asked)
        except LinkError as e:
            raise TurnedAway(f"the controller cannot be asked: {e}") from e
        if answer is None:
            raise TurnedAway(f"the controller has not answered in {LIMIT_S} s")
        return answer

    @defer.inlineCallbacks
    def _send_off(self, conn: Any) -> Any:
        try:
            yield within(self._reactor, LIMIT_S, defer.maybeDeferred(conn.remoteShutdown))
        except Exception as e:
            log.msg(f"latent: {self._name}: the worker on an earlier instance does not shut down: {e}")


def _host(conn: Any) -> Optional[str]:
    """The address that the connection comes from, without its port."""
    host = str(conn.get_peer()).rpartition(":")[0].strip("[]")
    return host or None
