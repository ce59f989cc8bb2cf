"""The life of a worker when nothing goes wrong."""

from __future__ import annotations

import json
import os
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fleet import GONE_S, IDLE_S, RETRY, SUCCESS, Fleet
from master_process import wait_for

TOKEN_LENGTH_MAX = 64
LATENT_TAGS = {
    f"latent:{key}"
    for key in (
        "fleet", "controller", "owner", "worker", "attempt", "role", "image", "created", "lease", "deadline"
    )
}  # fmt: skip


@pytest.mark.parametrize("worker", ["baked", "injected"])
def test_a_build_runs_and_its_instance_goes(fleet: Fleet, worker: str) -> None:
    build = fleet.run(worker)
    assert build["results"] == SUCCESS
    assert fleet.property_of(build, "instance") == fleet.launched(worker)[0]
    fleet.wait_gone(GONE_S)
    assert len(fleet.launched()) == 1
    idle = seconds_between(fleet.events("build_finished")[-1]["at"], fleet.events("terminate_intended")[-1]["at"])
    assert idle >= IDLE_S - 0.5


def test_a_second_build_finds_the_instance_warm(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="3s")
    first, second = fleet.run("baked"), fleet.run("baked")
    assert (first["results"], second["results"]) == (SUCCESS, SUCCESS)
    assert len(fleet.launched()) == 1


def test_two_builds_that_wait_share_one_instance(fleet: Fleet) -> None:
    requests = [fleet.force("injected"), fleet.force("injected")]
    assert [fleet.wait_build(request)["results"] for request in requests] == [SUCCESS, SUCCESS]
    assert len(fleet.launched()) == 1


def test_a_launch_says_everything_in_one_call(fleet: Fleet) -> None:
    fleet.run("injected")
    forms = fleet.gate.forms("RunInstances")
    assert len(forms) == 1
    form = forms[0]
    assert 0 < len(form["ClientToken"]) <= TOKEN_LENGTH_MAX and form["ClientToken"].isascii()
    assert form["MetadataOptions.HttpTokens"] == "required"
    assert form["MetadataOptions.HttpPutResponseHopLimit"] == "1"
    assert form["MetadataOptions.InstanceMetadataTags"] == "enabled"
    assert form["InstanceInitiatedShutdownBehavior"] == "terminate"
    # The emulator's AMIs have a disk that would outlive its instance.
    assert form["BlockDeviceMapping.1.Ebs.DeleteOnTermination"] == "true"
    kinds = [form[f"TagSpecification.{n}.ResourceType"] for n in (1, 2, 3)]
    assert sorted(kinds) == ["instance", "network-interface", "volume"]
    # A lease may be renewed at any time; every other tag is there from birth.
    later = fleet.gate.forms("CreateTags")
    assert {value for call in later for key, value in call.items() if key.endswith(".Key")} <= {"latent:lease"}


def test_instance_and_disk_carry_every_tag(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="3s")
    fleet.run("baked")
    instance = fleet.instances("baked")[0]
    disks = fleet.ec2().describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}]
    )["Volumes"]
    assert disks
    for tagged in (instance, *disks):
        assert {tag["Key"] for tag in tagged["Tags"]} >= LATENT_TAGS
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["ClientToken"]
    assert [disk["Ebs"]["DeleteOnTermination"] for disk in instance["BlockDeviceMappings"]] == [True]


def test_the_password_of_an_injected_identity_stays_out_of_sight(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="3s")
    build = fleet.run("injected")
    assert build["results"] == SUCCESS
    secret = fleet.options.password
    seen = [fleet.controller_log(), fleet.master.log(), rest_of(fleet, build)]
    seen += [fleet.latent("status", "--json").stdout, fleet.latent("events", "--json").stdout]
    seen += [path.read_bytes().decode("latin-1") for path in fleet.state.glob("ledger.*")]
    seen += [Path(f"/proc/{pid}/cmdline").read_text() for pid in fleet.controller_pids()]
    seen.append(json.dumps([instance["Tags"] for instance in fleet.instances()]))
    assert len(list(fleet.state.glob("ledger.sqlite*"))) >= 2, "the write-ahead log is looked at too"
    assert not [text for text in seen if secret in text]
    assert "injected" in rest_of(fleet, build) and len(fleet.controller_pids()) == 1


