"""What an owner grants, judged by independent tools: one recorded day of a controller, one evaluator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("localstack", "tests/kill", "tests/buildbot", "tests/iam")]

import node  # noqa: E402
from iam_fleet import Recorded, record  # noqa: E402
from iam_simulator import Role, Simulator, roles  # noqa: E402


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the recorded fleet has its files."""
    return tmp_path_factory.mktemp("iam")


@pytest.fixture(scope="session")
def recorded(binary: str, folder: Path) -> Recorded:
    """What a controller really called."""
    made_up = {"AWS_ACCESS_KEY_ID": "AKIA999999999999TEST", "AWS_SECRET_ACCESS_KEY": "emulated"}
    return record(binary, folder, {**os.environ, **made_up, "AWS_EC2_METADATA_DISABLED": "true"})


@pytest.fixture(scope="session")
def latent_iam(binary: str, folder: Path, recorded: Recorded) -> Any:
    """Runs `latent iam` for the owner of the recorded fleet."""

    def run(*options: str) -> str:
        command = [binary, "--config", str(folder / "latent.toml"), "iam", "--owner", "alice", *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return run


@pytest.fixture(scope="session")
def granted(latent_iam: Any) -> dict[str, Role]:
    """The roles, as the owner makes them."""
    return roles(json.loads(latent_iam()))


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """The evaluator."""
    program = node.node()
    if program is None or not (ROOT / "tests/iam/node_modules").is_dir():
        pytest.exit("The evaluator is not installed: `make test-iam` installs it and runs these tests.", 2)
    with Simulator(program) as running:
        yield running
