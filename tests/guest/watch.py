"""One look of the lease watch, run for real in what stands for a guest."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

from account import Account, tag_specs

SCRIPTS = Path(__file__).resolve().parents[2] / "amis" / "guest"
LEASE, DEADLINE = "latent:lease", "latent:deadline"
# A look's own limit: three questions of five seconds each.
LOOK_S = 40


def _shell(*command: str) -> Optional[list[str]]:
    path = shutil.which(command[0])
    return [path, *command[1:]] if path else None


# dash is the sh of Debian and Ubuntu, busybox that of Alpine, bash that of Fedora and Amazon Linux.
SHELLS = {"dash": _shell("dash"), "bash": _shell("bash", "--posix"), "busybox": _shell("busybox", "sh")}


def text_of(time: datetime) -> str:
    """As the controller writes it."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Guest:
    """An instance of the model, and a folder in which the watch runs as if it were in it."""

    def __init__(
        self,
        account: Account,
        folder: Path,
        lease: Optional[float],
        deadline: Optional[float],
        market: str = "on-demand",
    ) -> None:
        """Times in seconds from now; None leaves the tag away."""
        self.account = account
        self.folder = folder
        self.up = 1000
        self.console = folder / "console"
        self.console.touch()
        times = {LEASE: lease, DEADLINE: deadline}
        tags = {key: self.time(after) for key, after in times.items() if after is not None}
        metadata = {"HttpTokens": "required", "InstanceMetadataTags": "enabled" if tags else "disabled"}
        spot = {"InstanceMarketOptions": {"MarketType": "spot"}} if market == "spot" else {}
        self.id = account.running(
            MetadataOptions=metadata, TagSpecifications=tag_specs("instance", **tags), **spot
        )
        self.environment = {
            "PATH": os.environ["PATH"],
            "LATENT_CONF": str(folder / "none"),
            "LATENT_IMDS": f"{account.endpoint}/_sim/imds/{self.id}",
            "LATENT_POWER_OFF": str(self._shim()),
            "LATENT_CONSOLE": str(self.console),
            "LATENT_STATE": str(folder / "run"),
            "LATENT_UPTIME": str(folder / "uptime"),
            "LATENT_HYPERVISOR": str(folder / "hypervisor"),
            # Nothing of a test shall be in this machine's own log.
            "INVOCATION_ID": "test",
        }

    def _shim(self) -> Path:
        shim = self.folder / "power-off"
        shim.write_text(f'#!/bin/sh\necho "$1" >> "{self.folder}/orders"\n')
        shim.chmod(0o755)
        return shim

    def time(self, after: float) -> str:
        """The guests' time so many seconds from now."""
        now = datetime.fromisoformat(self.account.control.ask("GET", "ready")["guest_now"].replace("Z", "+00:00"))
        return text_of(now + timedelta(seconds=after))

    def tag(self, key: str, value: str) -> None:
        """Somebody writes one of its tags."""
        self.account.ec2.create_tags(Resources=[self.id], Tags=[{"Key": key, "Value": value}])

    def untag(self, *keys: str) -> None:
        """Somebody removes some of its tags."""
        self.account.ec2.delete_tags(Resources=[self.id], Tags=[{"Key": key} for key in keys])

    def look(self, shell: list[str], after: int = 30, **settings: Any) -> str:
        """One look, so many seconds of uptime after the last; what it said."""
        self.up += after
        (self.folder / "uptime").write_text(f"{self.up}.25 4711.00\n")
        environment = self.environment | {f"LATENT_{name}": str(value) for name, value in settings.items()}
        done = subprocess.run(
            [*shell, str(SCRIPTS / "lease-watch.sh")],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=LOOK_S,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    @property
    def orders(self) -> list[str]:
        """What was asked of the system: `order`, or `force`."""
        orders = self.folder / "orders"
        return orders.read_text().split() if orders.exists() else []

    @property
    def memory(self) -> str:
        """What the watch remembers."""
        return (self.folder / "run" / "lease-watch.state").read_text()
