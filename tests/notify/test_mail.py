"""Mail leaves by SMTP, plain, with STARTTLS and with TLS, and by a command; and what servers refuse is said."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from authority import Authority
from notify_fleet import CONFIGURATION, DONE, REFUSED, NotifyFleet
from post_office import PostOffice


def smtp(port: int, more: str = "", tls: str = "none", host: str = "localhost") -> str:
    """The way of the mail, and an owner who has an address."""
    return (
        'contact = "Alice@example.org"\n[notify.smtp]\n'
        f'host = "{host}"\nport = {port}\ntls = "{tls}"\nfrom = "latent@ci.example.org"\n{more}'
    )


def test_a_test_message_comes_with_its_headers(fleet: NotifyFleet) -> None:
    with PostOffice() as office:
        fleet.write(smtp(office.port))
        said = fleet.test()
    assert (said.code, said.err) == (DONE, ""), said
    assert said.out.startswith("mail Alice@example.org: taken: localhost:"), said.out
    assert len(office.letters) == 1
    letter = office.letters[0]
    assert (letter.sender, letter.to) == ("latent@ci.example.org", ["Alice@example.org"])
    headers = letter.message
    assert headers["Subject"] == "[latent f] a test message for owner alice"
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["List-Id"] == "<owner-alice.f.latent.ci.example.org>"
    assert headers["Message-ID"].endswith("@ci.example.org>")
    assert headers["X-Latent-Class"] == "test"
    assert headers["Date"] and headers["To"] == "Alice@example.org"
    assert headers.get_content_type() == "text/plain"
    assert "Messages from latent reach you here." in headers.get_content()


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_with_tls_and_a_login(fleet: NotifyFleet, authority: Authority, tls: str) -> None:
    (fleet.folder / "ca.pem").write_bytes(authority.file.read_bytes())
    with PostOffice(tls=tls, context=authority.context(), password="s3cret-word") as office:
        password = fleet.secret("password", "s3cret-word")
        fleet.write(smtp(office.port, f'user = "latent"\npassword = {password}\nca_file = "ca.pem"\n', tls))
        said = fleet.test()
        assert said.code == DONE, said
        assert [(letter.tls, letter.user) for letter in office.letters] == [(True, "latent")]

        fleet.secret("password", "wrong-word")
        said = fleet.test()
        assert said.code == REFUSED and "not taken now" in said.out and "535" in said.out, said
        assert "wrong-word" not in said.all and len(office.letters) == 1


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_server_that_nobody_vouches_for_is_told_nothing(
    fleet: NotifyFleet, authority: Authority, tls: str
) -> None:
    with PostOffice(tls=tls, context=authority.context()) as office:
        fleet.write(smtp(office.port, tls=tls))
        said = fleet.test()
    assert said.code == REFUSED and "not taken now" in said.out and "certificate" in said.out.lower(), said
    assert office.letters == []


def test_a_certificate_must_be_of_the_name(fleet: NotifyFleet, authority: Authority) -> None:
    (fleet.folder / "ca.pem").write_bytes(authority.file.read_bytes())
    with PostOffice(tls="tls", context=authority.context()) as office:
        fleet.write(smtp(office.port, 'ca_file = "ca.pem"\n', "tls", host="127.0.0.2"))
        said = fleet.test()
    assert said.code == REFUSED and office.letters == [], said


def test_starttls_is_not_given_up_where_the_server_has_none(fleet: NotifyFleet) -> None:
    with PostOffice() as office:
        fleet.write(smtp(office.port, tls="starttls"))
        said = fleet.test()
    assert said.code == REFUSED and "not taken now" in said.out and office.letters == [], said


def test_no_protection_is_for_this_machine_alone(fleet: NotifyFleet) -> None:
    fleet.write(smtp(25, host="mail.example.org"))
    said = fleet.run("check")
    assert said.code == CONFIGURATION
    assert 'notify.smtp.tls = "none": sends mail, and a password, without protection' in said.err, said


def test_what_a_server_refuses_for_good_is_told_apart_from_what_passes(fleet: NotifyFleet) -> None:
    with PostOffice() as office:
        fleet.write(smtp(office.port))
        office.recipients = {"Alice@example.org": "550 5.1.1 no such user"}
        for_good = fleet.test()
        office.recipients = {"Alice@example.org": "451 4.7.1 greylisted, try again in five minutes"}
        later = fleet.test()
        office.recipients = {}
        office.answers = ["554 5.7.1 looks like spam", "452 4.3.1 no room"]
        spam, full = fleet.test(), fleet.test()
        office.reset = 1
        cut = fleet.test()
        again = fleet.test()
    assert for_good.code == REFUSED and "refused for good" in for_good.out and "no such user" in for_good.out
    assert "not taken now" in later.out and "greylisted" in later.out
    assert "refused for good" in spam.out and "not taken now" in full.out
    assert cut.code == REFUSED and "not taken now" in cut.out, cut
    assert again.code == DONE and len(office.letters) == 1


def test_a_server_that_is_not_there_is_no_refusal(fleet: NotifyFleet) -> None:
    with PostOffice() as office:
        port = office.port
    fleet.write(smtp(port))
    said = fleet.test()
    assert said.code == REFUSED and "not taken now" in said.out and f"localhost:{port}" in said.out, said


def test_a_command_gets_the_letter_and_no_shell_reads_its_arguments(fleet: NotifyFleet) -> None:
    program = fleet.folder / "sendmail"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > arguments\ncat > letter\nexit "$(cat code)"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (fleet.folder / "code").write_text("0")
    fleet.write(
        f'[owner.alice.notify]\nmail = ["a@example.org"]\n[notify.sendmail]\n'
        f'command = ["{program}", "$(touch shell)"]\nfrom = "latent@example.org"\n'
    )
    said = fleet.test()
    assert said.code == DONE, said
    arguments = (fleet.folder / "arguments").read_text().splitlines()
    assert arguments == ["$(touch shell)", "-i", "-f", "latent@example.org", "--", "a@example.org"]
    assert not (fleet.folder / "shell").exists()
    assert "Subject: [latent f] a test message" in (fleet.folder / "letter").read_text()
    for code, word in [("67", "refused for good"), ("75", "not taken now")]:
        (fleet.folder / "code").write_text(code)
        said = fleet.test()
        assert said.code == REFUSED and word in said.out, said


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ('contact = "Alice, room 5"\n', "owner alice is told nowhere"),
        ('contact = "alice@example.org"\n', "nothing says how mail goes out"),
    ],
)
def test_who_has_no_place_is_told_what_to_add(fleet: NotifyFleet, more: str, word: str) -> None:
    fleet.write(more)
    said = fleet.test()
    assert said.code == REFUSED and word in said.err and "latent.toml" in said.err, said
    shown = fleet.run("notify", "show")
    assert shown.code == DONE and "nowhere" in shown.out and "no controller runs" in shown.out, shown


def test_an_unknown_owner_and_a_bad_address_are_told(fleet: NotifyFleet, tmp_path: Path) -> None:
    fleet.write("")
    said = fleet.test("--owner", "bob")
    assert said.code == REFUSED and "known: alice" in said.err, said
    fleet.write('[owner.alice.notify]\nmail = ["alice@example.org\\r\\nBcc: eve@example.org"]\n')
    said = fleet.run("check")
    assert said.code == CONFIGURATION and "is not an address" in said.err, said
