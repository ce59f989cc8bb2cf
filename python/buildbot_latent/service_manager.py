"""Whether a service manager would end a controller together with this master."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional


def unit_of_this_process(cgroup: Path = Path("/proc/self/cgroup")) -> Optional[str]:
    """The systemd unit whose control group this process is in; None where there is none."""
    if "INVOCATION_ID" not in os.environ:
        return None
    try:
        lines = cgroup.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    last = [line.rpartition("/")[2] for line in lines]
    return next((unit for unit in last if unit.endswith(".service")), None)


def warning(unit: str) -> str:
    """What the master's admin has to know."""
    return (
        f"this master runs in {unit}. Unless that has KillMode=process, systemd ends the controller "
        "when it stops the master, and instances then wait for the next start, their lease at the latest. "
        "Better: the unit of its own in docs/systemd, and autostart=False"
    )
