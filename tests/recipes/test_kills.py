"""A power cut in the middle of each step, and a boot: the rebake goes on, and ends the same."""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, Optional

import pytest
from leash import Leash
from machine import STATE, Rebake, until

Make = Callable[..., Rebake]
# A call in the middle of each step.
MOMENTS = {
    "quiesce": "systemctl stop my-worker.service",
    "scan": "apt-get update",
    "update": "apt-get dist-upgrade",
    "reboot": "systemctl --no-block reboot",
    "repair": "dpkg --configure -a",
    "settle": "cloud-init status",
    "enabled": "systemctl is-enabled",
    "caches": "apt-get clean",
    "clean": "cloud-init clean",
    "journal": "journalctl",
    "off": "systemctl --no-block poweroff",
}


def hangs(one: Rebake) -> Optional[str]:
    """Whether the call has begun."""
    return "yes" if (one.box.shim / "hanging").exists() else None


def cut(one: Rebake, call: str, boots_max: int = 4) -> None:
    """Boots until the call hangs, and cuts the power there."""
    one.box.set("hang", call)
    for _ in range(boots_max):
        one.boot()
        until(f"{call} or an order; {one.said[-500:]}", lambda: hangs(one) or one.box.order() or None)
        if hangs(one):
            one.box.power_cut()
            return
        assert one.box.order() == "reboot"
    raise AssertionError(f"{call} was not called in {boots_max} boots")


def ended_well(one: Rebake, changes: int, rounds: tuple[str, ...] = ("2",)) -> None:
    """As a rebake ends that nobody disturbed."""
    assert one.told("fail") == []
    done = one.told("done")[-1]
    assert done["rounds"] in rounds and done["packages"] == str(changes)
    assert len(one.told("package")) == changes, "each once"
    assert one.steps[-1] == "off" and one.left == []
    assert not (one.box.root / "etc/systemd/system/my-worker.service.d/zz-latent-rebake.conf").exists()
    assert (one.box.root / "etc/machine-id").read_text() == ""
    assert not (one.box.root / "home/me/worker/twistd.pid").exists()
    assert len({mark["id"] for mark in one.told("boot")}) >= 2


@pytest.mark.parametrize("moment", [name for name in MOMENTS if name != "off"])
def test_a_power_cut_in_the_middle_of_a_step(rebake: Make, shell: list[str], moment: str) -> None:
    one = rebake(shell=shell)
    one.box.set("updates", "2 1")
    cut(one, MOMENTS[moment])
    one.run()
    ended_well(one, changes=4)


def test_a_power_cut_before_the_power_off_begins_a_second_rebake_that_changes_nothing(rebake: Make) -> None:
    """Nothing is remembered then, and nothing may be: the folder would be in the image."""
    one = rebake()
    one.box.set("updates", "2 1")
    cut(one, MOMENTS["off"])
    assert one.left == [] and one.said.count(" done rounds=2 ") == 2, "said, and said again"
    one.box.console.write_text("")
    one.run()
    assert one.told("done")[-1]["packages"] == "0" and one.left == []


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_power_cut_after_each_mark(rebake: Make, nth: int) -> None:
    """Wherever it is then."""
    one = rebake()
    one.box.set("updates", "2 1")
    one.boot()
    while len(one.marks) < nth:
        time.sleep(0.005)
        if one.box.order() == "reboot":
            one.boot()
    one.box.power_cut()
    one.run()
    # A round that was cut off after its last package, and before it was counted, is not counted.
    ended_well(one, changes=4, rounds=("1", "2"))


def test_what_a_boot_wrote_anew_is_cleaned_again(rebake: Make) -> None:
    one = rebake()
    cut(one, "journalctl")
    one.box.put("etc/machine-id", "of the next boot\n")
    one.box.put("etc/ssh/ssh_host_ed25519_key", "of the next boot\n")
    one.run()
    assert (one.box.root / "etc/machine-id").read_text() == ""
    assert not (one.box.root / "etc/ssh/ssh_host_ed25519_key").exists()


def test_what_kills_the_script_alone_has_it_started_again(rebake: Make) -> None:
    """For want of memory, say: systemd begins it again, and it goes on in the same boot."""
    one = rebake()
    one.box.set("updates", "2 1")
    one.box.set("hang", "apt-get dist-upgrade")
    one.boot()
    until("the update", lambda: hangs(one))
    unit = (one.box.root / "run/systemd/system/latent-rebake-go.service").read_text()
    assert "\nAfter=network-online.target\n[Service]\nExecStart=/bin/sh " in unit
    assert unit.endswith(" go\nRestart=on-abnormal\nRestartSec=5\n")
    pid = int((one.box.root / STATE / "lock").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    again = Leash(["sh", str(one.script), "go"], one.box.root.parent / "again.log", one.box.environ())
    try:
        assert one.wait() == "reboot"
    finally:
        again.kill()
        again.wait()
    assert len(one.told("boot")) == 1
    one.run()
    ended_well(one, changes=4)


def test_a_half_written_memory_is_no_memory(rebake: Make) -> None:
    one = rebake()
    cut(one, "apt-get update")
    one.box.put(f"{STATE}/phase.new", "set")
    one.box.put(f"{STATE}.gone/marks", "of an earlier one\n")
    one.run()
    assert one.told("done") and one.left == []