def test_an_idle_instance_is_stopped_and_started_again_if_its_owner_wants_that(fleet: Fleet) -> None:
    fleet.set_policy(on_idle="stop")
    first = fleet.run("baked")
    fleet.wait_state("baked", "stopped", seconds=GONE_S)
    assert fleet.instances("baked")[0]["State"]["Name"] == "stopped"
    second = fleet.run("baked")
    assert (first["results"], second["results"]) == (SUCCESS, SUCCESS)
    assert len(fleet.launched()) == 1
    fleet.wait_state("baked", "stopped", seconds=GONE_S)


def test_a_hold_keeps_an_idle_instance_until_it_ends(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="3s")
    fleet.run("baked")
    held = fleet.latent("hold", "baked", "--for", "5s")
    assert held.returncode == 0, held.stderr
    until = fleet.worker("baked")["hold_until"]
    fleet.wait_gone(GONE_S + 5)
    assert seconds_between(until, fleet.events("terminate_intended")[-1]["at"]) >= 0


def test_a_build_may_use_an_instance_that_an_operator_holds(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="3s")
    fleet.run("baked")
    fleet.latent("hold", "baked", "--for", "60s")
    wait_for(
        "the master to let go", lambda: not fleet.worker("baked")["waiting"] and not connected(fleet, "baked")
    )
    build = fleet.run("baked")
    assert build["results"] == SUCCESS
    assert len(fleet.launched()) == 1
    assert fleet.latent("release", "baked").returncode == 0
    fleet.wait_gone(GONE_S)


def test_stop_lets_a_build_finish_first(fleet: Fleet) -> None:
    request = fleet.force("baked", seconds=3)
    fleet.wait_building("baked")
    assert "draining" in fleet.latent("stop", "baked").stdout
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.builds(request)) == 1
    fleet.wait_gone(GONE_S)
    finished, ended = fleet.events("build_finished")[-1]["at"], fleet.events("terminate_intended")[-1]["at"]
    assert seconds_between(finished, ended) >= 0


def test_a_build_that_waits_while_its_worker_is_stopped_gets_a_new_instance(fleet: Fleet) -> None:
    first = fleet.force("baked", seconds=2)
    fleet.wait_building("baked")
    second = fleet.force("baked")
    fleet.latent("stop", "baked")
    assert [fleet.wait_build(request)["results"] for request in (first, second)] == [SUCCESS, SUCCESS]
    assert len(fleet.launched()) == 2


def test_an_instance_that_an_operator_starts_is_taken_by_the_master_and_idles_out(fleet: Fleet) -> None:
    assert fleet.latent("start", "injected").returncode == 0
    fleet.wait_state("injected", "ready")
    assert connected(fleet, "injected")
    fleet.wait_gone(GONE_S)
    assert len(fleet.launched()) == 1


def test_the_configuration_is_checked_without_network_and_program(fleet: Fleet) -> None:
    fleet.changed = True
    fleet.gate.down()
    environment = {**fleet.environment, "LATENT_BIN": str(fleet.folder / "nothing"), "PATH": "/usr/bin:/bin"}
    fleet.master.environment = environment
    try:
        checked = fleet.master.buildbot("checkconfig", str(fleet.folder / "master.cfg"))
    finally:
        fleet.master.environment = fleet.environment
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (", config=7", "config=7 must be a path in a string"),
        (", autostart='no'", "autostart='no' must be True or False"),
    ],
)
def test_the_check_of_the_configuration_finds_wrong_options(fleet: Fleet, options: str, said: str) -> None:
    text = (fleet.folder / "master.cfg").read_text()
    wrong = fleet.folder / "wrong.cfg"
    wrong.write_text(text.replace('"baked-password"', f'"baked-password"{options}'))
    checked = fleet.master.buildbot("checkconfig", str(wrong))
    assert checked.returncode == 1
    assert said in checked.stdout + checked.stderr


