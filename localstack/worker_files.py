"""The base directory of a worker, as `buildbot-worker create-worker` and a baker would leave it."""

from __future__ import annotations

import os
from pathlib import Path

from emulated_ec2 import Instance
from identity import Identity

# The values of the CPython fleet, except for maxdelay: nobody wants to wait minutes for a local
# master that was restarted.
TAC = """\
import os

from buildbot_worker.bot import Worker
from twisted.application import service

basedir = os.path.abspath(os.path.dirname(__file__))

# note: this line is matched against to check that this is a worker
# directory; do not edit it.
application = service.Application('buildbot-worker')

s = Worker({host!r}, {port}, {worker!r}, {password!r}, basedir,
           keepalive=60, umask=None, maxdelay=5, allow_shutdown=None)
s.setServiceParent(application)
"""


def write(base: Path, identity: Identity, instance: Instance) -> None:
    """Makes the directory, or brings an older one up to date."""
    info = base / "info"
    info.mkdir(parents=True, exist_ok=True)
    host, _, port = identity.master.rpartition(":")
    tac = TAC.format(host=host, port=int(port), worker=identity.worker, password=identity.password)
    write_private(base / "buildbot.tac", tac)
    facts = {
        "admin": "The boot agent <nobody@example.org>",
        "host": f"An emulated guest of {instance.image}",
        "instance": instance.id,
        "ami": instance.image,
        "zone": instance.zone,
    }
    for name, text in facts.items():
        (info / name).write_text(f"{text}\n")


def write_private(path: Path, text: str) -> None:
    """Writes a file that holds a password."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
