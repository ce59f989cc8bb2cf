"""A machine in a folder, for the scripts of `amis/recipes`: the real scripts run, and what they ask of a system
(package managers, services, reboot, power-off) is answered by shims, which note each call.

A boot is a process; what it leaves behind dies with it. A reboot is the next one, with another boot id.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from leash import Leash

SHIM = Path(__file__).resolve().with_name("sandbox_shim.sh")
COMMON = "reboot poweroff shutdown halt sync chown id su useradd pw service update-rc.d journalctl"
# What each family has. A name that is not here is the machine's own, so each that matters must be.
NAMES = {
    "apt": f"{COMMON} apt-get dpkg dpkg-query systemctl cloud-init",
    "dnf": f"{COMMON} dnf rpm needs-restarting systemctl cloud-init",
    "yum": f"{COMMON} yum rpm needs-restarting systemctl cloud-init",
    "freebsd": f"{COMMON} freebsd-update freebsd-version pkg sysctl daemon b64decode",
}
# The first thing of a boot, and then everything that it starts.
INIT = 'echo "$1" > "$LATENT_ROOT/shim/booting"; shift; "$@"; exec sleep 100000'
# It is over well before a test's patience.
QUICK = {"LATENT_PAUSE": "0", "LATENT_TRIES": "3", "LATENT_LOCK_S": "3", "LATENT_FORCE_S": "100"}
# Nobody listens there.
NOWHERE = "http://127.0.0.1:9"


class Sandbox:
    """One machine. It does nothing by itself but what its processes do."""

    def __init__(self, folder: Path, family: str = "apt", systemd: bool = True) -> None:
        """Makes the machine, or finds the one that is there, with its disk as it was."""
        self.root = folder.resolve() / "root"
        self.family = family
        self.systemd = systemd and family != "freebsd"
        self.shim = self.root / "shim"
        self.console = self.root / "dev/console"
        self.environment: dict[str, str] = {}
        self._leash: Optional[Leash] = None
        if not self.root.exists():
            self._build()

    def boot(
        self, script: Optional[Path], *argument: str, shell: Sequence[str] = ("sh",), imds: str = NOWHERE
    ) -> None:
        """A boot, which runs the script: of user data, or what stands on the disk; or nothing."""
        self.power_cut()
        shutil.rmtree(self.root / "run", ignore_errors=True)
        shutil.rmtree(self.root / "var/run", ignore_errors=True)
        for folder in ("run/systemd/system" if self.systemd else "run", "var/run"):
            (self.root / folder).mkdir(parents=True)
        (self.shim / "orders").unlink(missing_ok=True)
        self._name_boot()
        # Its words are one: a shell with arguments is a file of its own.
        interpreter = self.shim / "sh"
        interpreter.write_text(f'#!/bin/sh\nexec {" ".join(shell)} "$@"\n')
        interpreter.chmod(0o755)
        first = [str(interpreter), str(script), *argument] if script else ["true"]
        command = ["sh", "-c", INIT, "init", script.name if script else "nothing", *first]
        self._leash = Leash(command, self.root.parent / "boot.log", self.environ(imds))

    def order(self) -> str:
        """What the system was told last: `reboot`, `off`, or nothing."""
        orders = self.shim / "orders"
        # It may be there before its word is.
        return (orders.read_text().split() or [""])[0] if orders.exists() else ""

    def power_cut(self) -> None:
        """Every process of it ends at once."""
        if self._leash is not None:
            self._leash.kill()
            self._leash.wait()
            self._leash = None

    def end(self) -> None:
        """As `power_cut`, but without waiting."""
        if self._leash is not None:
            self._leash.kill()

    @property
    def ended(self) -> bool:
        """Whether no process of it runs."""
        return self._leash is None or self._leash.poll() is not None

    @property
    def said(self) -> str:
        """All that its console has shown."""
        return self.console.read_text(errors="replace")

    @property
    def calls(self) -> list[str]:
        """Every call of a shim, in order."""
        calls = self.shim / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def put(self, path: str, text: str, mode: int = 0o644) -> Path:
        """A file on its disk."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def set(self, name: str, text: str) -> None:
        """What a shim shall do; `sandbox_shim.sh` says what there is."""
        (self.shim / name).write_text(text)

    def environ(self, imds: str = NOWHERE) -> dict[str, str]:
        """What a process of it finds in its environment."""
        return {**os.environ, **QUICK, **self._settings(imds), **self.environment}

    def _settings(self, imds: str) -> dict[str, str]:
        return {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "LATENT_ROOT": str(self.root),
            "LATENT_CONSOLE": str(self.console),
            "LATENT_IMDS": imds,
        }

    def _name_boot(self) -> None:
        if (self.shim / "same-boot").exists():
            return
        if self.family == "freebsd":
            # As a clock would say it, each boot a minute after the last.
            count = len(list(self.root.glob("shim/booted-*")))
            (self.shim / f"booted-{count}").touch()
            self.set(
                "boottime", f"{{ sec = {1_700_000_000 + 60 * count}, usec = 123456 }} Tue Nov 14 22:13:20 2023\n"
            )
        else:
            self.put("proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")

    def _build(self) -> None:
        (self.root / "bin").mkdir(parents=True)
        self.shim.mkdir()
        for name in NAMES[self.family].split():
            shutil.copy(SHIM, self.root / "bin" / name)
            (self.root / "bin" / name).chmod(0o755)
        self.console.parent.mkdir()
        self.console.touch()
        self.set("packages", "bash 5.2-1\nlibc6 2.36-9\nlinux-image 6.1.0-1\n")
        self.set("updates", "")
        self.put("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        self.put("etc/ssh/ssh_host_ed25519_key", "of this machine\n")
        self.put("etc/ssh/sshd_config", "UsePAM yes\n")
        self.put("etc/cloud/cloud.cfg", "cloud_init_modules:\n - migrator\n - ssh\n")
        for folder in (
            "etc/systemd/system",
            "usr/lib/systemd/system",
            "etc/init.d",
            "usr/local/etc/rc.d",
            "var/lib",
        ):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
