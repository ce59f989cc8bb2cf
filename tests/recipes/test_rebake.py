"""Whole rebakes inside a builder, each reboot a second life of the real script."""

from __future__ import annotations

import hashlib
from typing import Callable

import pytest
from machine import STATE, Rebake, until

Make = Callable[..., Rebake]
STEPS = ["quiesce", "update", "reboot", "update", "settle", "clean", "off"]
HOLD = "etc/systemd/system/my-worker.service.d/zz-latent-rebake.conf"
HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


@pytest.mark.parametrize("family", ["apt", "dnf", "yum", "freebsd"])
def test_with_nothing_to_update_it_reboots_once_and_ends(rebake: Make, shell: list[str], family: str) -> None:
    one = rebake(family, shell)
    (done,) = [mark for mark in one.run() if mark.word == "done"]
    assert (done["rounds"], done["reboots"], done["packages"]) == ("0", "1", "0")
    assert one.steps == STEPS
    boots = [mark["id"] for mark in one.told("boot")]
    assert len(boots) == len(set(boots)) == 2
    assert [mark["found"] for mark in one.told("round")] == ["0", "0"]
    assert one.left == [] and one.told("fail") == []


@pytest.mark.parametrize("family", ["apt", "dnf", "yum", "freebsd"])
def test_three_rounds(rebake: Make, shell: list[str], family: str) -> None:
    one = rebake(family, shell)
    one.box.set("updates", "3 1 2")
    done = one.run()[-1]
    assert (done.word, done["rounds"], done["reboots"]) == ("done", "3", "1")
    assert [(m["n"], m["found"]) for m in one.told("round")] == [
        ("1", "3"),
        ("2", "1"),
        ("3", "2"),
        ("4", "0"),
        ("4", "0"),
    ]
    changes = {mark["name"]: mark for mark in one.told("package")}
    assert int(done["packages"]) == len(changes) == 6
    assert (changes["bash"]["op"], changes["bash"]["from"], changes["bash"]["to"]) == ("~", "5.2-1", "5.2-1+u+u+u")
    assert changes["added-4"]["op"] == "+" and "from" not in changes["added-4"].values
    assert one.left == []


def test_the_digest_is_of_the_sorted_packages(rebake: Make) -> None:
    one = rebake()
    one.box.set("packages", "zlib 1\nbash 5\n")
    assert one.run()[-1]["sha"] == hashlib.sha256(b"bash 5\nzlib 1\n").hexdigest()


def test_what_changed_and_what_went_is_told_up_to_a_limit(rebake: Make) -> None:
    one = rebake(
        script='sed "s/ 1$/ 2/;/^gone/d" "$LATENT_ROOT/shim/packages" > x && mv x "$LATENT_ROOT/shim/packages"'
    )
    one.box.set("packages", "gone 7\ntwice 3\ntwice 4\n" + "".join(f"p{n:03} 1\n" for n in range(230)))
    done = one.run()[-1]
    told = one.told("package")
    assert len(told) == 201 and (told[-1]["op"], told[-1]["count"]) == ("more", "31")
    assert done["packages"] == "231"
    assert (told[0]["op"], told[0]["name"], told[0]["from"]) == ("-", "gone", "7")


def test_the_system_may_want_its_reboot_at_once(rebake: Make) -> None:
    one = rebake()
    one.box.set("reboot-wanted", "")
    one.box.set("updates", "2 1")
    assert one.run()[-1]["reboots"] == "2"
    # A round, a reboot; a round, a reboot; and no third one.
    assert [mark.word for mark in one.marks if mark.word in ("round", "boot")] == [
        "boot",
        "round",
        "boot",
        "round",
        "boot",
        "round",
    ]


@pytest.mark.parametrize("settings", [{}, {"channel": "ssm"}], ids=["user-data", "ssm"])
def test_rounds_that_never_end_are_a_failure(rebake: Make, settings: dict[str, str]) -> None:
    one = rebake(rounds_max=3, **settings)
    one.box.set("updates", "1 " * 50)
    marks = one.run()
    (over,) = one.told("rounds-over")
    assert (over["n"], over["found"]) == ("3", "1")
    assert (marks[-1].word, marks[-1]["step"]) == ("fail", "update")
    assert one.box.order() == "off" and one.told("done") == []


def test_a_package_manager_that_fails_now_and_then_is_asked_again(rebake: Make, shell: list[str]) -> None:
    one = rebake(shell=shell)
    one.box.set("updates", "1")
    one.box.set("fail", "100 apt-get update\n100 apt-get dist-upgrade\n")
    assert one.run()[-1].word == "done"


