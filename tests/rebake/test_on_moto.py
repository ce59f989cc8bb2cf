"""What moto, an EC2 that we did not write ourselves, shows of a rebake: nothing is made where dry runs fail.

Moto does not know DescribeImageReferences, says MissingParameter to the builder's launch, and does
not honour DryRun for two listings. So the preflight says what it cannot be sure of, and no later step is shown
on moto: not the group, the builder, the AMI.
"""

from __future__ import annotations

import json
from pathlib import Path

from bakehouse import REBAKE, Follower
from emulator import make_emulator
from fleet import POLICY, POLLING
from gate import Gate
from stack import Options, Stack


def test_a_bake_on_moto_goes_no_further_than_its_dry_runs(binary: str, tmp_path: Path) -> None:
    emulator = make_emulator("moto", tmp_path, binary)
    emulator.start()
    gate = Gate(emulator.endpoint)
    stack = Stack(binary, Options(emulator=emulator, endpoint=gate.endpoint, policy=POLICY, polling=POLLING))
    try:
        stack.prepare()
        manifest = stack.folder / "amis/baked.toml"
        manifest.write_text(manifest.read_text() + REBAKE)
        is_refused(stack, gate)
    finally:
        stack.stop()
        gate.close()
        emulator.stop()


def is_refused(stack: Stack, gate: Gate) -> None:
    """Each call that would fail is named at once, and only dry runs were sent."""
    following = Follower(stack, "rebake", stack.seeded["amis"]["baked"], "--here", "--json")
    try:
        told = next(
            line["text"] for line in map(json.loads, following.process.stdout or ()) if "refused" in line["body"]
        )
    finally:
        following.process.kill()
        following.process.communicate()
    assert "ec2:DescribeImageReferences (NotAnEc2Answer)" in told, told
    assert "ec2:CreateSecurityGroup (" not in told
    for action in ("RunInstances", "CreateSecurityGroup"):
        forms = gate.forms(action)
        assert forms and all(form.get("DryRun") == "true" for form in forms), action
    assert not stack.truth(live=False)
