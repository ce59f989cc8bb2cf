"""Has Buildbot look for builds where workers have joined builders: once for many, and only where a request waits."""

from __future__ import annotations

import weakref
from typing import Any, Optional

from buildbot.data.resultspec import Filter
from buildbot.process.workerforbuilder import LatentWorkerForBuilder
from twisted.internet import defer
from twisted.python import log

# At most so often the database is asked where requests wait. The first worker after a while waits for nothing.
SPACING_S = 0.2


class Joining:
    """Of all workers of one master.

    Buildbot's own way has its distributor look at a builder with every worker that joins it, and each look
    sorts all builders that still wait for theirs, by two questions to the database for each of them.
    """

    def __init__(self, master: Any) -> None:
        self._master = weakref.ref(master)
        self._joined: list[Any] = []
        self._last: Optional[float] = None
        # While a look is due or under way: who comes meanwhile waits for it, or for the next.
        self._timer: Any = None
        self._looking = False

    def join(self, worker: Any) -> None:
        """Has a worker join those of its builders that it does not know."""
        for builder in worker.botmaster.getBuildersForWorker(worker.name):
            if builder.name not in worker.workerforbuilders:
                builder.workers.append(LatentWorkerForBuilder(worker, builder))
                self._joined.append(builder)
        if self._joined:
            self._look_when_due(worker)

    def _look_when_due(self, worker: Any) -> None:
        if self._looking or (self._timer is not None and self._timer.active()):
            return
        reactor = worker.master.reactor
        due = reactor.seconds() if self._last is None else self._last + SPACING_S
        if due > reactor.seconds():
            self._timer = reactor.callLater(due - reactor.seconds(), self._look, worker)
        else:
            self._look(worker)

    def _look(self, worker: Any) -> None:
        master = self._master()
        if master is None:
            return
        self._looking, self._last = True, master.reactor.seconds()
        builders, self._joined = self._joined, []
        # A worker that is stopped waits for this, so that the database does not go first.
        worker._deferwaiter.add(self._look_at(master, builders).addBoth(self._looked, worker))

    def _looked(self, _: Any, worker: Any) -> None:
        self._looking = False
        if self._joined and worker.master is not None:
            self._look_when_due(worker)

    @defer.inlineCallbacks
    def _look_at(self, master: Any, builders: list[Any]) -> Any:
        """A request that is made after this question is announced by itself, and finds who has joined."""
        try:
            waiting = yield master.data.get(("buildrequests",), filters=[Filter("claimed", "eq", [False])])
            wanted = {request["builderid"] for request in waiting}
            names = []
            for builder in builders:
                if (yield builder.getBuilderId()) in wanted:
                    names.append(builder.name)
        except Exception:
            log.err(None, "latent: it could not be asked which builders have requests; all are looked at")
            names = [builder.name for builder in builders]
        if names:
            master.botmaster.brd.maybeStartBuildsOn(names)


_joinings: weakref.WeakKeyDictionary[Any, Joining] = weakref.WeakKeyDictionary()


def joining_of(master: Any) -> Joining:
    """The one of this master."""
    if master not in _joinings:
        _joinings[master] = Joining(master)
    return _joinings[master]
