"""Webhooks: the published form, the chats' forms, and what receivers refuse; an address is never shown whole."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from authority import Authority
from notify_fleet import CONFIGURATION, DONE, REFUSED, NotifyFleet
from receiver import Answer, Receiver

SECRET = "/services/T0/B0/tokentokentoken?key=keykeykey"


def hook(url: str, more: str = "") -> str:
    """An owner with one webhook."""
    return f'[owner.alice.notify]\nwebhook = ["chat"]\n[notify.webhook.chat]\nurl = {url}\n{more}'


def is_discreet(text: str) -> bool:
    """Whether nothing of the secret part of the address is in it."""
    return "token" not in text and "keykey" not in text


def test_the_published_form_comes_with_the_headers(fleet: NotifyFleet) -> None:
    with Receiver() as receiver:
        headers = fleet.secret("headers", "Authorization: Bearer s3cret\nX-Fleet: f")
        url = fleet.secret("url", receiver.url + SECRET)
        fleet.write(hook(url, f"headers = {headers}\n"))
        said = fleet.test()
    assert said.code == DONE and said.out.startswith(f"webhook chat: taken: {receiver.url}: 200"), said
    assert is_discreet(said.all) and "s3cret" not in said.all
    (call,) = receiver.calls
    assert call.path == SECRET and call.headers["authorization"] == "Bearer s3cret"
    schema = json.loads(fleet.run("notify", "schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(call.body, schema)
    assert call.body["version"] == 1 and call.body["owner"] == "alice" and call.body["fleet"] == "f"
    assert [notice["class"] for notice in call.body["notices"]] == ["test"]
    assert call.headers["idempotency-key"] == call.body["id"]


def test_the_published_schema_is_the_program_s(fleet: NotifyFleet) -> None:
    published = Path(__file__).resolve().parents[2] / "docs" / "notice.schema.json"
    assert fleet.run("notify", "schema").out == published.read_text()


@pytest.mark.parametrize(("form", "key"), [("slack", "text"), ("discord", "content")])
def test_chats_get_their_form(fleet: NotifyFleet, form: str, key: str) -> None:
    with Receiver(answers=[Answer(), Answer(204, b"")]) as receiver:
        fleet.write(hook(f'"{receiver.url}/x"', f'format = "{form}"\n'))
        assert fleet.test().code == DONE and fleet.test().code == DONE
    text = receiver.calls[0].body[key]
    assert "a test message for owner alice" in text and len(text) < 2000


def test_tls_with_an_authority_of_its_own(fleet: NotifyFleet, authority: Authority) -> None:
    (fleet.folder / "ca.pem").write_bytes(authority.file.read_bytes())
    with Receiver(context=authority.context()) as receiver:
        fleet.write(hook(f'"{receiver.url}{SECRET}"'))
        strange = fleet.test()
        fleet.write(hook(f'"{receiver.url}{SECRET}"', 'ca_file = "ca.pem"\n'))
        known = fleet.test()
    assert strange.code == REFUSED and "not taken now" in strange.out and is_discreet(strange.all), strange
    assert known.code == DONE and len(receiver.calls) == 1, known


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (Answer(400, b"invalid_payload"), "refused for good"),
        (Answer(403, b"denied: /services/T0/B0/tokentokentoken"), "refused for good"),
        (Answer(404, b"no_service"), "refused for good"),
        (Answer(408), "not taken now"),
        (Answer(429, b"slow down", {"Retry-After": "30"}), "not taken now"),
        (Answer(500, b"\x1b[31mred\r\nX"), "not taken now"),
        (Answer(503), "not taken now"),
        (Answer(reset=True), "not taken now"),
        (Answer(200, b"x" * 200_000), "taken"),
    ],
)
def test_what_a_receiver_says_is_understood(fleet: NotifyFleet, answer: Answer, word: str) -> None:
    with Receiver(answers=[answer]) as receiver:
        fleet.write(hook(fleet.secret("url", receiver.url + SECRET)))
        said = fleet.test()
    assert f"webhook chat: {word}: " in said.out, said
    assert said.code == (DONE if word == "taken" else REFUSED)
    assert is_discreet(said.all) and "\x1b" not in said.out and len(said.out) < 1000


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nobody_is_sent_elsewhere(fleet: NotifyFleet, status: int) -> None:
    with Receiver() as other, Receiver() as receiver:
        receiver.answers = [Answer(status, headers={"Location": other.url + "/elsewhere?token=tokentoken"})]
        fleet.write(hook(f'"{receiver.url}/x"'))
        said = fleet.test()
    assert said.code == REFUSED and f"wants to be called at {other.url};" in said.out, said
    assert is_discreet(said.all) and other.calls == [] and len(receiver.calls) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ('"http://chat.example.org/tokentoken"', "sends without protection to another machine"),
        ('"ftp://chat.example.org/tokentoken"', "is not an https address"),
        ('"https://user:tokentoken@chat.example.org/"', "holds a name or password before its host"),
        ("17", "is an integer"),
    ],
)
def test_a_wrong_address_is_told_without_its_secret(fleet: NotifyFleet, url: str, why: str) -> None:
    fleet.write(hook(url))
    said = fleet.run("check")
    assert said.code == CONFIGURATION and why in said.err and "notify.webhook.chat.url" in said.err, said
    assert is_discreet(said.all)


def test_a_wrong_address_in_a_file_and_a_missing_file_are_told(fleet: NotifyFleet) -> None:
    fleet.write(hook(fleet.secret("url", "http://chat.example.org/tokentoken")))
    said = fleet.test()
    assert said.code == REFUSED and "sends without protection" in said.out and is_discreet(said.all), said
    fleet.write(hook('{ file = "nowhere" }'))
    said = fleet.test()
    assert said.code == REFUSED and "file nowhere cannot be read" in said.out, said


def test_show_and_config_show_have_no_secret(fleet: NotifyFleet) -> None:
    (fleet.folder / "amis").mkdir()
    manifest = 'owner = "alice"\nregion = "us-west-2"\nami = "ami-1"\ninstance_types = ["m7i.large"]\n'
    (fleet.folder / "amis" / "i.toml").write_text(manifest)
    fleet.write(hook(f'"https://hooks.example.org{SECRET}"') + '[worker.w]\nimage = "i"\n')
    shown = [fleet.run("notify", "show"), fleet.run("notify", "show", "--json"), fleet.run("config", "show", "w")]
    for said in shown:
        assert said.code == DONE and is_discreet(said.all), said
    assert "https://hooks.example.org" in shown[0].out
    assert 'owner.alice.notify.webhook = ["chat"]' in shown[2].out
