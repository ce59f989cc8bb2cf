"""Before a controller works for a master: its version, its configuration, and who started it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from buildbot_latent import controller, service_manager
from buildbot_latent.first_config import write_if_missing
from buildbot_latent.http import LinkError


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
