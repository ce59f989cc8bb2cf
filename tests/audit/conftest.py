"""Three reports in every form: a full one, an empty one, and one in which every text is hostile."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that they are in: LATENT_REPORTS, or what examples/reports.rs writes now."""
    given = os.environ.get("LATENT_REPORTS")
    if given:
        return Path(given)
    folder = tmp_path_factory.mktemp("reports")
    command = ["cargo", "run", "--quiet", "--locked", "--no-default-features", "--example", "reports", "--"]
    subprocess.run([*command, str(folder)], cwd=ROOT, check=True)
    return folder
