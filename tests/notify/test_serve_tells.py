"""The real controller tells an owner by real mail that a worker is down, shows what came of it, and does not say
it again when it is killed and starts anew. Its EC2 is a closed port."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from controller_link import Refused
from post_office import PostOffice
from receiver import Receiver
from served import Controller, until

LATENT_TOML = """\
[fleet]
name = "f"
controller = "c"

[link]
socket = "run.sock"

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
