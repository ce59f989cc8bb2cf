"""Keeps Buildbot from handing a smoke build to any worker of its builder: the canary alone may run it."""

from __future__ import annotations

from typing import Any

from buildbot.process.buildrequestdistributor import BuildRequestDistributor
from twisted.internet import defer
from twisted.python import log

from .smoke import PROPERTY, cancel, marked


def install(master: Any) -> None:
    """From now on this master's distribution leaves smoke builds alone. Saying it again changes nothing."""
    distributor: BuildRequestDistributor = master.botmaster.brd
    chooser: Any = distributor.BuildChooser
    if not issubclass(chooser, _LeavesSmokeBuilds):
        distributor.BuildChooser = type("BuildChooser", (_LeavesSmokeBuilds, chooser), {})


class _LeavesSmokeBuilds:
    """What is mixed in before the master's own class of choosers."""

    master: Any

    @defer.inlineCallbacks
    def canStartBuild(self, worker: Any, breq: Any) -> Any:
        if PROPERTY in breq.properties and (yield self._is_smoke_build(breq)):
            return False
        return (yield super().canStartBuild(worker, breq))  # type: ignore[misc]

    @defer.inlineCallbacks
    def _is_smoke_build(self, breq: Any) -> Any:
        buildset = yield self.master.data.get(("buildsets", breq.bsid))
        found = marked(buildset)
        if found is None:
            return False
        name, instance = found
        smoke = getattr(self.master.workers.workers.get(name), "smoke_build", None)
        if smoke is not None and not smoke.is_wanted(instance):
            log.msg(f"latent: {name}: request {breq.id} is of a canary that is over, and is cancelled")
            yield cancel(self.master, breq.id)
        return True
