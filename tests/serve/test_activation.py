"""Sockets that a service manager hands over, and the word when the service is ready."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service import Manager


@pytest.fixture
def manager(binary: str, tmp_path: Path) -> Iterator[Manager]:
    """A service manager, and its service when the test starts it."""
    manager = Manager(binary, tmp_path)
    yield manager
    manager.close()


def early_bird(manager: Manager) -> socket.socket:
    """A client that asks before anybody is there to answer."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(manager.path))
    client.sendall(b"GET /v1/version HTTP/1.1\r\nHost: latent\r\nConnection: close\r\n\r\n")
    return client


def answer(client: socket.socket) -> int:
    """The status that the client is answered with."""
    response = http.client.HTTPResponse(client)
    response.begin()
    response.read()
    client.close()
    return response.status


def test_a_client_that_connected_before_the_service_was_ready_is_answered(manager: Manager) -> None:
    with manager.listen() as listener:
        client = early_bird(manager)
        manager.start(listener)
        assert answer(client) == 200
        assert manager.hears() == "READY=1"
        version: dict[str, Any] = manager.ask("/v1/version")
        assert version["interface_min"] <= version["interface"]
        assert [worker["worker"] for worker in manager.ask("/v1/status")["workers"]] == ["w1"]


def test_the_socket_outlives_the_service_and_nobody_is_turned_away_at_a_restart(manager: Manager) -> None:
    with manager.listen() as listener:
        manager.start(listener)
        assert manager.hears() == "READY=1"
        first = manager.ask("/v1/version")["pid"]
        assert manager.stop() == 0 and manager.hears() == "STOPPING=1"
        assert manager.path.is_socket(), "it is not ours to remove"
        waiting = early_bird(manager)
        manager.start(listener)
        assert answer(waiting) == 200
        assert manager.hears() == "READY=1" and manager.ask("/v1/version")["pid"] != first


def test_a_socket_somewhere_else_than_clients_look_for_it_is_told(manager: Manager) -> None:
    manager.path = manager.path.with_name("other.sock")
    with manager.listen() as listener:
        manager.start(listener)
        assert manager.hears() == "READY=1"
    assert "other.sock" in manager.log and "run.sock" in manager.log and "link.socket" in manager.log


def test_what_was_handed_over_to_another_process_is_left_alone(manager: Manager) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(manager.path.with_name("other.sock")))
        listener.listen()
        manager.start(listener, for_pid="1")
        assert manager.hears() == "READY=1"
        assert manager.ask("/v1/version")["name"] == "latent", "it made its own socket"
        assert manager.stop() == 0 and not manager.path.exists()


def test_without_a_service_manager_the_socket_is_its_own(manager: Manager) -> None:
    manager.start()
    assert manager.hears() == "READY=1"
    assert manager.path.stat().st_mode & 0o777 == 0o600
    assert manager.stop() == 0 and not manager.path.exists()


def test_sockets_that_cannot_be_listened_on_are_refused_with_what_is_wanted(manager: Manager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        manager.start(tcp)
        assert manager.ended() == 1
    with manager.listen() as one, socket.socket(socket.AF_UNIX) as two:
        manager.start(one, two)
        assert manager.ended() == 1
    assert manager.log.count("latent serve takes one listening Unix stream socket") == 2, manager.log
    assert "there are 2 of them" in manager.log
