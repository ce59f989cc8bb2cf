"""The fleet of these tests: an image whose manifest a person wrote, and a look at all that an account holds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from agent_process import BootAgent
from emulated_ec2 import Instance, emulated_ec2
from fleet import Fleet
from holdings import Holdings, holdings, snapshots_of
from master_process import wait_for
from sim_control import SimControl
from stack import REGION, Stack

IMAGE = "baked"
# A rebake takes seconds of its own, and on a busy machine many more.
PATIENCE_S = 150.0

REBAKE = """
# Of a person's hand; it stays.
[rebake]
channel = "user-data"   # needs the EC2 API alone
soak_for = "1s"
"""

Json = dict[str, Any]


@dataclass
class Told:
    """What `latent rebake` said, and how it ended."""

    code: int
    out: str
    err: str
    lines: list[str] = field(default_factory=list)


class Follower:
    """A `latent` at work."""

    def __init__(self, stack: Stack, *args: str, **options: Any) -> None:
        config = options.pop("config", stack.config)
        command = [stack.binary, *(["--config", str(config)] if config else []), *args]
        options = {"env": stack.environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        self.process = subprocess.Popen(command, text=True, **options)

    def end(self, seconds: float = PATIENCE_S) -> Told:
        """Waits for its end."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"latent rebake did not end in {seconds} s; it said:\n{out}\n{err}") from None
        return Told(self.process.returncode, out, err, out.splitlines())


