"""The smoke build of a canary: the plugin forces it on this very worker, once, and tells how it ended."""

from __future__ import annotations

from typing import Any, Optional
from urllib.parse import quote

from buildbot.data.resultspec import Filter
from buildbot.process.buildrequest import BuildRequest
from buildbot.process.results import CANCELLED, EXCEPTION, RETRY
from twisted.internet import defer
from twisted.python import log
from twisted.python.failure import Failure

from .view import View, canary_of

# A build whose worker is lost, or whose master ends, begins again on the same instance so many times in all.
BUILDS_MAX = 3
# The property by which anybody tells a smoke build, and Buildbot's own for the worker that shall run it.
PROPERTY, CHOSEN = "latent_canary", "workername"
# A builder may have used several; a smoke build has what a build forced without any has.
SOURCE = {"codebase": "", "repository": "", "branch": None, "revision": None, "project": ""}
# Builds whose schedulers set different properties are never collapsed into one.
SET_BY = "Scheduler"

_MARK = "latent-canary"
_REASON = "latent canary of "

Canary = dict[str, Any]


def mark_of(worker: str, rebake: str, instance: str) -> str:
    """By which the build of one canary's instance is found, also by a master that did not force it."""
    return f"{_MARK}:{worker}:{rebake}:{instance}"


def marked(buildset: dict[str, Any]) -> Optional[tuple[str, str]]:
    """The worker and the instance that a buildset of ours is for. One that somebody rebuilds is not ours."""
    parts = (buildset["external_idstring"] or "").split(":")
    ours = len(parts) == 4 and parts[0] == _MARK and (buildset["reason"] or "").startswith(_REASON)
    return (parts[1], parts[3]) if ours else None