@pytest.mark.parametrize(
    ("family", "call"),
    [
        ("apt", "apt-get update"),
        ("apt", "apt-get dist-upgrade"),
        ("apt", "dpkg --configure -a"),
        ("dnf", "dnf check-update"),
        ("dnf", "dnf upgrade"),
        ("freebsd", "freebsd-update --not-running-from-cron fetch"),
        ("freebsd", "pkg upgrade"),
    ],
)
def test_a_package_manager_that_fails_is_a_failure_with_its_words(rebake: Make, family: str, call: str) -> None:
    one = rebake(family)
    one.box.set("updates", "1")
    one.box.set("fail", f"77 {call}\n" * 20)
    last = one.run()[-1]
    assert (last.word, last["step"]) == ("fail", "update")
    assert last["code"] == "77" and f"E: {call} failed" in last["why"]
    # What is started again after that only says so, and powers off.
    one.boot()
    assert one.wait() == "off"
    assert one.told("done") == []


def test_a_lock_is_waited_for_and_then_a_failure(rebake: Make) -> None:
    def locked(seconds: int) -> Rebake:
        one = rebake()
        one.box.environment["LATENT_LOCK_S"] = str(seconds)
        lock = one.box.put("var/lib/dpkg/lock-frontend", "")
        one.box.put("proc/locks", f"1: POSIX  ADVISORY  WRITE 812 fe:01:{lock.stat().st_ino} 0 EOF\n")
        return one

    one = locked(3)
    last = one.run()[-1]
    assert (last.word, last["code"]) == ("fail", "75") and "locked" in last["why"]
    one = locked(1000)
    one.box.environment["LATENT_PAUSE"] = "1"
    one.boot()
    until("it", lambda: "yes" if one.told("step") else None)
    one.box.put("proc/locks", "")
    assert one.wait() == "reboot"
    assert one.told("fail") == []


def test_a_reboot_that_changes_no_boot_id_is_a_failure(rebake: Make, shell: list[str]) -> None:
    one = rebake(shell=shell)
    one.box.put("proc/sys/kernel/random/boot_id", "the-same\n")
    one.box.set("same-boot", "")
    last = one.run()[-1]
    assert (last.word, last["step"]) == ("fail", "reboot")
    assert "boot id did not change" in last["why"] and len(one.told("boot")) == 1


def test_a_reboot_that_is_wanted_again_and_again_is_a_failure(rebake: Make) -> None:
    one = rebake("dnf", rounds_max=2)
    one.box.set("fail", "1 needs-restarting -r\n" * 50)
    last = one.run()[-1]
    assert last.word == "fail" and "one more is wanted" in last["why"]


def test_the_deadline_powers_off_whatever_happens(rebake: Make) -> None:
    one = rebake(deadline_s=3)
    one.box.set("hang", "apt-get update")
    last = one.run()[-1]
    assert (last.word, last["step"], last["code"]) == ("fail", "update", "124")
    one.boot()
    assert one.wait() == "off", "it is absolute: a boot does not prolong it"


def test_the_deadline_is_armed_by_an_agent_too(rebake: Make) -> None:
    one = rebake(deadline_s=3, channel="ssm")
    one.box.set("hang", "apt-get update")
    one.boot()
    assert one.wait() == "off"
    assert one.box.said.count("fail step=update code=124") >= 1, (
        "on the console: the agent is not there to tell it"
    )


def test_the_owners_script_runs_once_after_the_updates(rebake: Make) -> None:
    one = rebake(
        script='#!/bin/sh\ncd "$LATENT_ROOT/shim" && echo "ran with $(grep -c ^added- packages)" >> ran\n'
    )
    one.box.set("updates", "2")
    assert one.run()[-1].word == "done"
    assert (one.box.shim / "ran").read_text() == "ran with 1\n"


def test_the_owners_script_that_fails_is_a_failure(rebake: Make, shell: list[str]) -> None:
    one = rebake(shell=shell, script="echo 'no such compiler, sorry'\nexit 42\n")
    last = one.run()[-1]
    assert (last["step"], last["code"]) == ("settle", "42")
    assert last["why"] == "the owner's script: no such compiler, sorry"


