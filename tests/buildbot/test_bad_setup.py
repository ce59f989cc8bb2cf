"""What is set up wrongly is told in the build that meets it, and by the program's exit code."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sqlite3
import subprocess
from collections.abc import Iterator

import pytest
from fleet import EXCEPTION, GONE_S, RETRY, SUCCESS, Fleet
from master_process import wait_for

# The program's exit codes: see its --help.
CONFIGURATION, LEDGER, ALREADY_RUNNING = 3, 6, 7

STRANGER = """
c["workers"].append(worker.LatentEC2Worker("stranger", "pw"))
c["builders"].append(util.BuilderConfig(name="stranger", workernames=["stranger"], factory=factory))
c["schedulers"].append(schedulers.ForceScheduler(name="force-stranger", builderNames=["stranger"]))
"""


def first_build(fleet: Fleet, worker: str = "baked") -> tuple[int, str]:
    """The result of one build, and what its preparation says."""
    build = fleet.wait_ended(fleet.force(worker))
    return build["results"], fleet.preparation(build)


def exit_of(fleet: Fleet) -> tuple[int, str]:
    """Runs a controller that is to refuse; its exit code and what it says."""
    args = [fleet.binary, "serve", "--config", str(fleet.config)]
    ended = subprocess.run(args, env=fleet.environment, capture_output=True, text=True, timeout=30)
    return ended.returncode, ended.stderr


def test_a_program_that_is_missing_fails_the_build(fleet: Fleet) -> None:
    fleet.halt()
    fleet.master.environment.update(LATENT_BIN=str(fleet.folder / "nothing"), PATH="/usr/bin:/bin")
    fleet.start_master()
    result, text = first_build(fleet)
    assert result == EXCEPTION
    assert "the latent program was not found: set binary= or LATENT_BIN, or put it on the PATH" in text


def test_a_mistake_in_the_configuration_fails_the_build_and_names_its_place(fleet: Fleet) -> None:
    fleet.halt()
    text = fleet.config.read_text()
    fleet.config.write_text(text.replace('master_silence = "20s"', 'master_silence = "20"'))
    line = 1 + text[: text.index("master_silence")].count("\n")
    fleet.start_master()
    result, said = first_build(fleet)
    assert result == EXCEPTION
    assert f"latent.toml:{line}:" in said and "master_silence" in said
    code, error = exit_of(fleet)
    assert code == CONFIGURATION
    assert f"latent.toml:{line}:" in error
    # It is mended, and the next build runs without a restart.
    fleet.config.write_text(text)
    assert fleet.run("baked")["results"] == SUCCESS


def test_a_secret_that_is_missing_fails_the_build(fleet: Fleet) -> None:
    fleet.halt()
    del fleet.master.environment["INJECTED_PASSWORD"]
    fleet.start_master()
    result, text = first_build(fleet, "injected")
    assert result == EXCEPTION
    assert "INJECTED_PASSWORD" in text


def test_a_worker_that_the_controller_does_not_know_fails_its_build(fleet: Fleet) -> None:
    fleet.changed = True
    fleet.master.kill()
    fleet.options.master_extra += STRANGER
    fleet.write_master()
    fleet.start_master()
    result, text = first_build(fleet, "stranger")
    assert result == EXCEPTION
    assert "worker stranger is not in the configuration of this controller; known: baked, injected" in text
    assert fleet.run("baked")["results"] == SUCCESS


@contextlib.contextmanager
def ledger_in_a_file(fleet: Fleet) -> Iterator[None]:
    """Where its folder should be there is a file."""
    fleet.state.write_text("in the way")
    yield
    fleet.state.unlink()


@contextlib.contextmanager
def ledger_without_permission(fleet: Fleet) -> Iterator[None]:
    """Its folder may not be written to, which stops everybody but root."""
    if os.geteuid() == 0:
        pytest.skip("root may write to any folder")
    fleet.state.mkdir(mode=0o500)
    yield
    fleet.state.chmod(0o700)


@contextlib.contextmanager
def ledger_of_rubbish(fleet: Fleet) -> Iterator[None]:
    """It is no database."""
    fleet.state.mkdir()
    (fleet.state / "ledger.sqlite").write_text("this is not a database, and long enough to be read as one\n" * 100)
    yield
    (fleet.state / "ledger.sqlite").unlink()


@contextlib.contextmanager
def ledger_of_the_future(fleet: Fleet) -> Iterator[None]:
    """A newer version wrote it."""
    fleet.state.mkdir()
    with contextlib.closing(sqlite3.connect(fleet.state / "ledger.sqlite")) as ledger:
        ledger.execute("PRAGMA user_version = 99")
    yield
    (fleet.state / "ledger.sqlite").unlink()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (ledger_in_a_file, "check the folder's owner, its mode and the free space"),
        (ledger_without_permission, "check the folder's owner, its mode and the free space"),
        (ledger_of_rubbish, "move it away and start again: every instance is found again by its tags"),
        (ledger_of_the_future, "has format 99, and this version of latent reads up to"),
    ],
)
def test_a_ledger_that_cannot_be_used_is_told_in_the_build(
    fleet: Fleet, broken: contextlib.AbstractContextManager[None], said: str
) -> None:
    fleet.halt()
    with broken(fleet):
        code, error = exit_of(fleet)
        assert (code, said in error) == (LEDGER, True), error
        fleet.start_master()
        request = fleet.force("baked")
        build = fleet.wait_ended(request)
        assert build["results"] == RETRY
        assert said in fleet.preparation(build)
        assert not fleet.launched()
    assert fleet.wait_build(request)["results"] == SUCCESS


def test_a_ledger_that_cannot_grow_launches_nothing_and_disturbs_no_build(fleet: Fleet) -> None:
    fleet.rebuild(autostart=False)
    running = fleet.force("baked", seconds=2)
    fleet.wait_building("baked")
    (controller,) = fleet.controller_pids()
    _, hard = resource.prlimit(controller, resource.RLIMIT_FSIZE)
    # Nothing can be written any more, the log included.
    resource.prlimit(controller, resource.RLIMIT_FSIZE, (0, hard))
    request = fleet.force("injected")
    build = fleet.wait_ended(request)
    assert build["results"] == RETRY
    assert "cannot be written" in fleet.preparation(build)
    assert fleet.wait_build(running)["results"] == SUCCESS
    # It still looks after EC2, although it cannot log what it meets.
    fleet.gate.down()
    wait_for("status to say so", lambda: "cannot be listed" in fleet.latent("status").stdout)
    fleet.gate.up()
    assert not fleet.launched("injected") and len(fleet.launched("baked")) == 1
    resource.prlimit(controller, resource.RLIMIT_FSIZE, (hard, hard))
    assert fleet.wait_build(request)["results"] == SUCCESS
    fleet.wait_gone(GONE_S + 15)
    assert fleet.controller_pids() == [controller]
    assert len(fleet.launched()) == 2


def test_a_second_controller_is_refused_and_told_who_is_the_first(fleet: Fleet) -> None:
    (first,) = fleet.controller_pids()
    code, error = exit_of(fleet)
    assert code == ALREADY_RUNNING
    assert f"is in use by process {first}" in error
    assert fleet.run("baked")["results"] == SUCCESS


def test_a_socket_that_nobody_listens_on_is_replaced(fleet: Fleet) -> None:
    fleet.halt()
    fleet.state.mkdir()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(fleet.state / "latent.sock"))
    stale.close()
    fleet.start_master()
    assert fleet.run("baked")["results"] == SUCCESS


def test_a_file_in_the_place_of_the_socket_is_told_and_left_alone(fleet: Fleet) -> None:
    fleet.halt()
    fleet.state.mkdir()
    (fleet.state / "latent.sock").write_text("precious")
    fleet.start_master()
    result, text = first_build(fleet)
    assert result == RETRY
    assert "exists and is not a socket; move it away, or set another link.socket" in text
    assert (fleet.state / "latent.sock").read_text() == "precious"


def test_a_socket_path_that_is_too_long_is_told(fleet: Fleet) -> None:
    fleet.halt()
    text = fleet.config.read_text()
    fleet.config.write_text(f'{text}\n[link]\nsocket = "state/{"x" * 110}.sock"\n')
    fleet.start_master()
    result, said = first_build(fleet)
    assert result == EXCEPTION
    reason = "and a Unix socket takes 103; set a shorter link.socket"
    assert reason in said and reason in exit_of(fleet)[1]


def test_a_master_without_autostart_waits_for_its_controller(fleet: Fleet) -> None:
    fleet.rebuild(autostart=False)
    fleet.kill_controller()
    request = fleet.force("baked")
    build = fleet.wait_ended(request)
    assert build["results"] == RETRY
    assert "no controller answers on" in fleet.preparation(build)
    fleet.start_controller()
    assert fleet.wait_build(request)["results"] == SUCCESS
    wait_for("the report", lambda: "the controller answers again" in fleet.master.log())
