"""An owner of a configuration, and the word of the controller that runs beside."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from account import OTHER_REGION, REGION
from controller_link import Refused, Unreachable, ask
from leftovers import CONTROLLER, FLEET, SECONDS_MAX, Swept, time_in

REQUEST = "0123456789abcdef0123456789abcdef"
MASTER = "stand-in"

MAIN = """\
[fleet]
name = "{fleet}"
controller = "{controller}"

[polling]
fast = "500ms"
slow = "2s"

[policy]
# What it does not know it leaves to the sweep for now.
orphan_grace = "1h"
{sweep}
[owner.alice]
account = "{account}"
credentials = {{ environment = true }}
endpoint = "{endpoint}"

[worker.alice-w1]
image = "base"
"""

IMAGE = """\
owner = "alice"
region = "{region}"
ami = "{ami}"
instance_types = ["m5.large"]
identity = "baked"
"""


def configured(swept: Swept, sweep: str = "") -> Path:
    """The files of a fleet with one worker; latent.toml."""
    images = swept.folder / "amis"
    images.mkdir(exist_ok=True)
    (images / "base.toml").write_text(IMAGE.format(region=REGION, ami=swept.image))
    config = swept.folder / "latent.toml"
    section = f"\n[sweep]\n{sweep}\n" if sweep else ""
    config.write_text(
        MAIN.format(fleet=FLEET, controller=CONTROLLER, account=swept.id, endpoint=swept.endpoint, sweep=section)
    )
    return config


class Controller:
    """A real one, and a master that says one thing."""

    def __init__(self, swept: Swept, config: Path) -> None:
        self.socket = str(config.parent / "state" / "latent.sock")
        self._log = open(config.parent / "controller.log", "wb")  # noqa: SIM115
        self.process = subprocess.Popen(
            [swept.binary, "serve", "--config", str(config)],
            env=swept.environment(),
            stdout=self._log,
            stderr=self._log,
        )

    def ask(self, method: str, url: str, body: dict[str, object] | None = None) -> dict[str, object]:
        """Asks until it answers."""
        end = time.monotonic() + SECONDS_MAX
        while True:
            try:
                return dict(ask(self.socket, method, url, body))
            except (Unreachable, Refused):
                assert self.process.poll() is None and time.monotonic() < end
                time.sleep(0.1)

    def start(self, worker: str) -> str:
        """A worker is wanted; its instance, once there is one and it builds."""
        self.ask("POST", f"/v1/workers/{worker}/start", {"request": REQUEST, "master": MASTER})
        end = time.monotonic() + SECONDS_MAX
        while time.monotonic() < end:
            line = {"request": REQUEST, "wanted": True, "attached": False, "build": None}
            view = self.ask("GET", f"/v1/workers/{worker}")
            if view["state"] in ("registering", "ready", "busy"):
                line = {**line, "attached": True, "build": "builder/1"}
            self.ask("POST", f"/v1/masters/{MASTER}/report", {"workers": {worker: line}})
            if view["state"] == "busy":
                return str(view["instance"])
            time.sleep(0.2)
        raise AssertionError("no instance came")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._log.close()


@contextlib.contextmanager
def controller(swept: Swept, config: Path) -> Iterator[Controller]:
    """One that runs until the block ends, or it is killed."""
    running = Controller(swept, config)
    try:
        yield running
    finally:
        running.kill()


def test_an_owner_needs_no_more_than_the_name(swept: Swept) -> None:
    configured(swept)
    gone, foreign = swept.abandoned(), swept.abandoned(fleet="others")
    elsewhere = swept.abandoned(OTHER_REGION)
    done = swept.sweep("--owner", "alice", "--json", exits=3)
    assert set(done.found()) == {gone} and done.plan()["fleet"] == FLEET
    shown = swept.sweep("--owner", "alice", exits=3).stdout
    assert "--config latent.toml --owner alice --apply" in shown
    more = swept.sweep("--owner", "alice", "--all-regions", "--json", exits=3)
    assert set(more.found()) == {gone, elsewhere} and foreign not in more.found()
    unknown = swept.sweep("--owner", "bob", exits=2)
    assert "--owner bob: latent.toml has no such owner; it has alice" in unknown.stderr


def test_an_owners_account_is_checked(swept: Swept) -> None:
    configured(swept)
    before = swept.moment()
    done = swept.sweep("--owner", "alice", exits=5, AWS_ACCESS_KEY_ID="AKIA999999999999TEST")
    assert f"the configuration says {swept.id}" in done.stderr and swept.calls(before) == []


def test_a_wrong_configuration_is_told_and_ends_with_2(swept: Swept) -> None:
    configured(swept, sweep='second_look = "soon"')
    done = swept.sweep("--owner", "alice", exits=2)
    assert "sweep.second_look" in done.stderr


def test_two_looks_with_marks_over_time(swept: Swept) -> None:
    configured(swept, sweep='second_look = "3s"')
    late = swept.expired()
    words = ("--owner", "alice", "--apply", "--yes")
    assert f"{late}: marked" in swept.sweep(*words, exits=3).stdout
    time.sleep(4)
    assert f"{late}: terminated" in swept.sweep(*words, exits=0).stdout
    assert swept.state(late) == "terminated"


def test_what_the_policy_only_reports_is_reported(swept: Swept) -> None:
    configured(swept, sweep='[sweep.respond]\nunattended = "report"\nexpired = "stop"\n')
    told, stopped = swept.abandoned(), swept.expired(minutes=60)
    done = swept.sweep("--owner", "alice", "--apply", "--yes", "--json", exits=3)
    assert done.found() == {told: "report", stopped: "stop"}
    assert (swept.state(told), swept.state(stopped)) == ("running", "stopped")


def test_the_controllers_word_counts_while_it_can_be_asked(swept: Swept) -> None:
    config = configured(swept, sweep='second_look = "1s"')
    words = ("--owner", "alice", "--json")
    with controller(swept, config) as running:
        used = running.start("alice-w1")
        orphan = swept.worker(worker="nobody", lease=time_in(60))
        done = swept.sweep(*words, exits=3)
        assert done.kept()[used] == "its controller says that alice-w1 uses it"
        assert done.found() == {orphan: "mark"}
        finding = done.finding(orphan)
        assert finding["kind"] == "orphan" and "its controller does not know it" in finding["reason"]
        # Though its lease is over: whoever uses it knows better.
        swept.tag(used, lease=time_in(-60), deadline=time_in(-60))
        assert used in swept.sweep(*words, exits=3).kept()
        swept.sweep(*words, "--apply", "--yes", exits=3)
        time.sleep(2)
        swept.sweep(*words, "--apply", "--yes", exits=0)
        assert (swept.state(used), swept.state(orphan)) == ("running", "terminated")
    # Nobody is left to ask: the lease says whether anybody vouches for it.
    alone = swept.sweep(*words, exits=3)
    assert alone.found()[used] == "terminate"
    swept.tag(used, lease=time_in(10), deadline=time_in(60))
    assert "vouches for it until" in swept.sweep(*words, exits=0).kept()[used]
