"""What can be asked for besides: two at once, nothing but a plan, only what is due, another base, the way back."""

from __future__ import annotations

from bakehouse import Bakehouse
from fleet import SUCCESS
from master_process import wait_for
from seed import image as register

REFUSED = 5


def test_two_at_once_and_the_way_back(bakehouse: Bakehouse) -> None:
    old = bakehouse.ami()
    first = bakehouse.follow(old)
    rebake = bakehouse.wait_rebake("the first", lambda one: one["outcome"] is None)
    second = bakehouse.bake(old)
    assert second.code == REFUSED
    assert f"rebake {rebake['id']} is at work on image baked" in second.err
    told = first.end()
    assert told.code == 0, told.out + told.err
    assert [one["image"] for one in bakehouse.rebakes() if one["outcome"] is None] in ([], ["baked"])

    new = bakehouse.ami()
    back = bakehouse.latent("rollback", "baked")
    assert back.returncode == 0 and f"{old} in the place of {new}" in back.stdout, back.stderr
    manifest = bakehouse.read()
    assert manifest["ami"] == old and "previous" not in manifest
    again = bakehouse.latent("rollback", "baked")
    assert again.returncode == REFUSED and "has no previous AMI" in again.stderr
    build = bakehouse.run("baked")
    assert build["results"] == SUCCESS
    launched = [one for one in bakehouse.truth("baked", live=False) if one.role == "worker"]
    assert launched[-1].image == old


def test_a_dry_run_tells_and_changes_nothing(bakehouse: Bakehouse) -> None:
    before, rebakes = bakehouse.account(), bakehouse.rebakes()
    told = bakehouse.bake(bakehouse.ami(), "--dry-run")
    assert told.code == 0, told.err
    assert "nothing was done" in told.out and "RunInstances: allowed" in told.out and "REFUSED" not in told.out
    steps = [line.split()[0] for line in told.lines if line.strip() and line.split()[0] in STEPS]
    assert steps == STEPS
    assert (bakehouse.account(), bakehouse.rebakes()) == (before, rebakes)


STEPS = [
    *("preflight", "fence", "launch", "quiesce", "update", "reboot", "settle", "clean", "off"),
    *("image", "dismiss", "canary", "promote", "soak", "retire"),
]


def test_only_what_is_due(bakehouse: Bakehouse) -> None:
    rebakes = bakehouse.rebakes()
    told = bakehouse.bake("--due")
    assert told.code == 0 and told.out.count("is not due before") == 2, told.out + told.err
    assert bakehouse.rebakes() == rebakes
    bakehouse.configure(more_config='\n[requirements]\nmax_ami_age = "1s"\n')

    # The model's clock was ahead of the controller's when the AMIs were made: they are due when that is past.
    def due() -> bool:
        told = bakehouse.bake("--due", "--dry-run", "--json")
        assert told.code == 0 and len(told.lines) == 2, told.out + told.err
        return all('"dry_run":true' in line for line in told.lines)

    wait_for("both to be due", due, 90)
    assert bakehouse.rebakes() == rebakes


def test_a_worker_is_set_up_on_a_newer_base(bakehouse: Bakehouse) -> None:
    old = bakehouse.ami("injected")
    base = register(bakehouse.ec2(), "a newer base")
    images = bakehouse.agent_config()["images"]
    bakehouse.guests().configure(images={**images, base: images[bakehouse.seeded["amis"]["injected"]]})
    told = bakehouse.bake("--image", "injected", "--from-base", base)
    assert told.code == 0, told.out + told.err
    new = bakehouse.ami("injected")
    tags = bakehouse.image(new)["tags"]
    assert (tags["latent:parent"], tags["latent:root"]) == (base, base)
    assert bakehouse.read("injected")["previous"] == old
    build = bakehouse.run("injected")
    assert build["results"] == SUCCESS
    launched = [one for one in bakehouse.truth("injected", live=False) if one.role == "worker"]
    assert launched[-1].image == new
