"""What every suite needs that runs the program."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def binary() -> str:
    """The latent program, with the AWS SDK."""
    given = os.environ.get("LATENT_BIN", "")
    if not os.access(given, os.X_OK):
        pytest.exit(f"LATENT_BIN must name the latent program; it is {given!r}. `cargo build` makes it.", 2)
    return os.path.abspath(given)
