"""A builder: an instance whose user data rebakes its image. The real script runs in a machine that is a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_events import Report
from emulated_ec2 import EmulatedEc2, Instance
from sandbox import NAMES, Sandbox
from user_data import BOOTHOOK

ROLE = "rebake"
# What every builder's user data names, packed or not.
TRACE = "/var/lib/latent-rebake"
UNIT = """\
[Service]
User=buildbot
WorkingDirectory=/home/buildbot/worker
ExecStart=/home/buildbot/venv/bin/buildbot-worker start --nodaemon /home/buildbot/worker
"""


@dataclass(frozen=True)
class BuilderSettings:
    """What builders that boot from now on find."""

    # The package manager: one of `sandbox.NAMES`. FreeBSD is known by its user data.
    family: str = "apt"
    # How many packages each round of updates has.
    updates: str = "2 1"
    # Calls that fail, as `sandbox_shim.sh` reads them.
    fail: str = ""
    # Further settings of the script, by name.
    environment: dict[str, str] = field(default_factory=dict)


def settings_from_config(raw: dict[str, Any]) -> BuilderSettings:
    """Reads `builder`; raises ValueError."""
    unknown = set(raw) - {"family", "updates", "fail", "environment"}
    if unknown:
        raise ValueError(f"builder has no {', '.join(sorted(unknown))}")
    family = str(raw.get("family", "apt"))
    if family not in NAMES:
        raise ValueError(f"builder's family is one of {', '.join(NAMES)}")
    environment = {str(name): str(value) for name, value in raw.get("environment", {}).items()}
    return BuilderSettings(family, str(raw.get("updates", "2 1")), str(raw.get("fail", "")), environment)


def has_script(user_data: str) -> bool:
    """Whether it is a builder's; without one the builder is told by Run Command what to do."""
    return TRACE in user_data


def furnished(base: Path, family: str, settings: BuilderSettings) -> Sandbox:
    """Its machine: with the worker of the image, and what there is to update, if it is new."""
    fresh = not (base / "machine").exists()
    box = Sandbox(base / "machine", family)
    box.environment = dict(settings.environment)
    if not fresh:
        return box
    box.set("updates", settings.updates)
    box.set("fail", settings.fail)
    if box.systemd:
        box.put("etc/systemd/system/buildbot-worker.service", UNIT)
    box.put("home/buildbot/worker/buildbot.tac", "from buildbot_worker.bot import Worker\nkeepalive = 60\n")
    box.put("home/buildbot/worker/twistd.pid", "4711\n")
    # On a newer base: a virtual environment whose pip fetches nothing.
    box.put("bin/python3", '#!/bin/sh\nmkdir -p "$3/bin"\ncp "$LATENT_ROOT/shim/pip" "$3/bin/pip"\n', 0o755)
    box.put("shim/pip", '#!/bin/sh\necho "pip $*" >> "$LATENT_ROOT/shim/calls"\n', 0o755)
    return box


class Builder:
    """One life of it, from a start to the power-off; reboots are within. It does nothing but in `tick`."""

    def __init__(
        self,
        base: Path,
        instance: Instance,
        user_data: str,
        ec2: EmulatedEc2,
        settings: BuilderSettings,
        report: Report,
    ) -> None:
        """Boots. `base` is the folder of the instance, whose disk is in it."""
        self._instance = instance
        self._ec2 = ec2
        self._report = report
        self._shown = 0
        self._boots = 0
        base.mkdir(parents=True, exist_ok=True)
        family = "freebsd" if "b64decode" in user_data else settings.family
        self._box = furnished(base, family, settings)
        # The console is this life's: what an earlier one said is with the emulator.
        self._box.console.write_text("")
        self._script = base / "user-data"
        self._script.write_text(user_data.removeprefix(BOOTHOOK).lstrip())
        self._boot()

    def tick(self) -> None:
        """Shows what is new on its console, and reboots it where it asks for that."""
        self._show()
        if self._box.order() == "reboot":
            self._report("builder-rebooted", boots=self._boots)
            self._boot()

    @property
    def orders_power_off(self) -> bool:
        """Whether it has ended its work, well or not, and all that it said is shown."""
        return self._box.order() == "off"

    @property
    def said(self) -> str:
        """All that it said in this life."""
        return self._box.said

    def end(self) -> None:
        """Ends its processes. Returns at once."""
        self._box.end()

    def wait(self) -> None:
        """After `end`: waits until no process is left."""
        self._box.power_cut()

    @property
    def ended(self) -> bool:
        """Whether no process runs."""
        return self._box.ended

    def _boot(self) -> None:
        self._boots += 1
        self._box.boot(self._script, imds=self._ec2.imds(self._instance.id) or "http://127.0.0.1:9")

    def _show(self) -> None:
        said = self._box.said
        # Whole lines only; a mark is not to be cut.
        end = said.rfind("\n") + 1
        if end > self._shown:
            self._ec2.console(self._instance.id, said[self._shown : end])
            self._shown = end
