"""What every test here needs: the modules beside this directory, an EC2, a master."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from buildbot_master import BuildbotMaster
from emulator import chosen_kind, make_emulator
from sim_server import Weather

WORKERS = 8


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulated EC2; its time flies, so that nobody waits for a boot."""
    binary = os.path.abspath(os.environ.get("LATENT_BIN", "target/debug/latent"))
    folder = tmp_path_factory.mktemp("ec2")
    with make_emulator(chosen_kind(), folder, binary, Weather(speed=10)) as server:
        yield server.endpoint


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildbotMaster]:
    """A real Buildbot master that knows the workers w1, w2, …"""
    names = [f"w{number}" for number in range(1, WORKERS + 1)]
    with BuildbotMaster(tmp_path_factory.mktemp("master"), names) as running:
        yield running
