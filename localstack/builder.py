"""A builder: an instance that rebakes its image. The real script runs in a machine that is a folder.

It comes with the user data, or from Systems Manager to the agent in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_events import Report
from emulated_ec2 import EmulatedEc2, Instance
from sandbox import NAMES, NOWHERE, Sandbox
from ssm_agent import Run, ShellRun, SsmAgent
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
    # Whether the agent of Systems Manager is in it.
    agent: bool = False
    # Further settings of the script, by name.
    environment: dict[str, str] = field(default_factory=dict)


def settings_from_config(raw: dict[str, Any]) -> BuilderSettings:
    """Reads `builder`; raises ValueError."""
    unknown = set(raw) - {"family", "updates", "fail", "agent", "environment"}
    if unknown:
        raise ValueError(f"builder has no {', '.join(sorted(unknown))}")
    family = str(raw.get("family", "apt"))
    if family not in NAMES:
        raise ValueError(f"builder's family is one of {', '.join(NAMES)}")
    environment = {str(name): str(value) for name, value in raw.get("environment", {}).items()}
    updates, fail = str(raw.get("updates", "2 1")), str(raw.get("fail", ""))
    return BuilderSettings(family, updates, fail, bool(raw.get("agent", False)), environment)


def is_builder(instance: Instance, user_data: str, settings: BuilderSettings) -> bool:
    """Whether somebody can tell it to rebake its image."""
    return instance.role == ROLE and (TRACE in user_data or settings.agent)


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
        fresh = not (base / "machine").exists()
        self._box = Sandbox(base / "machine", family)
        self._box.environment = dict(settings.environment)
        if fresh:
            self._furnish(settings)
        # The console is this life's: what an earlier one said is with the emulator.
        self._box.console.write_text("")
        self._imds = ec2.imds(instance.id) or NOWHERE
        self._script: Path | None = None
        if TRACE in user_data:
            self._script = base / "user-data"
            self._script.write_text(user_data.removeprefix(BOOTHOOK).lstrip())
        self._folder = base / "ssm"
        self._agent: SsmAgent | None = None
        control = ec2.side_entrance() if settings.agent else None
        if control is not None:
            self._agent = SsmAgent(control, instance.id, self._run, self._reboot, report)
        self._boot()

    def tick(self, now: float) -> None:
        """Shows what is new on its console, and reboots it where it asks for that."""
        self._show()
        if self._agent is not None:
            self._agent.tick(now)
        if self._box.order() == "reboot":
            self._reboot()

    @property
    def orders_power_off(self) -> bool:
        """Whether it has ended its work, well or not, and all that it said is shown."""
        return self._box.order() == "off" and (self._agent is None or self._agent.idle)

    @property
    def said(self) -> str:
        """All that it said in this life."""
        return self._box.said

    def end(self) -> None:
        """Ends its processes. Returns at once."""
        if self._agent is not None:
            self._agent.end()
        self._box.end()

    def wait(self) -> None:
        """After `end`: waits until no process is left."""
        if self._agent is not None:
            self._agent.wait()
        self._box.power_cut()

    @property
    def ended(self) -> bool:
        """Whether no process runs."""
        return self._box.ended

    def _furnish(self, settings: BuilderSettings) -> None:
        """The worker of the image, and what there is to update."""
        box = self._box
        box.set("updates", settings.updates)
        box.set("fail", settings.fail)
        if box.systemd:
            box.put("etc/systemd/system/buildbot-worker.service", UNIT)
        box.put("home/buildbot/worker/buildbot.tac", "from buildbot_worker.bot import Worker\nkeepalive = 60\n")
        box.put("home/buildbot/worker/twistd.pid", "4711\n")

    def _boot(self) -> None:
        self._boots += 1
        self._box.boot(self._script, imds=self._imds)

    def _reboot(self) -> None:
        self._report("builder-rebooted", boots=self._boots)
        self._boot()

    def _run(self, text: str) -> Run:
        return ShellRun(text, self._folder, env=self._box.environ(self._imds))

    def _show(self) -> None:
        said = self._box.said
        # Whole lines only; a mark is not to be cut.
        end = said.rfind("\n") + 1
        if end > self._shown:
            self._ec2.console(self._instance.id, said[self._shown : end])
            self._shown = end
