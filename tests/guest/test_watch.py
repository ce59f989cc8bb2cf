"""What the lease watch decides, in each shell, by the model's own metadata."""

from __future__ import annotations

import contextlib
import http.server
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from account import Account
from watch import DEADLINE, LEASE, Guest

DAY = 86_400


# While somebody vouches for it.


def test_an_instance_that_is_vouched_for_is_left_alone(guest: Guest, shell: list[str]) -> None:
    for _ in range(3):
        assert guest.look(shell) == ""
    assert guest.orders == [] and guest.console.read_text() == ""


def test_a_renewal_is_seen(guest: Guest, shell: list[str]) -> None:
    guest.tag(LEASE, guest.time(600))
    assert guest.look(shell) == ""
    guest.tag(LEASE, guest.time(6 * 3600))
    guest.account.control.advance(3600)
    assert guest.look(shell) == "" and guest.orders == []


# The two times.


def test_the_end_of_the_lease_powers_it_off(guest: Guest, shell: list[str]) -> None:
    assert guest.look(shell) == ""
    guest.tag(LEASE, guest.time(-20))
    said = guest.look(shell)
    assert re.search(r"powering off: the lease ended \d+ s ago, and the controller has not renewed it", said), said
    assert guest.orders == ["order"]
    assert guest.console.read_text() == said, "the reason is on the console"


def test_the_deadline_powers_it_off_though_the_lease_is_good(guest: Guest, shell: list[str]) -> None:
    guest.tag(DEADLINE, guest.time(-20))
    said = guest.look(shell)
    assert re.search(r"powering off: the deadline passed \d+ s ago", said), said
    assert guest.orders == ["order"]


def test_time_is_that_of_the_metadata_service(guest: Guest, shell: list[str], tmp_path: Path) -> None:
    """Whatever the clock of the guest says before NTP has set it."""
    for year, seconds in (("1970", "77"), ("2098", "4070908800")):
        shims = tmp_path / year
        shims.mkdir()
        (shims / "date").write_text(f"#!/bin/sh\necho {seconds}\n")
        (shims / "date").chmod(0o755)
        guest.environment["PATH"] = f"{shims}:{guest.environment['PATH']}"
        assert guest.look(shell) == "", year
    assert guest.orders == []
    guest.tag(LEASE, guest.time(-20))
    guest.look(shell)
    assert guest.orders == ["order"]


# The first minutes of a boot.


def test_an_old_lease_is_not_held_against_an_instance_that_was_just_started(
    guest: Guest, shell: list[str]
) -> None:
    guest.tag(LEASE, guest.time(-7200))
    guest.up = 0
    for _ in range(8):
        assert guest.look(shell, after=30) == ""
    assert guest.orders == []
    assert "the lease ended" in guest.look(shell, after=60)
    assert guest.orders == ["order"]


def test_a_lease_that_ends_in_the_first_minutes_ends_the_instance(guest: Guest, shell: list[str]) -> None:
    guest.up = 0
    assert guest.look(shell) == ""
    guest.tag(LEASE, guest.time(-1))
    guest.look(shell)
    assert guest.orders == ["order"], "it was vouched for in this boot"


def test_what_an_earlier_boot_left_is_forgotten(guest: Guest, shell: list[str]) -> None:
    guest.look(shell)
    guest.tag(LEASE, guest.time(-20))
    guest.look(shell)
    assert guest.orders == ["order"]
    guest.up = 5
    assert guest.look(shell, after=10) == "", "it does not force what an earlier boot ordered"
    assert guest.orders == ["order"]


# After a sleep.


def test_an_old_lease_is_not_held_against_a_guest_that_was_hibernated(guest: Guest, shell: list[str]) -> None:
    """It goes on where it was: what it remembers is of before, and nobody could renew its lease."""
    assert guest.look(shell) == ""
    guest.tag(LEASE, guest.time(-7200))
    for after in (3 * DAY, 30, 30, 30, 30, 30, 30, 30, 30, 30):
        assert guest.look(shell, after=after) == ""
    assert guest.orders == []
    assert "the lease ended" in guest.look(shell, after=60)
    assert guest.orders == ["order"]


