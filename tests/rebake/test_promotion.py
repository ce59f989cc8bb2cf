"""A rebake from the order to the next launch, with everything real but EC2."""

from __future__ import annotations

import json

from bakehouse import Bakehouse
from fleet import SUCCESS


def test_a_new_generation_is_proven_promoted_and_used(bakehouse: Bakehouse) -> None:
    before, old = bakehouse.account(), bakehouse.ami()
    comment = "# Of a person's hand; it stays."
    # The fleet is shared: the image may be of any generation by now.
    was = bakehouse.image(old)["tags"]
    number, root = str(int(was.get("latent:generation", "0")) + 1), was.get("latent:root", old)
    told = bakehouse.bake(old, "--wait")
    assert told.code == 0, told.out + told.err

    # The manifest: another AMI, where it came from, and every word of the person's.
    manifest, new = bakehouse.read(), bakehouse.ami()
    assert new != old and manifest["previous"] == old and manifest["generation"] == number
    text = bakehouse.manifest().read_text()
    assert comment in text and "# needs the EC2 API alone" in text

    # The account: one AMI with its snapshots, and nothing else.
    made = bakehouse.image(new)
    bakehouse.wait_account(before, bakehouse.made(new))
    rebake = bakehouse.last()
    lineage = {
        "latent:fleet": "demo",
        "latent:controller": "demo-master",
        "latent:owner": "alice",
        "latent:image": "baked",
        "latent:image-origin": "rebake",
        "latent:parent": old,
        "latent:root": root,
        "latent:generation": number,
        "latent:rebake-id": rebake["id"],
    }
    assert lineage.items() <= made["tags"].items() and made["tags"]["latent:rollout"] == "promoted"
    snapshots = sorted(bakehouse.made(new) - {new})
    for snapshot in bakehouse.ec2().describe_snapshots(SnapshotIds=snapshots)["Snapshots"]:
        assert lineage.items() <= {tag["Key"]: tag["Value"] for tag in snapshot["Tags"]}.items()

    # The builder could not reach the master, ran the real script, was rebooted; the canary was that worker.
    (builder,) = bakehouse.of_role("rebake")
    assert builder.image == old and bakehouse.guests().events("builder-rebooted", builder.id)
    (canary,) = bakehouse.of_role("canary")
    assert (canary.image, canary.worker) == (new, "baked")
    assert len(bakehouse.guests().events("worker-connected", canary.id)) == 2

    # The record: what was updated, and each step with what shows it.
    assert (rebake["step"], rebake["outcome"]["how"], rebake["ami"]) == ("retire", "done", new)
    said = bakehouse.journal(rebake["id"], "guest_said")[-1]["report"]
    assert said["done"]["reboots"] >= 1 and len(set(said["boots"])) >= 2
    assert said["done"]["packages"] == len(said["packages"]) > 0

    # The next launch, and `latent` about it.
    assert bakehouse.run("baked")["results"] == SUCCESS
    launched = [one for one in bakehouse.truth("baked", live=False) if one.role == "worker"]
    assert launched[-1].image == new
    listed = bakehouse.latent("rebake", "--list").stdout
    assert rebake["id"] in listed and new in listed
    again = bakehouse.bake("--resume", rebake["id"], "--json")
    events = [json.loads(line) for line in again.out.splitlines()]
    assert again.code == 0 and events[-1]["ami"] == new
    assert [event["seq"] for event in events[:-1]] == list(range(1, len(events)))
