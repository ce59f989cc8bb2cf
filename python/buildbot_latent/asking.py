"""Has Buildbot look for builds that workers could do: once for many of them, and only where a request waits."""

from __future__ import annotations

import weakref
from typing import Any, Optional

from buildbot.data.resultspec import Filter
from buildbot.process.workerforbuilder import LatentWorkerForBuilder
from twisted.internet import defer
from twisted.python import log

# At most so often the database is asked where requests wait. Whoever comes after a pause of that length is not
# kept waiting, and nobody for longer than this.
SPACING_S = 0.02


class Asking:
    """Of all our workers of one master.

    By itself Buildbot has its distributor look at a worker's builders whenever one joins, connects or is free
    again, and each look sorts all builders that still wait for theirs, by two questions to the database for
    each. Of workers that come together, that is most of the work.
    """

    def __init__(self, master: Any) -> None:
        self._master = weakref.ref(master)
        self._builders: list[Any] = []
        self._last: Optional[float] = None
        # While a look is due or under way: who asks meanwhile waits for it, or for the next.
        self._timer: Any = None
        self._looking = False

    def ask(self, worker: Any, builders: list[Any]) -> None:
        """Has the distributor look at these builders, if something waits there, now or in a moment."""
        self._builders.extend(builders)
        if builders and not self._looking and not (self._timer is not None and self._timer.active()):
            self._schedule(worker)

    def _schedule(self, worker: Any) -> None:
        master = self._master()
        if master is None:
            return
        reactor = master.reactor
        wait = 0.0 if self._last is None else self._last + SPACING_S - reactor.seconds()
        # Never at once: a worker that joins as it starts is to be started first.
        self._timer = reactor.callLater(max(wait, 0.0), self._look, worker)

    def _look(self, worker: Any) -> None:
        master = self._master()
        if master is None or not _distributes(master):
            self._builders = []
            return
        self._looking, self._last = True, master.reactor.seconds()
        builders, self._builders = self._builders, []
        # A worker that is stopped waits for this, so that the database does not go first.
        worker._deferwaiter.add(self._look_at(master, builders).addBoth(self._looked, worker))

    def _looked(self, _: Any, worker: Any) -> None:
        self._looking = False
        # Also if this worker has left meanwhile: what waits here is others'.
        if self._builders:
            self._schedule(worker)

    @defer.inlineCallbacks
    def _look_at(self, master: Any, builders: list[Any]) -> Any:
        """A request that is made after this question is announced by itself, and finds the workers."""
        try:
            waiting = yield master.data.get(("buildrequests",), filters=[Filter("claimed", "eq", [False])])
            wanted = {request["builderid"] for request in waiting}
            names = set()
            for builder in builders:
                if wanted and builder.master is not None and (yield builder.getBuilderId()) in wanted:
                    names.add(builder.name)
        except Exception:
            log.err(None, "latent: it could not be asked which builders have requests; all are looked at")
            names = {builder.name for builder in builders}
        if names:
            master.botmaster.brd.maybeStartBuildsOn(sorted(names))


def _distributes(master: Any) -> bool:
    """Whether the distributor would look at all: not any more while its master stops, whose database goes then."""
    distributor = master.botmaster.brd
    return bool(getattr(distributor, "can_distribute", distributor.running))


class Botmaster:
    """Buildbot's, as one of our workers sees it: what it asks for goes the way above."""

    def __init__(self, real: Any, worker: Any) -> None:
        self._real = real
        self._worker = worker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def maybeStartBuildsForWorker(self, name: str) -> None:
        """As Buildbot's own says."""
        asking_of(self._worker.master).ask(self._worker, self._real.getBuildersForWorker(name))


def join(worker: Any) -> None:
    """Has a worker join those of its builders that do not have it yet."""
    joined = []
    for builder in worker.botmaster.getBuildersForWorker(worker.name):
        if builder.name not in worker.workerforbuilders:
            builder.workers.append(LatentWorkerForBuilder(worker, builder))
            joined.append(builder)
    asking_of(worker.master).ask(worker, joined)


_askings: weakref.WeakKeyDictionary[Any, Asking] = weakref.WeakKeyDictionary()


def asking_of(master: Any) -> Asking:
    """The one of this master."""
    if master not in _askings:
        _askings[master] = Asking(master)
    return _askings[master]
