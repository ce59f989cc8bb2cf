"""A canary of a new AMI with everything real but EC2: connect, build, stop, start, connect again, gone."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from fleet import GONE_S, MASTER_EXTRA, SUCCESS, Fleet
from master_process import wait_for

# By then a canary has come and gone on a busy machine.
OVER_S = 90
SMOKE_CFG = """
c["builders"].append(
    util.BuilderConfig(name="smoke", workernames=["injected", "baked"], factory=util.BuildFactory([
        steps.ShellCommand(command=["/bin/sh", "-c", "sleep 3"], name="smoke"),
    ]))
)
c["schedulers"].append(schedulers.ForceScheduler(name="force-smoke", builderNames=["smoke"]))
"""


class OverSocket(http.client.HTTPConnection):
    """The controller's interface as a rebake asks it."""

    def __init__(self, path: str) -> None:
        super().__init__("latent")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


@pytest.fixture
def candidate(fleet: Fleet) -> Iterator[str]:
    """An AMI whose instances are the worker `baked` too, and which no manifest names."""
    fleet.changed = True
    fleet.halt()
    fleet.options.master_extra = MASTER_EXTRA + SMOKE_CFG
    fleet.write_master()
    images, amis = fleet.agent_config()["images"], fleet.seeded["amis"]
    assert fleet.agent is not None
    fleet.agent.configure(images={**images, amis["injected"]: images[amis["baked"]]})
    fleet.master.start(builders=3)
    wait_for("the controller", lambda: fleet.latent("status").returncode == 0)
    yield amis["injected"]
    fleet.changed = True


def put_canary(fleet: Fleet, ami: str, smoke: str | None) -> None:
    """A rebake asks for a canary of the worker `baked`."""
    asked = OverSocket(str(fleet.state / "latent.sock"))
    wish = {"rebake": "rb1", "ami": ami, "generation": 2, "smoke": smoke, "connect_deadline_s": 60, "now": False}
    asked.request("PUT", "/v1/workers/baked/canary", json.dumps(wish), {"Content-Type": "application/json"})
    answer = asked.getresponse()
    assert answer.status == 200, answer.read()
    asked.close()


def canary(fleet: Fleet) -> dict[str, Any]:
    """How far it has come."""
    return dict(fleet.worker("baked")["canary"])


def wait_phase(fleet: Fleet) -> dict[str, Any]:
    """Waits for its end alone: what waited for it begins then."""
    wait_for("the canary's end", lambda: canary(fleet)["phase"] in ("passed", "failed"), OVER_S)
    return canary(fleet)


def wait_over(fleet: Fleet) -> dict[str, Any]:
    """Waits for its end, and for that of its instance."""
    over = wait_phase(fleet)
    fleet.wait_gone(GONE_S)
    return over


def smoke_builds(fleet: Fleet) -> list[dict[str, Any]]:
    """Every build of the smoke builder."""
    return list(fleet.master.rest("builders/smoke/builds")["builds"])


def test_a_canary_connects_twice_and_is_gone(fleet: Fleet, candidate: str) -> None:
    put_canary(fleet, candidate, None)
    over = wait_over(fleet)
    assert (over["phase"], over["why"], over["built"]) == ("passed", None, None)
    assert over["connected_at"] < over["reconnected_at"]
    assert len(fleet.launched()) == len(fleet.events("start_intended")) == 1
    assert [form["ImageId"] for form in fleet.gate.forms("RunInstances")] == [candidate]
    assert not fleet.master.rest("builds")["builds"]


def test_a_canary_builds_and_an_ordinary_build_waits(fleet: Fleet, candidate: str) -> None:
    put_canary(fleet, candidate, "smoke")
    wait_for("the smoke build", lambda: canary(fleet)["phase"] == "building", OVER_S)
    request = fleet.force("baked")
    over = wait_phase(fleet)
    assert (over["phase"], over["why"], over["built"]) == (
        "passed",
        None,
        {"build": "smoke/1", "results": SUCCESS},
    )
    assert fleet.wait_build(request)["results"] == SUCCESS
    (smoke,), ordinary = smoke_builds(fleet), fleet.builds(request)[-1]
    first, second = fleet.launched()
    shown = {name: fleet.property_of(smoke, f"latent_{name}") for name in ("canary", "ami", "generation")}
    assert shown == {"canary": "rb1", "ami": candidate, "generation": "2"}
    on = {fleet.property_of(smoke, "instance"), fleet.property_of(ordinary, "instance")}
    assert on == {first, second}
    assert fleet.property_of(ordinary, "latent_ami") == fleet.seeded["amis"]["baked"]
    fleet.wait_gone(GONE_S)
