"""A builder whose script comes by Run Command: its agent runs the real script in a machine that is a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Optional

from agent_events import Report
from builder import BuilderSettings, furnished
from sandbox import Sandbox
from sim_control import SimControl
from ssm_agent import Ended, SsmAgent


class BoxedRun:
    """A script that runs in the machine. Each run is a boot: the agent runs it again only after a reboot."""

    def __init__(self, box: Sandbox, text: str) -> None:
        self._box = box
        folder = box.root.parent
        self._output, self._code = folder / "stdout", folder / "code"
        self._output.write_text("")
        self._code.unlink(missing_ok=True)
        script = box.put("shim/command", text)
        draft = f"{self._code}.new"
        run = f'"$LATENT_ROOT/shim/sh" {script} >> {self._output} 2>&1\necho $? > {draft}\n'
        run += f"mv {draft} {self._code}\n"
        box.boot(box.put("shim/agent", run))

    def poll(self) -> Optional[Ended]:
        """See `ssm_agent.Run`."""
        if not self._code.exists():
            return None
        return Ended(int(self._code.read_text()), self._output.read_text(errors="replace"), "")

    def end(self) -> None:
        """See `ssm_agent.Run`. What the script left behind goes with the machine's boot, and not before."""

    def wait(self) -> None:
        """See `ssm_agent.Run`."""


class SsmBuilder:
    """One life of it, from a start to the power-off; reboots are within. It does nothing but in `tick`."""

    def __init__(
        self, base: Path, instance_id: str, control: SimControl, settings: BuilderSettings, report: Report
    ) -> None:
        """`base` is the folder of the instance, whose disk is in it."""
        base.mkdir(parents=True, exist_ok=True)
        self._box = furnished(base, settings.family, settings)
        self._boots = 1
        self._report = report
        self._agent = SsmAgent(control, instance_id, self._start, self._rebooted, report)

    def tick(self) -> None:
        """Takes a command, or looks how the one that it has stands. May raise OSError."""
        self._agent.tick(time.monotonic())

    @property
    def orders_power_off(self) -> bool:
        """Whether it has ended its work, well or not, and its agent has said so: it goes off a minute later."""
        return self._box.order() == "off" and not self._agent.runs

    @property
    def said(self) -> str:
        """What its last run wrote."""
        output = self._box.root.parent / "stdout"
        return output.read_text(errors="replace") if output.exists() else ""

    def end(self) -> None:
        """Ends its processes. Returns at once."""
        self._agent.end()
        self._box.end()

    def wait(self) -> None:
        """After `end`: waits until no process is left."""
        self._box.power_cut()

    @property
    def ended(self) -> bool:
        """Whether no process runs."""
        return self._box.ended

    def _start(self, text: str) -> BoxedRun:
        return BoxedRun(self._box, text)

    def _rebooted(self) -> None:
        self._report("builder-rebooted", boots=self._boots)
        self._boots += 1
        self._box.end()
