#!/usr/bin/env python3
"""Gives each running instance of an emulated EC2 a life as local processes.

An emulator only says "running": nothing runs. The agent looks at the list of running instances
and makes the processes agree with it, again and again; it needs no message about what changed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

from agent_config import ConfigFile
from agent_events import EventLog, Report
from aws_client import CALL_ERRORS
from emulated_ec2 import EmulatedEc2, Instance, emulated_ec2
from fates import Roll
from guest import Guest
from lifetime import Lifetime


class Agent:
    """All guests of one endpoint."""

    def __init__(self, config: ConfigFile, report: Report) -> None:
        self._config = config
        self._report = report
        # Read at the start only, as are the regions.
        self._endpoint = config.settings.endpoint
        self._region_names = config.settings.regions
        self._roll = Roll()
        self._guests: dict[str, Guest] = {}
        # Known once the endpoint has answered: until then nobody can say which emulator it is.
        self._ec2: dict[str, EmulatedEc2] = {}
        # The regions that did not answer last time.
        self._silent: set[str] = set()

    def tick(self) -> None:
        """Looks once, and acts on what it sees."""
        listings = [(region, self._list(region)) for region in self._region_names]
        # Read after the listing: whoever changes the file and then launches can be sure that the
        # new instance lives by the change.
        self._reload()
        for region, running in listings:
            # No answer says nothing about the instances: their guests live on.
            if running is not None:
                self._match(self._ec2[region], running)
        for guest in list(self._guests.values()):
            self._tick_guest(guest)

    def close(self) -> None:
        """Ends every guest's processes, all at the same time, and waits for it."""
        for guest in self._guests.values():
            guest.end()
        for guest in self._guests.values():
            guest.wait()

    def _list(self, region: str) -> list[Instance] | None:
        try:
            if region not in self._ec2:
                self._ec2[region] = emulated_ec2(self._endpoint, region)
            running = self._ec2[region].instances(["running"])
        except CALL_ERRORS as error:
            if region not in self._silent:
                self._silent.add(region)
                self._report("unreachable", region=region, error=str(error))
            return None
        if region in self._silent:
            self._silent.remove(region)
            self._report("reachable", region=region)
        return running

    def _reload(self) -> None:
        try:
            self._config.reload()
        except ValueError as error:
            self._report("bad-config", error=str(error))

    def _match(self, ec2: EmulatedEc2, running: list[Instance]) -> None:
        ids = {instance.id for instance in running}
        for guest in self._guests.values():
            if guest.instance.region == ec2.region and guest.instance.id not in ids:
                guest.end()
        for instance in running:
            known = self._guests.get(instance.id)
            if known is not None and known.instance.launched != instance.launched:
                # It was stopped and started between two looks.
                known.end()
            # A guest whose last life is still ending is in the list; it is born again later.
            if instance.id not in self._guests:
                now = time.monotonic()
                self._guests[instance.id] = Guest(instance, ec2, self._roll, self._report, now)
                self._report(
                    "seen-running",
                    instance=instance.id,
                    region=instance.region,
                    image=instance.image,
                    worker=instance.worker,
                )

    def _tick_guest(self, guest: Guest) -> None:
        # After an error it tries again; the next listing reports an endpoint that is away.
        with contextlib.suppress(*CALL_ERRORS):
            guest.tick(time.monotonic(), self._config.settings)
        if guest.ended:
            del self._guests[guest.instance.id]
            self._report("ended", instance=guest.instance.id)


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", type=Path, required=True, help="a JSON file")
    parser.add_argument("--verbose", action="store_true", help="print each event")
    parser.add_argument("--parent-pid", type=int, help="end when this process does")
    arguments = parser.parse_args()
    try:
        config = ConfigFile(arguments.config)
    except (OSError, ValueError) as error:
        print(f"{arguments.config}: {error}", file=sys.stderr)
        return 2
    lifetime = Lifetime(arguments.parent_pid)
    config.settings.state_dir.mkdir(parents=True, exist_ok=True)
    log = EventLog(config.settings.state_dir, arguments.verbose)
    agent = Agent(config, log.report)
    log.report("agent-started", pid=os.getpid())
    try:
        while True:
            agent.tick()
            if lifetime.wait(config.settings.poll_interval):
                break
    finally:
        agent.close()
    log.report("agent-ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
