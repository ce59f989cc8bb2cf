"""The real controller tells an owner by real mail of the week, with the report, and of a budget that is
crossed. Its EC2 is the simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from post_office import PostOffice
from seed import seed
from served import Controller, until
from sim_server import SimServer, Weather

REGION = "us-west-2"

LATENT_TOML = """\
[fleet]
name = "f"
controller = "c"

[link]
socket = "run.sock"

[polling]
fast = "300ms"
slow = "1s"

[notify]
digest = "1s"
weekly = "00:00-24:00"

[notify.smtp]
host = "localhost"
port = {port}
tls = "none"
from = "latent@example.org"

[owner.alice]
account = "{account}"
contact = "alice@example.org"
credentials = {{ environment = true }}
endpoint = "{endpoint}"
# The first minute of an instance costs more than the one, and no test lasts as long as the other.
budget = {{ soft = "0.001", hard = "100" }}

[owner.bob]
account = "210987654321"
contact = "bob@example.org"
credentials = {{ profile = "none" }}
endpoint = "http://127.0.0.1:9"

[worker.w1]
image = "debian"
"""

IMAGE = """\
owner = "alice"
region = "{region}"
ami = "{ami}"
instance_types = ["m5.large"]
subnets = [{{ id = "{subnet}", zone = "{zone}" }}]
security_groups = ["{group}"]
"""


@pytest.fixture
def controller(binary: str, tmp_path: Path, office: PostOffice) -> Iterator[Controller]:
    with SimServer(tmp_path / "sim.log", binary, Weather(speed=20.0)) as ec2:
        seeded = seed(ec2.endpoint, REGION, ["debian"])
        subnet = seeded["subnets"][0]
        (tmp_path / "amis").mkdir()
        (tmp_path / "amis" / "debian.toml").write_text(
            IMAGE.format(
                region=REGION,
                ami=seeded["amis"]["debian"],
                subnet=subnet["id"],
                zone=subnet["zone"],
                group=seeded["security_group"],
            )
        )
        text = LATENT_TOML.format(port=office.port, account=seeded["account"], endpoint=ec2.endpoint)
        (tmp_path / "latent.toml").write_text(text)
        controller = Controller(binary, tmp_path)
        try:
            controller.start()
            yield controller
        finally:
            controller.kill()


def letters(office: PostOffice, to: str, word: str) -> list[EmailMessage]:
    """What somebody got with a word in its subject."""
    return [one.message for one in office.letters if to in one.to and word in one.message["Subject"]]


def test_the_week_comes_with_its_report_and_a_crossed_budget_is_told_once(
    controller: Controller, office: PostOffice
) -> None:
    until("the week is told", lambda: len(letters(office, "alice@example.org", "the week of owner alice")) > 0)
    (week,) = letters(office, "alice@example.org", "the week of owner alice")
    text = week.get_body(("plain",))
    assert text is not None and "No machine of alice was seen" in text.get_content()
    (report,) = week.iter_attachments()
    assert report.get_content_type() == "text/html"
    assert (report.get_filename() or "").startswith("latent-alice-")
    html = report.get_content()
    assert "<html" in html and "alice" in html and "bob" not in html and "210987654321" not in html

    controller.ask("POST", "/v1/workers/w1/start", {"request": "r1"})
    crossed = "owner alice: the soft budget of $0.001 for "
    until("the budget is told", lambda: len(letters(office, "alice@example.org", crossed)) > 0)
    (budget,) = letters(office, "alice@example.org", crossed)
    assert "is crossed" in budget["Subject"].replace("\n", "")
    assert "raise the amount in [owner.alice.budget]" in budget.get_content()
    assert letters(office, "bob@example.org", "alice") == []
