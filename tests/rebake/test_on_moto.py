"""The bake half on moto: an EC2 that we did not write ourselves.

Moto's console is always the same text, and CreateImage with tags for snapshots is an error there. A gate
before moto answers the first from the builder's own console and leaves the second's tags away; all else is
moto's: the dry runs, the security group and its rules, the launch, the stop, the AMI and its tags, the
listings, the termination, the deletion of the group.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from pathlib import Path

from bakehouse import PATIENCE_S, REBAKE, Follower
from emulator import make_emulator
from fleet import POLICY, POLLING
from gate import Answer, Gate
from stack import Options, Stack

CONSOLE_XML = """<?xml version="1.0" encoding="UTF-8"?>
<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>gate</requestId>\
<instanceId>{id}</instanceId><timestamp>2030-01-01T00:00:00.000Z</timestamp><output>{output}</output>\
</GetConsoleOutputResponse>"""


class MotoGate(Gate):
    """Gives the two answers that moto does not have."""

    guests = Path()

    def forward(self, path: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """See `Gate`."""
        pairs = urllib.parse.parse_qsl(body.decode(), keep_blank_values=True)
        form = dict(pairs)
        if form.get("Action") == "GetConsoleOutput":
            return self._console(form["InstanceId"])
        if form.get("Action") == "CreateImage":
            body = urllib.parse.urlencode(without_snapshot_tags(pairs)).encode()
        return super().forward(path, headers, body)

    def _console(self, instance: str) -> Answer:
        file = self.guests / instance / "machine/root/dev/console"
        said = file.read_bytes() if file.exists() else b""
        text = CONSOLE_XML.format(id=instance, output=base64.b64encode(said).decode())
        return Answer(200, [("Content-Type", "text/xml")], text.encode())


def without_snapshot_tags(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The parameters but those of the snapshots' tags."""
    kinds = [key for key, value in pairs if key.endswith(".ResourceType") and value == "snapshot"]
    away = tuple(key.removesuffix("ResourceType") for key in kinds)
    return [(key, value) for key, value in pairs if not (away and key.startswith(away))]


def test_an_owner_bakes_on_moto(binary: str, tmp_path: Path) -> None:
    emulator = make_emulator("moto", tmp_path, binary)
    emulator.start()
    gate = MotoGate(emulator.endpoint)
    options = Options(emulator=emulator, endpoint=gate.endpoint, policy=POLICY, polling=POLLING)
    options.boot_delay = options.boot_look = 0.1
    stack = Stack(binary, options)
    try:
        gate.guests = stack.folder / "guests"
        stack.prepare()
        manifest = stack.folder / "amis/baked.toml"
        manifest.write_text(manifest.read_text() + REBAKE)
        bakes(stack, manifest, gate)
    finally:
        stack.stop()
        gate.close()
        emulator.stop()


def bakes(stack: Stack, manifest: Path, gate: Gate) -> None:
    """From the AMI to the one that is handed over."""
    old, text = stack.seeded["amis"]["baked"], manifest.read_text()
    ec2 = stack.ec2()
    groups = {group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]}
    following = Follower(stack, "rebake", old, "--here", "--json")
    told = following.end(PATIENCE_S)
    assert told.code == 0, told.out + told.err
    last = json.loads(told.lines[-1])
    assert last["outcome"]["how"] == "handed_over"
    made = ec2.describe_images(ImageIds=[last["ami"]])["Images"][0]
    tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
    assert (tags["latent:parent"], tags["latent:rollout"], made["State"]) == (old, "wanted", "available")
    # Its builder was stopped by its own script, then ended; its group is gone, and the manifest is the person's.
    (builder,) = [one for one in stack.truth(live=False) if one.role == "rebake"]
    assert builder.state == "terminated"
    assert gate.count("StopInstances") == 0 and gate.count("CreateSecurityGroup") >= 1
    assert {group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]} == groups
    assert manifest.read_text() == text
