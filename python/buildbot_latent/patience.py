"""Waiting, with an end."""

from __future__ import annotations

from typing import Any

from twisted.internet import defer


def either(asked: defer.Deferred[Any], enough: defer.Deferred[Any]) -> defer.Deferred[Any]:
    """The answer to a question, or None once `enough` fires: what comes of the question is dropped then."""
    first: defer.Deferred[Any] = defer.Deferred()

    def settle(result: Any) -> None:
        if not first.called:
            first.callback(result)

    asked.addBoth(settle)
    enough.addCallback(lambda _: settle(None))
    return first


@defer.inlineCallbacks
def within(reactor: Any, seconds: float, asked: defer.Deferred[Any]) -> Any:
    """The answer to a question, or None if there is none so soon."""
    enough: defer.Deferred[Any] = defer.Deferred()
    timer = reactor.callLater(seconds, enough.callback, None)
    try:
        return (yield either(asked, enough))
    finally:
        if timer.active():
            timer.cancel()


def pause(reactor: Any, seconds: float) -> defer.Deferred[Any]:
    """Fires after so long."""
    paused: defer.Deferred[Any] = defer.Deferred()
    reactor.callLater(seconds, paused.callback, None)
    return paused