class Bakehouse(Fleet):
    """A fleet of which the image `baked` is rebaked."""

    def __init__(self, binary: str, scratch: Path, template: Path, ec2: str) -> None:
        # What a test wants otherwise in latent.toml and in the image's manifest.
        self.more_config = ""
        self.rebake = REBAKE
        self._keeps_manifests = False
        super().__init__(binary, scratch, template, ec2)

    # Files.

    def manifest(self, image: str = IMAGE) -> Path:
        """The file of an image."""
        return self.folder / "amis" / f"{image}.toml"

    def read(self, image: str = IMAGE) -> dict[str, str]:
        """What the lines of its manifest say."""
        lines = re.findall(r"^(\w+) = (.*?)(?:\s+#.*)?$", self.manifest(image).read_text(), re.MULTILINE)
        return {key: value.strip('"') for key, value in lines}

    def ami(self, image: str = IMAGE) -> str:
        """The AMI that it names."""
        return self.read(image)["ami"]

    def write_fleet(self) -> None:
        """As always, with a table for rebakes; a manifest that was promoted stays as it is, if it is to."""
        before = self.manifest().read_text() if self._keeps_manifests else ""
        super().write_fleet()
        text = self.manifest().read_text()
        text = "# The manifest of a person.\n" + text + self.rebake
        self.manifest().write_text(before or text)
        with open(self.config, "a") as config:
            config.write(self.more_config)

    def set_policy(self, **changes: str) -> None:
        """As always; manifests stay."""
        self._keeps_manifests = True
        try:
            super().set_policy(**changes)
        finally:
            self._keeps_manifests = False

    def configure(self, more_config: str = "", **rebake: Any) -> None:
        """Changes keys of the image's table for rebakes, while everything runs."""
        text = self.manifest().read_text()
        for key, value in rebake.items():
            text = re.sub(rf"^{key} = .*\n", "", text, flags=re.MULTILINE)
            if value is not None:
                text = text.rstrip("\n") + f"\n{key} = {json.dumps(value)}\n"
        self.manifest().write_text(text)
        self.more_config = more_config
        self._keeps_manifests = True
        try:
            self.write_fleet()
        finally:
            self._keeps_manifests = False
        self.read_again()

    def read_again(self) -> None:
        """Has the controller read its configuration."""
        taken = self.controller_log().count("configuration read again")
        for pid in self.controller_pids():
            os.kill(pid, signal.SIGHUP)
        wait_for("the configuration", lambda: self.controller_log().count("configuration read again") > taken)

    # Every test begins with the same.

    def refresh(self) -> None:
        """As always; what earlier rebakes did has ended, and the settings are the usual ones."""
        if self.agent is not None and not self.changed:
            self.more_config = ""
            self.manifest().write_text(self._usual(self.manifest().read_text()))
            self.read_again()
            self.abort_all()
        super().refresh()

    def halt(self) -> None:
        """As always; and no key of a test before."""
        self.more_config = ""
        super().halt()

    def _usual(self, text: str) -> str:
        before, _, _ = text.partition("\n# Of a person's hand; it stays.")
        return before.rstrip("\n") + "\n" + self.rebake

    def _is_slow(self) -> bool:
        return False

    def abort_all(self) -> None:
        """Ends what a test left at work."""
        for rebake in self.rebakes():
            if rebake["outcome"] is None:
                self.latent("rebake", "--abort", rebake["id"])

    # Rebakes.

    def follow(self, *args: str) -> Follower:
        """`latent rebake` in the background."""
        return Follower(self, "rebake", *args)

    def bake(self, *args: str) -> Told:
        """`latent rebake` from its beginning to its end."""
        return self.follow(*args).end()

    def rebakes(self) -> list[Json]:
        """All of them, as the controller shows them."""
        listed = self.latent("rebake", "--list", "--json")
        assert listed.returncode == 0, listed.stderr
        return list(json.loads(listed.stdout))

    def last(self) -> Json:
        """The one that was ordered last; empty if there is none."""
        every = self.rebakes()
        return every[-1] if every else {}

    def wait_rebake(self, what: str, holds: Callable[[Json], Any], seconds: float = PATIENCE_S) -> Json:
        """Waits until the last rebake is so."""

        def there() -> Optional[Json]:
            rebake = self.last()
            return rebake if rebake and holds(rebake) else None

        return dict(wait_for(what, there, seconds))

    def wait_step(self, step: str, but: str = "", seconds: float = PATIENCE_S) -> Json:
        """Waits until a rebake other than this one is in a step, or past its end."""
        return self.wait_rebake(
            f"a rebake in {step}", lambda one: one["id"] != but and one["step"] == step, seconds
        )

    def wait_ended(self, rebake: str, seconds: float = PATIENCE_S) -> Json:  # type: ignore[override]
        """Waits for its outcome."""

        def ended() -> Optional[Json]:
            found = next((one for one in self.rebakes() if one["id"] == rebake), None)
            return found if found and found["outcome"] else None

        return dict(wait_for(f"the end of {rebake}", ended, seconds))

    def journal(self, rebake: str, kind: str = "") -> list[Json]:
        """What its entries say, as they stand in the file; of one kind if given."""
        path = self.state / "rebakes" / f"{rebake}.jsonl"
        bodies = [json.loads(line)["body"] for line in path.read_text().splitlines()]
        return [body[kind] for body in bodies if kind in body] if kind else bodies

    # The account.

    def account(self) -> Holdings:
        """All that lies in it now."""
        return holdings(self.ec2(), emulated_ec2(self.emulator.endpoint, REGION))

    def wait_account(self, before: Holdings, allowed: frozenset[str] = frozenset()) -> None:
        """Waits until the account holds what it held, and what is allowed besides."""

        def left() -> dict[str, list[str]]:
            more = self.account().beyond(before)
            ids = {name: [one for one in ids if one not in allowed] for name, ids in more.items()}
            return {name: ids for name, ids in ids.items() if ids}

        wait_for(f"nothing to be left beyond {sorted(allowed)}", lambda: not left(), 40)
        assert not before.beyond(self.account()), "something that was there before is gone"

    def image(self, ami: str) -> Json:
        """An AMI as EC2 shows it to its owner."""
        found = self.ec2().describe_images(ImageIds=[ami])["Images"][0]
        found["tags"] = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
        return dict(found)

    def made(self, ami: str) -> frozenset[str]:
        """An AMI and its snapshots."""
        return frozenset({ami}) | snapshots_of(self.image(ami))

    def of_role(self, role: str) -> list[Instance]:
        """Every instance of a role that was launched since the test began."""
        return [one for one in self.truth(live=False) if one.role == role and one.id not in self._launched_before]

    def control(self) -> SimControl:
        """The side entrance of the emulator."""
        return SimControl(self.emulator.endpoint)

    def guests(self) -> BootAgent:
        """The boot agent."""
        assert self.agent is not None
        return self.agent

    def to_show(self) -> list[Path]:
        """Files that tell why a test failed."""
        return [self.manifest()]

    def to_ask(self) -> list[tuple[str, ...]]:
        """What `latent` is asked then."""
        return [("rebake", "--list"), *super().to_ask()]
