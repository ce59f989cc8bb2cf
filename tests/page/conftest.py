"""The page of a simulated fleet, served by examples/page.rs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from looked import Fleet  # noqa: E402

# A day is played before the page is there.
LIMIT_S = 120


def _serve(binary: str, folder: Path, token: Optional[str] = None) -> Iterator[Fleet]:
    program = Path(binary).parent / "examples" / "page"
    if not os.access(program, os.X_OK):
        pytest.exit(f"{program} is missing: `cargo build --examples` makes it", 2)
    socket = folder / "latent.sock"
    environment = {**os.environ, **({"PAGE_TOKEN": token} if token else {})}
    log = folder / "page.log"
    with log.open("w") as errors:
        command = [str(program), "127.0.0.1:0", "24", str(socket)]
        served = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
    try:
        assert served.stdout is not None
        address = served.stdout.readline().strip().rstrip("/")
        assert address.startswith("http://"), log.read_text()
        yield Fleet(address, socket, binary)
    finally:
        served.kill()
        served.wait(LIMIT_S)


@pytest.fixture(scope="session")
def fleet(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet whose page everybody on this machine may see."""
    yield from _serve(binary, tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="session")
def locked(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet whose page asks for a token."""
    yield from _serve(binary, tmp_path_factory.mktemp("locked"), "open-sesame-open-sesame")