def test_the_worker_cannot_start_from_the_first_moment_to_the_last(rebake: Make) -> None:
    one = rebake()
    one.box.set("hang", "apt-get update")
    one.boot()
    until("it", lambda: "yes" if (one.box.shim / "hanging").exists() else None)
    # The condition fails as long as the folder of the rebake is there.
    assert (one.box.root / HOLD).read_text() == f"[Unit]\nConditionPathExists=!{one.box.root / STATE}\n"
    calls = one.box.calls
    stopped = calls.index("systemctl stop my-worker.service")
    assert not [call for call in calls[:stopped] if not call.startswith("systemctl")], "before anything else"
    assert one.run()[-1].word == "done"
    assert not (one.box.root / HOLD).exists()
    assert "held: unit my-worker.service" in one.notes


def test_services_are_found_by_their_command_or_named(rebake: Make) -> None:
    one = rebake(services="by-name other.service")
    for folder, name, text in [
        ("usr/lib", "bb@.service", "[Service]\nExecStart=/opt/bb/bin/twistd -ny /srv/%i/buildbot.tac\n"),
        ("usr/lib", "sshd.service", "[Service]\nExecStart=/usr/sbin/sshd\n"),
        ("etc", "buildbot-master.service", "[Service]\nExecStart=/srv/venv/bin/buildbot start\n"),
    ]:
        one.box.put(f"{folder}/systemd/system/{name}", text)
    one.run()
    held = sorted(mark["text"] for mark in one.told("note") if mark["text"].startswith("held"))
    assert held == [
        "held: unit bb@.service",
        "held: unit by-name.service",
        "held: unit my-worker.service",
        "held: unit other.service",
    ]
    assert "systemctl stop bb@*.service" in one.box.calls


def test_without_systemd_the_scripts_of_init_are_held(rebake: Make, shell: list[str]) -> None:
    one = rebake(shell=shell, systemd=False)
    one.box.put("etc/init.d/bb", "#!/bin/sh\nexec buildbot-worker start /srv/worker\n", 0o755)
    assert one.run()[-1].word == "done"
    calls = [call for call in one.box.calls if "bb" in call]
    assert calls[:2] == ["service bb stop", "update-rc.d bb disable"] and calls[-1] == "update-rc.d bb enable"
    assert not [call for call in one.box.calls if call.startswith("systemctl")]
    assert "reboot " in one.box.calls


def test_on_freebsd_the_rc_script_is_held_and_the_reboot_goes_on_by_one(rebake: Make, shell: list[str]) -> None:
    one = rebake("freebsd", shell)
    one.box.put("usr/local/etc/rc.d/bbw", '#!/bin/sh\nname="bb_worker"\ncommand=buildbot-worker\n', 0o755)
    one.box.put("etc/rc.conf.d/bb_worker", "bb_worker_flags=x\n")
    one.boot()
    assert one.wait() == "reboot"
    held = (one.box.root / "etc/rc.conf.d/bb_worker").read_text()
    assert held == "bb_worker_flags=x\nbb_worker_enable=NO # latent-rebake\n"
    rc = (one.box.root / "usr/local/etc/rc.d/latent_rebake").read_text()
    assert "# PROVIDE: latent_rebake\n" in rc and "latent-rebake/rebake start\n" in rc
    assert one.run()[-1].word == "done"
    assert (one.box.root / "etc/rc.conf.d/bb_worker").read_text() == "bb_worker_flags=x\n"
    # The next instance of the AMI has a first boot again.
    assert (one.box.root / "firstboot").exists() and not (one.box.root / HOST_KEY).exists()
    assert one.left == []


def test_an_instance_that_is_no_builder_is_left_alone(rebake: Make) -> None:
    one = rebake()
    # It has no metadata here: what `curl` would print.
    head = "HTTP/1.1 200 OK\\r\\nDate: x\\r\\n\\r\\n"
    one.box.put(
        "bin/curl",
        f'#!/bin/sh\ncase "$*" in *token*) ;; esac\ncase "$*" in */token) printf "{head}t0ken" ;;'
        f' *latent:role) printf "{head}$(cat "$LATENT_ROOT/shim/role")" ;; esac\n',
        0o755,
    )
    one.box.set("role", "worker")
    one.boot()
    until("it", lambda: "yes" if one.told("fail") else None)
    until("nothing to be left", lambda: None if one.left else "yes")
    (fail,) = one.told("fail")
    assert (fail["step"], fail["why"]) == ("quiesce", "this instance is no builder: its tag latent:role is worker")
    assert one.box.order() == "" and not (one.box.root / HOLD).exists()
    assert not [call for call in one.box.calls if call.startswith("apt-get")]
    two = rebake()
    two.box.put("bin/curl", (one.box.root / "bin/curl").read_text(), 0o755)
    two.box.set("role", "rebake")
    assert two.run()[-1].word == "done"
