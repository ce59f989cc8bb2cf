"""Before a controller works for a master: its version, its configuration, and who started it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, ClassVar, Optional

import pytest
from buildbot_latent import controller, service_manager
from buildbot_latent.first_config import write_if_missing
from buildbot_latent.http import LinkError
from twisted.internet import defer
from twisted.internet.task import Clock


@pytest.mark.parametrize(("newest", "oldest"), [(2, 1), (2, 2), (3, 1), (3, 2)])
def test_versions_that_understand_each_other(newest: int, oldest: int) -> None:
    controller.check_version({"version": "1.0", "interface": newest, "interface_min": oldest})


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ({"version": "0.0", "interface": 1}, "the controller is older"),
        ({"version": "0.0", "interface": 1, "interface_min": 1}, "the controller is older"),
        ({"version": "9.0", "interface": 4, "interface_min": 3}, "this plugin is older"),
        ({}, "the controller is older"),
    ],
)
def test_versions_that_do_not_are_told_with_the_cure(said: dict, cure: str) -> None:
    with pytest.raises(LinkError, match=cure) as caught:
        controller.check_version(said)
    assert caught.value.code == "incompatible"


class DyingProcess:
    """The first one is killed, and that shows only when it is looked at once more."""

    started: ClassVar[list[DyingProcess]] = []

    def __init__(self, *_args: Any, **_options: Any) -> None:
        self.pid = len(self.started)
        self.looks: list[Optional[int]] = [None, -9]
        self.started.append(self)

    def poll(self) -> Optional[int]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


class LastAnswers:
    """Whoever was started as the second one answers."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def request(self, *_args: Any, **_options: Any) -> defer.Deferred[Any]:
        if len(DyingProcess.started) < 2:
            return defer.fail(LinkError("no controller answers"))
        return defer.succeed({"version": "1.0", "interface": 2, "interface_min": 2})


def test_a_controller_that_dies_just_now_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DyingProcess, "started", [])
    monkeypatch.setattr(controller.subprocess, "Popen", DyingProcess)
    ours = controller.Controller(Clock(), "latent.toml", None, "/bin/true", autostart=True)
    ours._client = LastAnswers(tmp_path / "latent.sock")  # type: ignore[assignment]
    ours._process = DyingProcess()  # type: ignore[assignment]
    said: list[Any] = []
    ours.ensure_running().addBoth(said.append)
    assert said == [None] and len(DyingProcess.started) == 2


def test_a_fleet_is_named_once_and_its_file_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "latent.toml"
    write_if_missing(str(path))
    first = path.read_text()
    assert "[fleet]" in first and stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
    write_if_missing(str(path))
    assert path.read_text() == first
    other = tmp_path / "other.toml"
    write_if_missing(str(other))
    assert other.read_text() != first


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="cannot be written") as caught:
        write_if_missing(str(tmp_path / "none" / "latent.toml"))
    assert caught.value.code == "configuration"


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/buildbot.service\n", "buildbot.service"),
        ("1:name=systemd:/system.slice/bb@cpython.service\n", "bb@cpython.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/\n", None),
    ],
)
def test_the_unit_of_a_master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, unit: str) -> None:
    cgroup = tmp_path / "cgroup"
    cgroup.write_text(text)
    monkeypatch.setenv("INVOCATION_ID", "x")
    assert service_manager.unit_of_this_process(cgroup) == unit
    monkeypatch.delenv("INVOCATION_ID")
    assert service_manager.unit_of_this_process(cgroup) is None


def test_a_system_without_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOCATION_ID", "x")
    assert service_manager.unit_of_this_process(tmp_path / "none") is None