def test_a_reconfiguration_of_the_master_does_not_disturb_a_build(fleet: Fleet) -> None:
    fleet.changed = True
    request = fleet.force("baked", seconds=3)
    fleet.wait_building("baked")
    fleet.options.worker_options = ", max_builds=1"
    fleet.write_master()
    assert fleet.master.process is not None
    fleet.master.process.send_signal(signal.SIGHUP)
    wait_for("the reconfiguration", lambda: "configuration update complete" in fleet.master.log())
    assert fleet.worker("baked")["state"] == "busy"
    assert fleet.wait_build(request)["results"] == SUCCESS
    assert len(fleet.builds(request)) == len(fleet.launched()) == 1
    fleet.wait_gone(GONE_S)


def test_a_new_ami_is_used_from_the_next_launch_on(fleet: Fleet) -> None:
    fleet.set_policy(idle_timeout="3s")
    fleet.changed = True
    first = fleet.run("baked")
    other = fleet.seeded["amis"]["injected"]
    manifest = fleet.folder / "amis" / "baked.toml"
    manifest.write_text(manifest.read_text().replace(fleet.seeded["amis"]["baked"], other))
    os.kill(fleet.controller_pids()[0], signal.SIGHUP)
    wait_for("the new manifest", lambda: "configuration read again" in fleet.controller_log())
    second = fleet.run("baked")
    assert fleet.property_of(first, "instance") == fleet.property_of(second, "instance") is not None
    fleet.wait_gone(GONE_S)
    request = fleet.force("baked")
    form = wait_for("the next launch", lambda: fleet.gate.forms("RunInstances")[1:])[0]
    assert form["ImageId"] == other
    stop_builds(fleet, request)


def test_a_master_that_ends_in_good_order_lets_its_instances_go(fleet: Fleet) -> None:
    fleet.changed = True
    fleet.run("baked")
    fleet.master.kill(signal.SIGTERM)
    fleet.wait_gone(GONE_S)


def test_a_master_ends_in_good_order_while_an_instance_is_on_its_way(fleet: Fleet) -> None:
    fleet.changed = True
    hold = fleet.gate.hold_call("RunInstances")
    fleet.force("baked")
    hold.wait()
    master = fleet.master.process
    assert master is not None
    master.send_signal(signal.SIGTERM)
    assert master.wait(10) == 0
    hold.let_go()
    wait_for("the launch", lambda: fleet.launched())
    fleet.wait_gone(GONE_S)


def test_a_worker_that_loses_its_connection_comes_back_to_the_same_instance(fleet: Fleet) -> None:
    request = fleet.force("baked", seconds=3)
    fleet.wait_building("baked")
    instance = fleet.launched()[0]
    assert fleet.agent is not None
    os.kill(fleet.agent.wait_for("worker-started", instance)["pid"], signal.SIGKILL)
    assert fleet.wait_ended(request)["results"] == RETRY
    assert fleet.wait_build(request)["results"] == SUCCESS


def connected(fleet: Fleet, worker: str) -> bool:
    """Whether the master sees the worker."""
    return bool(fleet.master.rest(f"workers/{worker}")["workers"][0]["connected_to"])


def stop_builds(fleet: Fleet, request: int) -> None:
    """Stops the build of a request that cannot succeed."""
    build = wait_for("the build", lambda: fleet.builds(request))[0]
    fleet.master.control(f"builds/{build['buildid']}", "stop", reason="seen enough")
    fleet.wait_build(request)


def rest_of(fleet: Fleet, build: dict[str, Any]) -> str:
    """Everything that the master's interface says of its workers and of a build."""
    paths = ["workers", "builders", f"builds/{build['buildid']}", f"builds/{build['buildid']}/properties"]
    steps = fleet.master.rest(f"builds/{build['buildid']}/steps")["steps"]
    logs = [log for step in steps for log in fleet.master.rest(f"steps/{step['stepid']}/logs")["logs"]]
    paths += [f"logs/{log['logid']}/contents" for log in logs]
    return json.dumps([fleet.master.rest(path) for path in paths] + [steps])


def seconds_between(earlier: str, later: str) -> float:
    """From one of the controller's times to another."""
    first, second = (datetime.fromisoformat(text[:23] + "+00:00") for text in (earlier, later))
    return (second - first).total_seconds()
