"""The real controller tells an owner by real mail that a worker is down, shows what came of it, and does not say
it again when it is killed and starts anew. Its EC2 is a closed port."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from controller_link import Refused, Unreachable, ask
from post_office import PostOffice
from receiver import Receiver

LIMIT_S = 120.0

LATENT_TOML = """\
[fleet]
name = "f"
controller = "c"

[link]
socket = "run.sock"

[policy]
launch_deadline = "20s"

[notify]
digest = "1s"
weekly = "never"
admin = {{ webhook = ["ops"] }}

[notify.smtp]
host = "localhost"
port = {port}
tls = "none"
from = "latent@example.org"

[notify.webhook.ops]
url = "{url}/hook"

[owner.alice]
account = "123456789012"
contact = "alice@example.org"
credentials = {{ environment = true }}
endpoint = "http://127.0.0.1:9"

[owner.alice.notify]
down_after = "10s"

[worker.w1]
image = "debian"
"""

IMAGE = """\
owner = "alice"
region = "us-west-2"
ami = "ami-0123456789abcdef0"
instance_types = ["m5.large"]
"""


class Controller:
    """`latent serve` on a folder, killed and started as a test says. Its EC2 is a closed port."""

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        self._process: Optional[subprocess.Popen[bytes]] = None

    def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "localhost,127.0.0.1",
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "serve"], cwd=self._folder, env=environment, stderr=log, stdin=subprocess.DEVNULL
            )
        until("the controller answers", lambda: bool(self.ask("GET", "/v1/version")))

    def ask(self, method: str, url: str, body: Optional[dict[str, Any]] = None) -> Any:
        try:
            return ask(str(self._folder / "run.sock"), method, url, body)
        except Unreachable:
            return None

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)


def until(what: str, holds: Callable[[], bool]) -> None:
    """Waits until something holds, and no longer than the limit."""
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, f"not within {LIMIT_S} s: {what}"
        time.sleep(0.2)


@pytest.fixture
def office() -> Iterator[PostOffice]:
    with PostOffice() as office:
        yield office


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def controller(binary: str, tmp_path: Path, office: PostOffice, receiver: Receiver) -> Iterator[Controller]:
    (tmp_path / "amis").mkdir()
    (tmp_path / "latent.toml").write_text(LATENT_TOML.format(port=office.port, url=receiver.url))
    (tmp_path / "amis" / "debian.toml").write_text(IMAGE)
    controller = Controller(binary, tmp_path)
    controller.start()
    yield controller
    controller.kill()


def test_an_owner_is_told_once_that_a_worker_is_down(
    controller: Controller, office: PostOffice, receiver: Receiver
) -> None:
    office.answers = ["451 4.7.1 try again later"]
    try:
        controller.ask("POST", "/v1/workers/w1/start", {"request": "r1"})
    except Refused as refused:
        pytest.fail(str(refused))
    until("the admin is told", lambda: len(receiver.calls) > 0)
    until("the mail is tried", lambda: not office.answers)
    shown = controller.ask("GET", "/v1/notices")
    assert "alice@example.org" in str(shown["contacts"])
    controller.kill()
    controller.start()
    until("the owner is told", lambda: len(office.letters) > 0)
    letter = office.letters[0].message
    assert "worker w1 is down" in letter["Subject"]
    assert "What to do:" in letter.get_content()

    told = receiver.calls[0].body
    assert told["owner"] is None and told["notices"][0]["class"] == "worker-down"
    for _ in range(2):
        controller.kill()
        controller.start()
        # Longer than one look of the controller.
        time.sleep(35)
    assert len(office.letters) == 1, [letter.message["Subject"] for letter in office.letters]
    until(
        "it is shown",
        lambda: "taken" in [one["state"] for one in controller.ask("GET", "/v1/notices")["deliveries"]],
    )
