"""The life of one running instance, from its boot to its end."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from agent_config import Settings
from agent_events import Report
from builder import ROLE, Builder, is_builder
from emulated_ec2 import EmulatedEc2, Instance
from fates import Fate, Roll, choose
from identity import Identity, from_user_data
from lease_watch import LeaseWatch
from worker_files import write
from worker_service import WorkerService


class Guest:
    """One life. A stopped instance that runs again is a new one, in the same directory.

    It does nothing but in `tick`. Times are those of a monotonic clock, in seconds.
    """

    def __init__(self, instance: Instance, ec2: EmulatedEc2, roll: Roll, report: Report, now: float):
        self.instance = instance
        self._ec2 = ec2
        self._roll = roll
        self._report = functools.partial(report, instance=instance.id)
        self._seen_at = now
        self._booted_at: float | None = None
        self._fate = Fate()
        self._services: Sequence[WorkerService] = ()
        self._watch: LeaseWatch | None = None
        self._builder: Builder | None = None
        self._powering_off = False
        self._off = False
        self._ending = False

    def tick(self, now: float, settings: Settings) -> None:
        """Takes its next steps.

        May raise one of `aws_client.CALL_ERRORS`; the next tick tries again.
        """
        for service in self._services:
            service.tick(now)
        if self._ending or self._off:
            return
        if self._booted_at is None:
            if now >= self._seen_at + settings.boot_delay:
                self._boot(now, settings)
        elif self._powering_off:
            self._power_off_when_quiet()
        elif self._builder is not None:
            self._tick_builder(self._builder, now)
        elif self._watch is not None and self._watch.orders_power_off:
            self._report("lease-watch-ordered", said=self._watch.said.strip().rpartition("\n")[2])
            self._begin_power_off()
        elif self._fate_is_due(now):
            self._meet_fate()

    def end(self) -> None:
        """The instance is no longer running: ends every process of it."""
        self._ending = True
        self._end_services()

    def wait(self) -> None:
        """After `end`: waits until no process is left."""
        for service in self._services:
            service.wait()
        for other in (self._watch, self._builder):
            if other is not None:
                other.wait()

    @property
    def ended(self) -> bool:
        """Whether it was told to end, and no process is left."""
        return self._ending and self._quiet

    @property
    def _quiet(self) -> bool:
        others = [other for other in (self._watch, self._builder) if other is not None]
        return all(one.ended for one in [*others, *self._services])

    def _boot(self, now: float, settings: Settings) -> None:
        imds = self._ec2.imds(self.instance.id)
        told = bool(imds) or self._is_injected(settings) or self.instance.role == ROLE
        user_data = self._ec2.user_data(self.instance.id) if told else ""
        if is_builder(self.instance, user_data, settings.builder):
            self._begin_rebake(user_data, now, settings)
            return
        identity, problem = self._identity(settings, user_data)
        worker = self.instance.worker or (identity.worker if identity else "")
        nth = self._roll.number(worker, self.instance.id)
        self._fate = choose(settings.fates, worker, nth)
        self._booted_at = now
        self._report("boot", worker=worker, nth=nth, fate=self._fate.name)
        if imds:
            base = settings.state_dir / self.instance.id
            self._watch = LeaseWatch(base, user_data, imds, settings.lease_watch, self._report)
        if identity is None:
            self._report("no-identity", problem=problem)
        elif self._fate.name != "never":
            self._install(identity, settings, now)

    def _begin_rebake(self, user_data: str, now: float, settings: Settings) -> None:
        """Its worker is held: nothing of it runs here."""
        self._booted_at = now
        self._report("boot", worker=self.instance.worker, nth=0, fate="rebake")
        base = settings.state_dir / self.instance.id
        self._builder = Builder(base, self.instance, user_data, self._ec2, settings.builder, self._report)

    def _tick_builder(self, builder: Builder, now: float) -> None:
        builder.tick(now)
        if builder.orders_power_off:
            self._report("builder-ended", said=builder.said.strip().rpartition("\n")[2])
            self._begin_power_off()

    def _is_injected(self, settings: Settings) -> bool:
        image = settings.images.get(self.instance.image)
        return image is not None and image.baked is None

    def _identity(self, settings: Settings, user_data: str) -> tuple[Identity | None, str]:
        image = settings.images.get(self.instance.image)
        if image is None:
            return None, f"{self.instance.image} is not among the images of the configuration"
        if image.baked is not None:
            return image.baked, ""
        try:
            return from_user_data(user_data), ""
        except ValueError as problem:
            return None, str(problem)

    def _install(self, identity: Identity, settings: Settings, now: float) -> None:
        base = settings.state_dir / self.instance.id
        write(base, identity, self.instance)
        start_at = now + (self._fate.seconds if self._fate.name == "late" else 0.0)
        logs = ["worker.log", "worker-2.log"] if self._fate.name == "twice" else ["worker.log"]
        restart = self._fate.name != "die"
        self._services = [WorkerService(base, base / log, start_at, restart, self._report) for log in logs]

    def _fate_is_due(self, now: float) -> bool:
        if self._fate.name not in ("die", "poweroff"):
            return False
        connections = [service.connected_at for service in self._services]
        start = connections[0] if connections and not self._fate.from_boot else self._booted_at
        return start is not None and now >= start + self._fate.seconds

    def _meet_fate(self) -> None:
        if self._fate.name == "die":
            for service in self._services:
                service.crash()
        else:
            self._begin_power_off()

    def _begin_power_off(self) -> None:
        self._powering_off = True
        self._end_services()

    def _power_off_when_quiet(self) -> None:
        if not self._quiet:
            return
        behaviour = self._ec2.power_off(self.instance.id)
        # From now on it waits to be seen as no longer running.
        self._off = True
        self._report("powered-off", behaviour=behaviour)

    def _end_services(self) -> None:
        for service in self._services:
            service.end()
        for other in (self._watch, self._builder):
            if other is not None:
                other.end()
