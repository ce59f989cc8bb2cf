"""The second act of the demonstration: a worker's image is rebaked, proven, promoted and used."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

from emulated_ec2 import emulated_ec2
from holdings import Holdings, holdings, snapshots_of
from master_process import wait_for
from stack import REGION, Stack

IMAGE = "baked"
# The comparison with the generation before takes days elsewhere.
REBAKE = f"""
[rebake]
channel = "user-data"
smoke_builder = "{IMAGE}"
soak_for = "1s"
"""
SUCCESS = 0


@dataclass
class Baked:
    """What came of it, from what was seen."""

    source: str
    ami: str = ""
    how: str = ""
    reboots: int = 0
    canary: list[str] = field(default_factory=list)
    used: bool = False
    left: dict[str, list[str]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether it is as it should be."""
        proven = self.canary == ["connected", "built", "reconnected"]
        return self.how == "done" and self.reboots > 0 and proven and self.used and not self.left

    def __str__(self) -> str:
        left = sum(map(len, self.left.values()))
        canary = ",".join(self.canary) or "-"
        return f"from={self.source} to={self.ami or '-'} reboots={self.reboots} canary={canary} left={left}"


def prepare(stack: Stack) -> None:
    """Says in the manifest how it is rebaked."""
    manifest = stack.folder / "amis" / f"{IMAGE}.toml"
    manifest.write_text(manifest.read_text() + REBAKE)


def rebake(stack: Stack, began: float) -> Baked:
    """Rebakes the image, prints each entry of its journal, and builds once more."""
    before = _holdings(stack)
    baked = Baked(source=stack.seeded["amis"][IMAGE])
    print(f"\nlatent rebake {baked.source}\n", flush=True)
    for line in _lines(stack, baked.source):
        said = json.loads(line)
        if "seq" in said and "text" in said:
            print(f"{time.monotonic() - began:6.1f}s  rebake      {said['text']}", flush=True)
            _note(baked, said["body"])
        else:
            baked.ami, baked.how = said["ami"] or "", (said["outcome"] or {}).get("how", "")
    if baked.how == "done":
        request = stack.force(IMAGE, seconds=1)
        results = stack.wait_build(request, 120)["results"]
        used = [one for one in stack.truth(IMAGE, live=False) if one.role == "worker"][-1].image
        baked.used = results == SUCCESS and used == baked.ami
    _look_at_canary(stack, baked)
    baked.left = _left(stack, before, baked.ami)
    return baked


def _lines(stack: Stack, ami: str) -> Any:
    args = [stack.binary, "--config", str(stack.config), "rebake", ami, "--wait", "--json"]
    with subprocess.Popen(args, env=stack.environment, stdout=subprocess.PIPE, text=True) as process:
        yield from process.stdout or ()


def _note(baked: Baked, body: dict[str, Any]) -> None:
    """What the journal says of the builder."""
    if "guest_said" in body:
        baked.reboots = len(set(body["guest_said"]["report"]["boots"])) - 1


def _look_at_canary(stack: Stack, baked: Baked) -> None:
    """What its guest and its master did: not what the rebake says of it."""
    canaries = [one for one in stack.truth(IMAGE, live=False) if one.role == "canary"]
    if len(canaries) != 1 or stack.agent is None:
        return
    connected = stack.agent.events("worker-connected", canaries[0].id)
    ended = stack.agent.events("ended", canaries[0].id)
    if connected:
        baked.canary.append("connected")
    if _smoke_build(stack, canaries[0].id):
        baked.canary.append("built")
    if len(connected) > 1 and ended and connected[0]["time"] < ended[0]["time"] < connected[-1]["time"]:
        baked.canary.append("reconnected")


def _smoke_build(stack: Stack, instance: str) -> bool:
    """Whether the master built on that instance, with success, because a canary was to be proven."""
    for build in stack.master.rest("builds?results=0")["builds"]:
        properties = stack.master.rest(f"builds/{build['buildid']}/properties")["properties"][0]
        if "latent_canary" in properties and properties.get("instance", [""])[0] == instance:
            return True
    return False


def _holdings(stack: Stack) -> Holdings:
    return holdings(stack.ec2(), emulated_ec2(stack.endpoint, REGION))


def _left(stack: Stack, before: Holdings, ami: str) -> dict[str, list[str]]:
    """What is there at last, and was not, but the new AMI and its snapshots."""
    stack.wait_gone(60)
    kept: frozenset[str] = frozenset()
    if ami:
        kept = frozenset({ami}) | snapshots_of(stack.ec2().describe_images(ImageIds=[ami])["Images"][0])

    def left() -> dict[str, list[str]]:
        more = _holdings(stack).beyond(before)
        beside = {kind: [one for one in ids if one not in kept] for kind, ids in more.items()}
        return {kind: ids for kind, ids in beside.items() if ids}

    # What was ended goes a moment later.
    with contextlib.suppress(TimeoutError):
        wait_for("what was ended to go", lambda: not left(), 30)
    return left()
