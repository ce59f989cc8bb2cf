"""The lease watch of one guest: installed by its user data at the boot, run by what stands for a timer."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_events import Report
from leash import Leash
from user_data import boothook

NAME = "latent-lease-watch"
SCRIPT, SETTINGS = Path("run/latent/lease-watch"), Path("run/latent/lease-watch.conf")
INSTALL_SECONDS_MAX = 20.0
# Nobody listens there.
NOWHERE = "http://127.0.0.1:9"

# What systemd's timer does on a real guest. The uptime is the guest's and not this machine's.
TIMER = """\
boot=$(date +%s)
while :; do
    echo "$(($(date +%s) - boot)).00 0.00" > "$LATENT_UPTIME"
    sh "$1"
    sleep "$2"
done
"""


@dataclass(frozen=True)
class WatchSettings:
    """How watches run in the guests that boot from now on."""

    # Seconds between two looks.
    look: float = 5.0
    # Whether the metadata service is out of their reach.
    deaf: bool = False
    # Further settings of the script, by name.
    environment: dict[str, str] = field(default_factory=dict)


def settings_from_config(raw: dict[str, Any]) -> WatchSettings:
    """Reads `lease_watch`; raises ValueError."""
    unknown = set(raw) - {"look", "deaf", "environment"}
    if unknown:
        raise ValueError(f"lease_watch has no {', '.join(sorted(unknown))}")
    environment = {str(name): str(value) for name, value in raw.get("environment", {}).items()}
    return WatchSettings(float(raw.get("look", 5.0)), bool(raw.get("deaf", False)), environment)


class LeaseWatch:
    """A real process of the script. It does nothing but in `tick`; its guest powers off when it says so."""

    def __init__(self, base: Path, user_data: str, imds: str, settings: WatchSettings, report: Report) -> None:
        """Installs what the user data brings, if it brings a watch, and starts it."""
        self._base = base
        self._orders = base / "power-off-orders"
        self._leash: Leash | None = None
        hook = boothook(user_data, NAME)
        if not hook:
            return
        if NAME not in hook:
            # It runs on this machine: what does not keep to the guest's folder must not.
            report("boot-hook-passed-over")
            return
        base.mkdir(parents=True, exist_ok=True)
        self._forget()
        problem = self._install(hook)
        if problem:
            report("lease-watch-failed", problem=problem)
            return
        self._leash = self._start(NOWHERE if settings.deaf else imds, settings)
        report("lease-watch-started", deaf=settings.deaf)

    @property
    def orders_power_off(self) -> bool:
        """Whether it has asked for the end of its guest."""
        return self._orders.exists()

    @property
    def said(self) -> str:
        """What is on the console of the guest."""
        console = self._base / "console"
        return console.read_text(errors="replace") if console.exists() else ""

    def end(self) -> None:
        """Ends the process."""
        if self._leash is not None:
            self._leash.kill()

    def wait(self) -> None:
        """After `end`: waits until no process is left."""
        if self._leash is not None:
            self._leash.wait()

    @property
    def ended(self) -> bool:
        """Whether no process runs."""
        return self._leash is None or self._leash.poll() is not None

    def _forget(self) -> None:
        """What is in memory does not outlive a boot."""
        for path in (self._orders, self._base / "run/latent/lease-watch.state"):
            path.unlink(missing_ok=True)

    def _install(self, hook: str) -> str:
        """Runs the boot hook as cloud-init does, but in the guest's folder; what went wrong, if something did."""
        script = self._base / "boothook"
        script.write_text(hook)
        # The second is for a rebake's script, should one ever come here: it too stays in the folder then.
        within = {"DESTDIR": str(self._base), "LATENT_ROOT": str(self._base)}
        environment = {**os.environ, **within, "LATENT_SYSTEM": "systemd"}
        try:
            done = subprocess.run(
                ["sh", str(script)], env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX
            )
        except subprocess.TimeoutExpired:
            return "the boot hook does not end"
        installed = (self._base / SCRIPT).exists() and (self._base / SETTINGS).exists()
        return (
            ""
            if done.returncode == 0 and installed
            else f"the boot hook: {done.stderr.strip() or done.returncode}"
        )

    def _start(self, imds: str, settings: WatchSettings) -> Leash:
        shim = self._base / "power-off"
        shim.write_text(f'#!{sys.executable}\nimport sys\nopen({str(self._orders)!r}, "a").write(sys.argv[1])\n')
        shim.chmod(0o700)
        console = self._base / "console"
        console.touch()
        environment = {
            **os.environ,
            "LATENT_CONF": str(self._base / SETTINGS),
            "LATENT_IMDS": imds,
            "LATENT_POWER_OFF": str(shim),
            "LATENT_CONSOLE": str(console),
            "LATENT_STATE": str(self._base / "run/latent"),
            "LATENT_UPTIME": str(self._base / "uptime"),
            "LATENT_HYPERVISOR": "/dev/null",
            # As for a unit: nothing goes to this machine's own log.
            "INVOCATION_ID": "guest",
            **settings.environment,
        }
        command = ["sh", "-c", TIMER, "timer", str(self._base / SCRIPT), f"{settings.look:g}"]
        return Leash(command, self._base / "lease-watch.log", environment)
