"""Master and controller may die at any moment: nothing is launched twice, nothing is lost, nothing left."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest
from fleet import GONE_S, RETRY, SUCCESS, Fleet
from master_process import wait_for

WHO = ["controller", "master", "both"]


def crash(fleet: Fleet, who: str) -> None:
    """Ends processes with SIGKILL."""
    if who != "controller":
        fleet.master.kill()
    if who != "master":
        fleet.kill_controller()


def restart(fleet: Fleet, who: str) -> None:
    """Starts the master again; the plugin starts the controller."""
    if who != "controller":
        fleet.start_master()


def ends_well(fleet: Fleet, request: int, launched: int = 1) -> None:
    """The build succeeds in the end, on so many instances in all, and nothing is left."""
    assert fleet.wait_build(request)["results"] == SUCCESS
    fleet.wait_gone(GONE_S)
    assert len(fleet.launched()) == launched


@pytest.mark.parametrize("who", WHO)
def test_crash_before_ec2_hears_of_the_launch(fleet: Fleet, who: str) -> None:
    hold = fleet.gate.hold_call("RunInstances")
    request = fleet.force("baked")
    hold.wait()
    crash(fleet, who)
    if who != "master":
        # A call of a process that is gone: it never arrives.
        hold.drop()
    restart(fleet, who)
    hold.let_go()
    ends_well(fleet, request)
    tokens = {form["ClientToken"] for form in fleet.gate.forms("RunInstances")}
    assert len(tokens) == 1
    assert fleet.gate.count("RunInstances") == (1 if who == "master" else 2)


@pytest.mark.parametrize("who", WHO)
def test_crash_before_the_launch_is_answered(fleet: Fleet, who: str) -> None:
    hold = fleet.gate.hold_answer("RunInstances")
    request = fleet.force("injected")
    hold.wait()
    assert len(fleet.launched()) == 1
    crash(fleet, who)
    if who != "master":
        hold.drop()
    restart(fleet, who)
    hold.let_go()
    ends_well(fleet, request)
    assert fleet.gate.count("RunInstances") == 1


@pytest.mark.parametrize("who", WHO)
def test_crash_before_the_worker_connects(fleet: Fleet, who: str) -> None:
    assert fleet.agent is not None
    fleet.agent.configure(boot_delay=2.0)
    request = fleet.force("baked")
    fleet.wait_state("baked", "registering")
    crash(fleet, who)
    restart(fleet, who)
    ends_well(fleet, request)


@pytest.mark.parametrize("who", WHO)
def test_crash_during_a_build(fleet: Fleet, who: str) -> None:
    request = fleet.force("injected", seconds=3)
    fleet.wait_building("injected")
    crash(fleet, who)
    restart(fleet, who)
    ends_well(fleet, request)
    results = [build["results"] for build in fleet.builds(request)]
    assert results == ([SUCCESS] if who == "controller" else [RETRY, SUCCESS])


@pytest.mark.parametrize("who", WHO)
def test_crash_while_an_instance_is_terminated(fleet: Fleet, who: str) -> None:
    fleet.run("baked")
    hold = fleet.gate.hold_call("TerminateInstances")
    hold.wait()
    crash(fleet, who)
    if who != "master":
        hold.drop()
    restart(fleet, who)
    hold.let_go()
    # A build that comes meanwhile waits until the earlier instance has ended.
    ends_well(fleet, fleet.force("baked"), launched=2)


@pytest.mark.parametrize("who", ["both"])
def test_crash_after_ec2_has_ended_an_instance_and_before_it_says_so(fleet: Fleet, who: str) -> None:
    fleet.run("injected")
    hold = fleet.gate.hold_answer("TerminateInstances")
    hold.wait()
    assert not fleet.truth()
    crash(fleet, who)
    if who != "master":
        hold.drop()
    restart(fleet, who)
    hold.let_go()
    ends_well(fleet, fleet.force("injected"), launched=2)


def test_a_controller_that_ends_in_good_order_leaves_its_instances_to_the_next(fleet: Fleet) -> None:
    request = fleet.force("baked", seconds=3)
    fleet.wait_building("baked")
    before = fleet.controller_pids()
    os.kill(before[0], signal.SIGTERM)
    wait_for("the next controller", lambda: fleet.controller_pids() not in ([], before))
    ends_well(fleet, request)
    assert len(fleet.builds(request)) == 1
    assert fleet.events("controller_stopped")


def test_a_lost_ledger_is_made_good_by_the_tags_of_a_warm_instance(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="5s")
    fleet.run("baked")
    instance = fleet.launched()
    lose_ledger(fleet)
    fleet.wait_state("baked", "ready")
    build = fleet.run("baked")
    assert fleet.property_of(build, "instance") == instance[0]
    fleet.wait_gone(GONE_S + 5)
    assert fleet.launched() == instance
    assert fleet.events("adopted")


def test_a_lost_ledger_does_not_disturb_a_build(fleet: Fleet) -> None:
    request = fleet.force("injected", seconds=4)
    fleet.wait_building("injected")
    lose_ledger(fleet)
    fleet.wait_building("injected")
    ends_well(fleet, request)
    assert len(fleet.builds(request)) == 1


def test_a_lost_ledger_and_a_lost_master_leave_nothing(fleet: Fleet) -> None:
    fleet.changed = True
    fleet.set_policy(idle_timeout="1h", connect_deadline="3s", drain_deadline="5s", max_lifetime="15s")
    fleet.run("baked")
    fleet.master.kill()
    lose_ledger(fleet)
    # Nobody says whether a build runs on it: it lives as long as any may.
    fleet.start_controller()
    fleet.wait_gone(15 + GONE_S)
    assert len(fleet.launched()) == 1


def test_an_idle_instance_of_a_master_that_stays_away_is_taken_away(fleet: Fleet) -> None:
    fleet.changed = True
    fleet.set_policy(idle_timeout="4s", master_silence="3s")
    fleet.run("baked")
    fleet.wait_state("baked", "ready")
    fleet.master.kill()
    fleet.wait_gone(GONE_S)


def test_a_build_that_is_asked_for_while_the_controller_is_away_starts_when_it_is_back(fleet: Fleet) -> None:
    fleet.rebuild(autostart=False)
    fleet.set_policy(idle_timeout="60s", master_silence="3s")
    assert fleet.run("baked")["results"] == SUCCESS
    fleet.kill_controller()
    gone = time.monotonic()
    wait_for("the master to know nothing for long", lambda: time.monotonic() > gone + 3)
    request = fleet.force("baked")
    fleet.start_controller()
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.launched()) == 1


def lose_ledger(fleet: Fleet) -> None:
    """Ends the controller and removes its record before the plugin can start the next one."""
    master = fleet.master.process
    if master is not None:
        master.send_signal(signal.SIGSTOP)
    try:
        fleet.kill_controller()
        shutil.rmtree(fleet.state)
    finally:
        if master is not None:
            master.send_signal(signal.SIGCONT)
