"""The fake is as strict as what it stands for; otherwise the other tests would prove nothing."""

from __future__ import annotations

import jsonschema
import pytest
from buildbot_latent.http import LinkError
from fake_controller import OPENAPI, FakeController
from fake_record import NO_CAPACITY, Policy, Record, at
from twisted.internet.task import Clock


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> FakeController:
    """A controller of one worker."""
    return FakeController(clock, ("w1",), Policy())


def test_every_property_of_a_view_is_there() -> None:
    view = Record("w1", Policy()).view()
    assert set(OPENAPI["components"]["schemas"]["WorkerView"]["properties"]) <= set(view)


def test_a_request_of_another_form_is_refused(fake: FakeController) -> None:
    with pytest.raises(jsonschema.ValidationError):
        fake.request("POST", "/v1/workers/w1/start", {"request": "r1", "msater": "m"})


def test_a_worker_that_it_does_not_know_is_refused(fake: FakeController, clock: Clock) -> None:
    errors: list[LinkError] = []
    fake.request("GET", "/v1/workers/w9").addErrback(lambda failure: errors.append(failure.value))
    clock.advance(1)
    assert errors[0].code == "unknown_worker"


def test_a_call_that_it_never_answers_ends_with_its_limit(fake: FakeController, clock: Clock) -> None:
    errors: list[LinkError] = []
    fake.mute = True
    fake.request("GET", "/v1/version", limit=5).addErrback(lambda failure: errors.append(failure.value))
    clock.advance(4)
    assert errors == []
    clock.advance(2)
    assert errors[0].unreachable


def test_a_repeated_request_changes_nothing() -> None:
    record = Record("w1", Policy())
    record.ask("r1", 0)
    before = repr(record)
    record.ask("r1", 5)
    assert repr(record) == before


def test_a_release_of_another_request_counts_for_nothing(fake: FakeController, clock: Clock) -> None:
    fake.request("POST", "/v1/workers/w1/start", {"request": "r2", "master": "m"})
    clock.advance(1)
    fake.request("POST", "/v1/workers/w1/release", {"request": "r1", "master": "m"})
    clock.advance(0.1)
    assert fake.records["w1"].waits == "r2"


def test_a_failure_answers_the_request_and_a_new_one_is_met(fake: FakeController, clock: Clock) -> None:
    fake.fates = [NO_CAPACITY]
    fake.request("POST", "/v1/workers/w1/start", {"request": "r1", "master": "m"})
    clock.pump([0.1] * 40)
    assert (fake.records["w1"].state, fake.records["w1"].failure) == ("gone", NO_CAPACITY)
    fake.request("POST", "/v1/workers/w1/start", {"request": "r2", "master": "m"})
    clock.pump([0.1] * 40)
    assert (fake.records["w1"].state, fake.records["w1"].failure) == ("registering", None)


def test_times_are_written_as_the_interface_writes_them() -> None:
    assert at(90) == "2026-01-01T00:01:30+00:00"
