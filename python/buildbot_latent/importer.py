"""What `latent config import` asks for: the workers of a master.cfg, in the words of ``amis/`` and ``policies/``.

``python -m buildbot_latent.importer master.cfg`` prints one JSON object. Workers of Buildbot's own class are
never made: that would ask AWS.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Optional

import buildbot.worker.ec2
from buildbot.config.errors import ConfigErrors
from buildbot.config.master import FileLoader
from buildbot.worker.latent import AbstractLatentWorker

from . import options as ec2_options
from .worker import IDLE_UNTIL_TOLD_S, LatentEC2Worker

REDACTED = "redacted"


class OldWorker(AbstractLatentWorker):
    """Stands for Buildbot's own class while the configuration is read, and keeps its arguments."""

    def checkConfig(self, name: str, password: Any, *args: Any, **kwargs: Any) -> None:
        ec2_options.taken_from(args, kwargs)
        super().checkConfig(name, password, **kwargs)


def workers_of(path: str) -> dict[str, Any]:
    """The workers of the class itself and of ours that stand there, and what could not be taken over."""
    buildbot.worker.ec2.EC2LatentWorker = OldWorker
    folder, name = os.path.split(os.path.abspath(path))
    config = FileLoader(folder, name).loadConfig()
    workers: dict[str, Any] = {}
    notes: list[str] = []
    for worker in config.workers:
        if isinstance(worker, (OldWorker, LatentEC2Worker)):
            kwargs = dict(worker._config_kwargs)
            given = ec2_options.taken_from(worker._config_args[2:], kwargs)
            if ec2_options.is_declared(given):
                workers.update(_taken_over(worker.name, given, kwargs, notes))
    if not workers:
        notes.append("no worker here is described by the arguments of EC2LatentWorker")
    return {"workers": workers, "notes": notes}


def _taken_over(name: str, given: dict[str, Any], kwargs: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    for key in [key for key in given if ec2_options.is_dynamic(given[key])]:
        secret = key in ec2_options.FIXED
        why = (
            "is read when the master runs"
            if secret
            else "is decided by each build: leave the worker in master.cfg"
        )
        notes.append(f"worker {name}: {key}= {why}")
        if not secret:
            return {}
        given[key] = REDACTED
    if given["session"] is not None:
        notes.append(f"worker {name}: session= cannot be taken over; write the role of its owner into latent.toml")
        given["session"] = None
    if given["spot_instance"] and given["max_spot_price"] is None:
        notes.append(f"worker {name}: price_multiplier= is not needed: without a cap the on-demand price is it")
    try:
        wait = kwargs.get("build_wait_timeout", IDLE_UNTIL_TOLD_S)
        said = ec2_options.declaration(given, wait, kwargs.get("missing_timeout"))
    except ValueError as e:
        notes.append(f"worker {name}: {e}")
        return {}
    if said["credentials"] and "access_key" in said["credentials"]:
        said["credentials"]["access_key"]["secret"] = REDACTED
    return {name: said}


def main(arguments: Optional[list[str]] = None) -> int:
    """The program."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m buildbot_latent.importer MASTER_CFG", file=sys.stderr)
        return 2
    try:
        print(json.dumps(workers_of(given[0])))
    except ConfigErrors as e:
        print("\n".join(e.errors), file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
