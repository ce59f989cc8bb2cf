"""The same script run by the agent of Systems Manager: exit codes in the place of a boot hook."""

from __future__ import annotations

from typing import Callable

import pytest
from machine import Rebake, until

Make = Callable[..., Rebake]


def codes(one: Rebake) -> list[str]:
    """What each run of the script exited with."""
    every = one.stdout.with_name("stdout.all")
    last = one.stdout.with_name("stdout.codes")
    found = every.read_text().split() if every.exists() else []
    return found + (last.read_text().split() if last.exists() else [])


def ended(one: Rebake) -> None:
    """Waits for the last run's own end."""
    until("it", lambda: "yes" if one.stdout.with_name("stdout.codes").exists() else None)


def test_each_reboot_is_asked_of_the_agent(rebake: Make, shell: list[str]) -> None:
    one = rebake(shell=shell, channel="ssm")
    one.box.set("reboot-wanted", "")
    one.box.set("updates", "2 1")
    done = one.run()[-1]
    assert (done.word, done["reboots"]) == ("done", "2")
    assert codes(one)[:2] == ["194", "194"]
    # It tells the agent first: the power-off is a minute away.
    assert one.box.calls[-1] == "shutdown -P +1"
    assert not [call for call in one.box.calls if "reboot" in call]
    assert one.box.said == "" and one.left == []


def test_a_failure_is_an_exit_code(rebake: Make, shell: list[str]) -> None:
    one = rebake(shell=shell, channel="ssm")
    one.box.set("fail", "100 apt-get update\n" * 9)
    one.boot()
    assert one.wait() == "off"
    ended(one)
    assert codes(one) == ["1"] and one.told("fail")[0]["code"] == "100"


def test_an_agent_that_runs_it_again_without_a_reboot_is_told_twice_and_no_more(rebake: Make) -> None:
    one = rebake(channel="ssm")
    one.box.set("same-boot", "")
    one.box.put("proc/sys/kernel/random/boot_id", "the-same\n")
    last = one.run()[-1]
    assert (last.word, last["step"]) == ("fail", "reboot")


def test_a_long_list_of_packages_leaves_room_for_the_last_mark(rebake: Make) -> None:
    """The agent keeps the first 24,000 characters."""
    one = rebake(
        channel="ssm",
        script='sed "s/ 1$/ 2/" "$LATENT_ROOT/shim/packages" > x && mv x "$LATENT_ROOT/shim/packages"',
    )
    one.box.set("packages", "".join(f"a-package-with-a-rather-long-name-{n:04} 1\n" for n in range(400)))
    done = one.run()[-1]
    assert (done.word, done["packages"]) == ("done", "400")
    assert int(one.told("package")[-1]["count"]) == 400 - len(one.told("package")) + 1
    assert len(one.said) < 20_000


@pytest.mark.parametrize("family", ["dnf", "freebsd"])
def test_the_other_families_know_it_too(rebake: Make, family: str) -> None:
    one = rebake(family, channel="ssm")
    assert one.run()[-1].word == "done"
    assert one.box.calls[-1].startswith("shutdown -p +1" if family == "freebsd" else "shutdown -P +1")
