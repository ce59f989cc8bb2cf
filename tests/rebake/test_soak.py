"""A generation that is promoted and not yet trusted: what else happens to its image meanwhile."""

from __future__ import annotations

from bakehouse import Bakehouse

ABORTED = 13


def soaking(bakehouse: Bakehouse) -> tuple[str, str]:
    """Has a new generation soak for an hour; the rebake and its AMI."""
    bakehouse.configure(soak_for="1h", soak_starts=9)
    told = bakehouse.bake(bakehouse.ami())
    assert told.code == 0, told.out + told.err
    rebake = bakehouse.wait_step("soak")
    assert rebake["outcome"] is None and rebake["ami"] == bakehouse.ami()
    return rebake["id"], rebake["ami"]


def test_the_next_rebake_need_not_wait_for_it(bakehouse: Bakehouse) -> None:
    before = bakehouse.account()
    first, middle = soaking(bakehouse)
    bakehouse.configure(soak_for="1s", soak_starts=None)
    told = bakehouse.bake(middle, "--wait")
    assert told.code == 0, told.out + told.err
    newest = bakehouse.ami()
    assert newest != middle and bakehouse.read()["previous"] == middle
    # Of what no manifest names as the present AMI nothing more can be learnt.
    assert bakehouse.wait_ended(first)["outcome"]["how"] == "done"
    bakehouse.wait_account(before, bakehouse.made(middle) | bakehouse.made(newest))


def test_an_ami_that_a_person_takes_out_of_the_manifest_is_not_taken_away(bakehouse: Bakehouse) -> None:
    before = bakehouse.account()
    rebake, new = soaking(bakehouse)
    text = bakehouse.manifest().read_text()
    bakehouse.manifest().write_text(
        text.replace(f'ami = "{new}"', f'ami = "{bakehouse.seeded["amis"]["injected"]}"')
    )
    try:
        bakehouse.read_again()
        ended = bakehouse.wait_ended(rebake)
        assert (ended["outcome"]["how"], ended["ami"]) == ("done", new)
        bakehouse.wait_account(before, bakehouse.made(new))
        assert bakehouse.ami() != new
    finally:
        bakehouse.manifest().write_text(text)
        bakehouse.read_again()


def test_who_takes_it_back_is_told_when_nothing_is_left(bakehouse: Bakehouse) -> None:
    before, old = bakehouse.account(), bakehouse.ami()
    rebake, new = soaking(bakehouse)
    assert new != old
    told = bakehouse.latent("rebake", "--abort", rebake)
    # Nothing to wait for any more: this was its answer.
    assert (told.returncode, bakehouse.ami()) == (ABORTED, old), told.stdout + told.stderr
    assert not bakehouse.account().beyond(before)