class SmokeBuild:
    """Of one worker. What is to be done is read in the master's database each time, so a restart loses nothing."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._looking = False
        # The requests whose builds this master has begun.
        self._begun: set[int] = set()
        self._said: Optional[dict[str, Any]] = None

    def said(self) -> Optional[dict[str, Any]]:
        """How it ended, for the report."""
        return self._said

    def is_of(self, build: Any) -> bool:
        """Whether a build is one."""
        return any(request.id in self._begun for request in build.requests)

    def is_wanted(self, instance: str) -> bool:
        """Whether a build on this instance is waited for, as far as is known."""
        view: Optional[View] = self._worker._view
        if view is None:
            return True
        return _due(view) is not None and view.get("instance") == instance

    def look(self, view: View) -> None:
        """Does what is next, if the controller waits for a smoke build."""
        canary = _due(view)
        if canary is None:
            self._said = None
            if canary_of(view) is None:
                self._begun.clear()
            return
        if self._looking or self._said is not None or view.get("order"):
            return
        self._looking = True
        looked = self._look(canary, str(view["instance"]))
        looked.addBoth(self._looked)

    def _looked(self, result: Any) -> None:
        self._looking = False
        if isinstance(result, Failure):
            # The next report looks again.
            log.err(result, f"latent: {self._worker.name}: the smoke build of its canary")

    @defer.inlineCallbacks
    def _look(self, canary: Canary, instance: str) -> Any:
        name, problem = canary["smoke"], self._problem(canary["smoke"])
        mark = mark_of(self._worker.name, canary["rebake"], instance)
        request = yield self._find(mark, canary)
        if request is None and problem is not None:
            self._tell(canary, 0, EXCEPTION, problem)
            return
        if request is None:
            if not self._is_free(instance):
                return
            request = yield self._ask(mark, canary)
        builds = yield self._worker.master.data.get(("buildrequests", request["buildrequestid"], "builds"))
        last = max(builds, key=lambda build: build["number"], default=None)
        if last is not None and not last["complete"]:
            return
        if last is not None and last["workerid"] != self._worker.workerid:
            self._tell(canary, last["number"], EXCEPTION, f"{name}/{last['number']} ran on another worker")
        elif last is not None and (last["results"] != RETRY or len(builds) >= BUILDS_MAX):
            self._tell(canary, last["number"], last["results"])
        elif request["complete"]:
            self._tell(canary, 0, request["results"], "somebody has cancelled its request")
        elif problem is not None:
            self._tell(canary, 0, EXCEPTION, problem)
        else:
            yield self._begin(request["buildrequestid"], name, instance)

    def _problem(self, name: str) -> Optional[str]:
        builder = self._worker.botmaster.builders.get(name)
        if builder is None:
            return f"this master has no builder {name!r}; smoke_builder of the image manifest must name one"
        if self._worker.name not in builder.config.workernames:
            return f"the builder {name!r} does not have the worker {self._worker.name}; add it to its workernames"
        return None

    def _tell(self, canary: Canary, number: int, results: int, why: str = "") -> None:
        build = f"{quote(canary['smoke'], safe='')}/{number}"[-128:]
        log.msg(
            f"latent: {self._worker.name}: the smoke build {build} of rebake {canary['rebake']} "
            f"ended with results {results}{': ' + why if why else ''}"
        )
        self._said = {"rebake": canary["rebake"], "build": build, "results": results}
        self._worker._link.report_soon()

    @defer.inlineCallbacks
    def _find(self, mark: str, canary: Canary) -> Any:
        """The request of this canary's build; whoever rebuilds one copies its mark, and not its reason."""
        get = self._worker.master.data.get
        sets = yield get(("buildsets",), filters=[Filter("external_idstring", "eq", [mark])])
        ours = [one["bsid"] for one in sets if one["reason"] == _reason(canary)]
        if not ours:
            return None
        requests = yield get(("buildrequests",), filters=[Filter("buildsetid", "eq", [min(ours)])])
        return requests[0]

    @defer.inlineCallbacks
    def _ask(self, mark: str, canary: Canary) -> Any:
        worker = self._worker
        builder_id = yield worker.botmaster.builders[canary["smoke"]].getBuilderId()
        said = {PROPERTY: canary["rebake"], "latent_ami": canary["ami"], CHOSEN: worker.name}
        _, requests = yield worker.master.data.updates.addBuildset(
            waited_for=False,
            builderids=[builder_id],
            sourcestamps=[SOURCE],
            reason=_reason(canary),
            properties={name: (value, SET_BY) for name, value in said.items()},
            external_idstring=mark,
        )
        log.msg(f"latent: {worker.name}: forces a build of {canary['smoke']} on the canary of {canary['ami']}")
        return (yield worker.master.data.get(("buildrequests", requests[builder_id])))

    def _is_free(self, instance: str) -> bool:
        """Whether a build may begin on the canary's instance now."""
        worker = self._worker
        view = worker._view
        wanted = view is not None and _due(view) is not None and view.get("instance") == instance
        return wanted and not worker.building and worker.may_smoke()

    @defer.inlineCallbacks
    def _begin(self, request: int, name: str, instance: str) -> Any:
        """Takes the request past Buildbot's own distribution, which would take any worker of the builder."""
        worker, master = self._worker, self._worker.master
        builder, wfb = worker.botmaster.builders[name], worker.workerforbuilders.get(name)
        if wfb is None or wfb.isBusy() or not self._is_free(instance):
            return
        known = yield BuildRequest.fromBrdict(master, (yield master.db.buildrequests.getBuildRequest(request)))
        # Its locks, and what its canStartBuild says: asked again at the next report.
        if not (yield builder.canStartBuild(wfb, known)):
            return
        # False if another master has it already.
        if not (yield master.data.updates.claimBuildRequests([request])):
            return
        self._begun.add(request)
        began = self._is_free(instance) and not wfb.isBusy() and (yield builder.maybeStartBuild(wfb, [known]))
        if not began:
            yield master.data.updates.unclaimBuildRequests([request])


def _due(view: View) -> Optional[Canary]:
    """The canary, if its smoke build is waited for."""
    canary = canary_of(view)
    if canary is None or canary["phase"] not in ("connected", "building"):
        return None
    return canary if canary["smoke"] is not None and canary["built"] is None else None


def _reason(canary: Canary) -> str:
    return f"{_REASON}{canary['ami']}, rebake {canary['rebake']}"


@defer.inlineCallbacks
def cancel(master: Any, request: int) -> Any:
    """Ends the request of a build that nobody waits for any more."""
    if (yield master.data.updates.claimBuildRequests([request])):
        yield master.data.updates.completeBuildRequests([request], CANCELLED)
