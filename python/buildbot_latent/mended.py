"""What Buildbot's own base class of latent workers gets wrong, mended."""

from __future__ import annotations

from typing import Any

from buildbot.worker.latent import AbstractLatentWorker
from twisted.python import log

from .asking import Botmaster, join


class MendedLatentWorker(AbstractLatentWorker):
    """A latent worker that builders may leave and join, also many, and whose pause after a failure stays short."""

    # The controller waits before it tries again what failed; Buildbot's own pause need not grow to an hour.
    quarantine_max_timeout = 60

    @property
    def botmaster(self) -> Any:
        """The master's; what this worker asks of it is gathered."""
        return None if self.master is None else Botmaster(self.master.botmaster, self)

    def exitQuarantine(self) -> None:
        if self.botmaster is None:
            # It left the configuration while a build of its was being prepared: nobody waits for the end.
            self.quarantine_timer = None
            return
        super().exitQuarantine()

    def updateWorker(self) -> Any:
        self._drop_former_builders()
        # Buildbot finds nothing left to join, and so has nothing to look for.
        join(self)
        return super().updateWorker()

    def _drop_former_builders(self) -> None:
        """Makes room for builders that went and came back.

        Buildbot goes by the name alone: what it once knew it never joins again, though a builder that was
        removed and added is another one, and one that used another worker has forgotten this.
        """
        for wfb in list(self.workerforbuilders.values()):
            if self._is_former(wfb) and not wfb.isBusy():
                self.removeWorkerForBuilder(wfb)

    def _is_former(self, wfb: Any) -> bool:
        builder = self.botmaster.builders.get(wfb.builder_name)
        return builder is None or wfb not in builder.workers

    def buildFinished(self, wfb: Any) -> None:
        super().buildFinished(wfb)
        if self._is_former(wfb):
            # Its builder went while this build ran, and may be back; a worker that is lost just now hears
            # of its builders when it connects again.
            self._old_builder_list = None
            told = self.updateWorker().addErrback(
                lambda failure: log.msg(
                    f"latent: {self.name} was not told its builders: {failure.getErrorMessage()}"
                )
            )
            self._deferwaiter.add(told)