def test_a_guest_that_was_hibernated_obeys_the_lease_that_it_is_given_then(guest: Guest, shell: list[str]) -> None:
    guest.look(shell)
    guest.tag(LEASE, guest.time(-7200))
    guest.look(shell, after=DAY)
    guest.tag(LEASE, guest.time(600))
    assert guest.look(shell) == ""
    guest.tag(LEASE, guest.time(-1))
    guest.look(shell)
    assert guest.orders == ["order"], "it was vouched for since it awoke"


def test_a_sleep_that_the_uptime_does_not_count_is_seen_by_the_metadata(guest: Guest, shell: list[str]) -> None:
    guest.look(shell)
    memory = guest.folder / "run" / "lease-watch.state"
    words = memory.read_text().split()
    words[7] = str(int(words[7]) - 3 * DAY)
    memory.write_text(" ".join(words) + "\n")
    guest.tag(LEASE, guest.time(-7200))
    assert guest.look(shell) == "" and guest.orders == []
    assert guest.look(shell, after=200) == "" and guest.orders == []
    guest.look(shell, after=100)
    assert guest.orders == ["order"]


def test_a_guest_that_awakes_blind_has_the_grace_once_more(guest: Guest, shell: list[str]) -> None:
    guest.look(shell)
    nowhere = {"IMDS": dead_port(), "GRACE": 400}
    guest.look(shell, **nowhere)
    assert "the metadata service does not answer" not in guest.look(shell, after=DAY // 2, **nowhere)
    assert guest.orders == [], "that it was blind before it slept does not count"
    guest.look(shell, after=250, **nowhere)
    assert guest.orders == []
    guest.look(shell, after=250, **nowhere)
    assert guest.orders == ["order"]


def test_a_deadline_that_passed_in_its_sleep_ends_it_at_once(guest: Guest, shell: list[str]) -> None:
    guest.look(shell)
    guest.tag(DEADLINE, guest.time(-20))
    assert "the deadline passed" in guest.look(shell, after=3 * DAY)
    assert guest.orders == ["order"]


# When it cannot see.


def dead_port() -> str:
    """An address at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_without_metadata_it_is_powered_off_after_the_grace(guest: Guest, shell: list[str]) -> None:
    nowhere = {"IMDS": dead_port(), "GRACE": 300}
    said = guest.look(shell, **nowhere)
    assert "the metadata service does not answer" in said and "lasts for 300 s" in said
    assert guest.look(shell, after=200, **nowhere) == "", "it complains once"
    assert guest.orders == []
    assert "powering off: for 300 s the metadata service does not answer" in guest.look(
        shell, after=100, **nowhere
    )
    assert guest.orders == ["order"]


def test_metadata_that_come_back_end_the_grace(guest: Guest, shell: list[str]) -> None:
    nowhere = {"IMDS": dead_port(), "GRACE": 300}
    for _ in range(5):
        guest.look(shell, after=200, **nowhere)
        guest.look(shell, after=30, GRACE=300)
    assert guest.orders == []


def test_a_lease_that_was_read_counts_down_without_metadata(guest: Guest, shell: list[str]) -> None:
    """So the bound holds whatever fails after the last renewal."""
    guest.tag(LEASE, guest.time(600))
    guest.look(shell)
    assert guest.orders == []
    nowhere = {"IMDS": dead_port(), "GRACE": DAY}
    for _ in range(2):
        guest.look(shell, after=150, **nowhere)
    assert guest.orders == []
    guest.look(shell, after=280, **nowhere)
    assert guest.orders == []
    assert "the lease ended" in guest.look(shell, after=30, **nowhere)
    assert guest.orders == ["order"]


@pytest.mark.parametrize("value", ["soon", "", "2026-02-30", "2026-13-01T00:00:00Z", "2020-01-01T00:00:00Z extra"])
def test_a_tag_that_is_no_time_is_held_against_it_only_after_the_grace(
    guest: Guest, shell: list[str], value: str
) -> None:
    guest.tag(LEASE, value)
    assert f"the tag {LEASE} is no time" in guest.look(shell, GRACE=300)
    guest.look(shell, after=200, GRACE=300)
    assert guest.orders == []
    guest.look(shell, after=100, GRACE=300)
    assert guest.orders == ["order"]


@pytest.mark.parametrize(
    "value", ["$(touch broken)", "`touch broken`", "x'; touch broken; '", "* ? [a", "-n", "%s%n"]
)
def test_a_tag_is_never_obeyed(guest: Guest, shell: list[str], value: str) -> None:
    guest.tag(LEASE, value)
    guest.tag(DEADLINE, value)
    assert "is no time" in guest.look(shell)
    assert guest.orders == [] and not (guest.folder / "broken").exists()


# Set up wrongly.


def test_without_tags_in_the_metadata_the_uptime_is_the_bound(
    account: Account, tmp_path: Path, shell: list[str]
) -> None:
    guest = Guest(account, tmp_path, lease=None, deadline=None)
    said = guest.look(shell, MAX_LIFETIME=5000)
    assert said.startswith("latent-lease-watch: SET-UP ERROR: no latent:lease or latent:deadline"), said
    assert "5000 s after its boot" in said and guest.console.read_text() == said
    assert guest.look(shell, after=3000, MAX_LIFETIME=5000) == "", "it complains once"
    assert guest.orders == []
    assert "no deadline can be relied on" in guest.look(shell, after=1000, MAX_LIFETIME=5000)
    assert guest.orders == ["order"]


def test_a_deadline_counts_though_the_lease_was_removed(guest: Guest, shell: list[str]) -> None:
    guest.untag(LEASE)
    assert "SET-UP ERROR" in guest.look(shell, after=100_000)
    assert guest.orders == [], "a deadline that can be read is the bound, not the uptime"
    guest.tag(DEADLINE, guest.time(-1))
    guest.look(shell)
    assert guest.orders == ["order"]


def test_a_xen_instance_obeys_its_deadline_alone(guest: Guest, shell: list[str]) -> None:
    (guest.folder / "hypervisor").write_text("xen\n")
    guest.look(shell)
    guest.tag(LEASE, guest.time(-7200))
    guest.look(shell)
    assert guest.orders == [], "its metadata never show a renewal"
    guest.tag(DEADLINE, guest.time(-1))
    guest.look(shell)
    assert guest.orders == ["order"]


# The power-off itself.


def test_a_power_off_is_ordered_once_and_forced_when_nothing_happens(guest: Guest, shell: list[str]) -> None:
    guest.tag(DEADLINE, guest.time(-1))
    for _ in range(4):
        guest.look(shell, after=30)
    assert guest.orders == ["order"]
    assert "forced" in guest.look(shell, after=30)
    assert guest.orders == ["order", "force"]


def test_a_garbled_memory_is_forgotten(guest: Guest, shell: list[str]) -> None:
    guest.look(shell)
    memory = guest.folder / "run" / "lease-watch.state"
    for garbage in [
        "",
        "x",
        "1 2",
        "- 5 5 - - -",
        "1 2 3 4 $(touch broken) -",
        "9 9 9 9 9- -",
        "-- - - - - -",
        "\0",
    ]:
        memory.write_text(garbage)
        assert guest.look(shell) == "", repr(garbage)
    assert guest.orders == [] and not (guest.folder / "broken").exists()
    assert re.fullmatch(r"\d+ \d+ \d+ - - \d+ 0 \d+ -\n", guest.memory), guest.memory


def test_without_a_memory_it_counts_from_the_boot(guest: Guest, shell: list[str]) -> None:
    (guest.folder / "run").write_text("a file where a folder should be")
    assert guest.look(shell) == "" and guest.orders == []
    guest.up = 100
    guest.look(shell, IMDS=dead_port(), GRACE=300)
    assert guest.orders == []
    assert "nothing can be remembered" in guest.look(shell, after=300, IMDS=dead_port(), GRACE=300)
    assert guest.orders == ["order"]


# Odd metadata services, and each client.


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers as its server is told."""

    def answer(self) -> None:
        told: Any = self.server
        told.asked.append(self.path)
        status, text = told.answers.get(self.path.rpartition("/")[2], (404, ""))
        self.send_response_only(status)
        if told.date:
            self.send_header("Date", told.date)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_PUT = answer  # noqa: N815


@contextlib.contextmanager
def odd_service(
    answers: dict[str, tuple[int, str]], date: Optional[str], asked: Optional[list[str]] = None
) -> Iterator[str]:
    """A metadata service that says this at paths that end so."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.answers, server.date = answers, date
    server.asked = [] if asked is None else asked
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


NOON = "Mon, 02 Mar 2026 12:00:00 GMT"


def test_a_leap_day_and_a_new_year_are_counted_right(guest: Guest, shell: list[str]) -> None:
    """As the difference of two times, of which one is a header's and the other a tag's."""
    for date, lease, left in [
        (NOON, "2026-03-02T12:08:09Z", 489),
        ("Wed, 28 Feb 2024 23:59:59 GMT", "2024-03-01T00:00:00Z", DAY + 1),
        ("Sun, 28 Feb 2027 23:59:59 GMT", "2027-03-01T00:00:00Z", 1),
        ("Thu, 31 Dec 2026 23:00:00 GMT", "2027-01-01T00:00:00Z", 3600),
    ]:
        answers = {"token": (200, "t"), LEASE: (200, lease), DEADLINE: (200, "2029-01-01T00:00:00Z")}
        # Years between two looks would be a sleep.
        shutil.rmtree(guest.folder / "run", ignore_errors=True)
        with odd_service(answers, date) as address:
            assert guest.look(shell, IMDS=address) == ""
        assert guest.memory.split()[1] == str(left), date


def test_without_a_date_the_guests_clock_does_nothing_at_once(guest: Guest, shell: list[str]) -> None:
    answers = {"token": (200, "t"), LEASE: (200, "2099-01-01T00:00:00Z"), DEADLINE: (200, "2020-01-01T00:00:00Z")}
    guest.up = 0
    with odd_service(answers, None) as address:
        for _ in range(9):
            assert guest.look(shell, IMDS=address) == ""
        assert guest.orders == []
        guest.look(shell, IMDS=address)
    assert guest.orders == ["order"], "after the first minutes NTP has set it"


def test_a_guests_clock_that_is_behind_does_not_keep_it_for_ever(guest: Guest, shell: list[str]) -> None:
    answers = {"token": (200, "t"), LEASE: (200, "2098-01-01T00:00:00Z"), DEADLINE: (200, "2099-01-01T00:00:00Z")}
    with odd_service(answers, None) as address:
        guest.look(shell, IMDS=address, MAX_LIFETIME=9000)
        assert guest.orders == []
        guest.look(shell, IMDS=address, after=8000, MAX_LIFETIME=9000)
    assert guest.orders == ["order"]


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_refusal_is_no_answer(guest: Guest, shell: list[str], status: int) -> None:
    with odd_service({"token": (status, "2020-01-01T00:00:00Z")}, NOON) as address:
        assert f"does not answer: HTTP {status}" in guest.look(shell, IMDS=address)
    answers = {
        "token": (200, "t"),
        LEASE: (200, "2099-01-01T00:00:00Z"),
        DEADLINE: (status, "2020-01-01T00:00:00Z"),
    }
    with odd_service(answers, NOON) as address:
        guest.look(shell, IMDS=address)
    assert guest.orders == []


def test_a_service_that_accepts_and_never_answers_is_given_up(guest: Guest, shell: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "does not answer" in guest.look(shell, IMDS=f"http://127.0.0.1:{port}")
    assert guest.orders == []


@pytest.mark.parametrize("client", ["curl", "wget", "nc"])
def test_each_client_reads_the_same(guest: Guest, shell: list[str], client: str, tmp_path: Path) -> None:
    if not shutil.which(client):
        if client != "nc" or not shutil.which("busybox"):
            pytest.skip(f"no {client} on this machine")
        shims = tmp_path / "busybox"
        shims.mkdir()
        (shims / "nc").write_text('#!/bin/sh\nexec busybox nc "$@"\n')
        (shims / "nc").chmod(0o755)
        guest.environment["PATH"] = f"{shims}:{guest.environment['PATH']}"
    assert guest.look(shell, CLIENT=client) == ""
    assert re.fullmatch(r"\d+ \d+ \d+ - - \d+ 0 \d+ -\n", guest.memory), guest.memory
    guest.untag(LEASE)
    assert "SET-UP ERROR" in guest.look(shell, CLIENT=client), "a 404 is an answer"
    assert "does not answer" in guest.look(shell, CLIENT=client, IMDS=dead_port())
    guest.tag(DEADLINE, guest.time(-1))
    guest.look(shell, CLIENT=client)
    assert guest.orders == ["order"]


# A spot instance that EC2 takes back.


def spot_guest(account: Account, folder: Path) -> Guest:
    """A running spot instance, with the base directory of a worker in it."""
    guest = Guest(account, folder, lease=3600, deadline=DAY, market="spot")
    (folder / "worker").mkdir()
    (folder / "worker-basedir").write_text(f"{folder}/worker\n")
    guest.environment |= {"LATENT_BASEDIR": str(folder / "worker-basedir"), "LATENT_NOTICE_BEAT": "0"}
    return guest


def interrupt(guest: Guest) -> None:
    """EC2 says that it takes the instance back in two minutes."""
    guest.account.control.ask("POST", f"instances/{guest.id}/interrupt")


def test_the_worker_of_a_spot_instance_is_asked_to_leave_once(
    unhurried: Account, shell: list[str], tmp_path: Path
) -> None:
    guest = spot_guest(unhurried, tmp_path)
    stamp = tmp_path / "worker" / "shutdown.stamp"
    assert guest.look(shell) == "" and not stamp.exists(), "nobody has said anything yet"
    interrupt(guest)
    said = guest.look(shell)
    assert re.search(
        r"EC2 takes this spot instance back: \{.*terminate.*\}; the worker in .* is asked to leave", said
    )
    assert guest.console.read_text() == said and stamp.exists()
    stamp.unlink()
    assert guest.look(shell) == "" and not stamp.exists(), "it was asked already"
    assert guest.orders == [], "the two minutes are the worker's"


def test_a_notice_without_a_worker_to_ask_is_only_told(
    unhurried: Account, shell: list[str], tmp_path: Path
) -> None:
    guest = spot_guest(unhurried, tmp_path)
    victim = tmp_path / "victim"
    (tmp_path / "worker" / "shutdown.stamp").symlink_to(victim)
    interrupt(guest)
    said = guest.look(shell)
    assert "EC2 takes this spot instance back" in said and "asked to leave" not in said
    assert not victim.exists(), "a build does not make the superuser write where it likes"


def test_a_notice_between_two_looks_is_seen_within_seconds(
    unhurried: Account, shell: list[str], tmp_path: Path
) -> None:
    guest = spot_guest(unhurried, tmp_path)
    later = threading.Timer(1.0, interrupt, [guest])
    later.start()
    said = guest.look(shell, NOTICE_BEAT=1, NOTICE_BEATS=30)
    later.join()
    assert "is asked to leave" in said


def test_an_instance_on_demand_is_not_asked_for_its_notice(guest: Guest, shell: list[str]) -> None:
    asked: list[str] = []
    answers = {"token": (200, "t"), LEASE: (200, "2098-01-01T00:00:00Z"), DEADLINE: (200, "2098-01-01T00:00:00Z")}
    for life_cycle, expected in (("on-demand", 0), ("spot", 3)):
        asked.clear()
        told = answers | {"instance-life-cycle": (200, life_cycle)}
        with odd_service(told, NOON, asked) as address:
            assert guest.look(shell, IMDS=address, NOTICE_BEAT=0, NOTICE_BEATS=3) == ""
        assert sum(path.endswith("spot/instance-action") for path in asked) == expected, life_cycle
