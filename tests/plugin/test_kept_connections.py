"""The connections to a controller's socket: kept for the next question, and none the worse for its end."""

from __future__ import annotations

from typing import Any

from buildbot_latent.http import KEPT, LinkError, SocketClient
from twisted.internet import defer, reactor
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site


class Answer(Resource):
    """Says yes to everything."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        """JSON, as the controller's."""
        return b'{"yes": true}'


class Kept(TestCase):
    """A real socket, and a real reactor."""

    def setUp(self) -> None:
        self.path = self.mktemp()[-60:].replace("/", "-") + ".sock"
        self.channels: list[Any] = []
        self._listen()
        self.client = SocketClient(reactor, self.path)
        self.addCleanup(lambda: self.client._agent._pool.closeCachedConnections())

    def _listen(self) -> None:
        site = Site(Answer())
        build = site.buildProtocol

        def counted(address: Any) -> Any:
            channel = build(address)
            self.channels.append(channel)
            return channel

        site.buildProtocol = counted
        self.port = reactor.listenUNIX(self.path, site)
        self.addCleanup(lambda: self.port.stopListening())

    def _ask(self) -> defer.Deferred:
        return self.client.request("POST", "/v1/workers/w1/admit", {"master": "m"})

    @defer.inlineCallbacks
    def test_the_next_question_takes_the_connection_of_the_last(self) -> Any:
        for _ in range(3):
            assert (yield self._ask()) == {"yes": True}
        assert len(self.channels) == 1

    @defer.inlineCallbacks
    def test_many_at_once_wait_for_no_other(self) -> Any:
        yield defer.gatherResults([self._ask() for _ in range(3 * KEPT)])
        assert len(self.channels) == 3 * KEPT
        yield defer.gatherResults([self._ask() for _ in range(KEPT)])
        assert len(self.channels) == 3 * KEPT

    @defer.inlineCallbacks
    def test_after_the_controllers_end_and_new_begin_it_answers(self) -> Any:
        yield self._ask()
        yield self.port.stopListening()
        for channel in self.channels:
            channel._channel.loseConnection()
        self._listen()
        # What hears of the end only by asking is told so, and asked again by the link.
        try:
            answer = yield self._ask()
        except LinkError as e:
            assert e.unreachable, e
            answer = yield self._ask()
        assert answer == {"yes": True}
        assert len(self.channels) == 2
