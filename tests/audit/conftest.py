"""Three reports in every form: a full one, an empty one, and one in which every text is hostile."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reports(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that they are in, as examples/reports.rs writes them."""
    program = Path(binary).parent / "examples" / "reports"
    if not os.access(program, os.X_OK):
        pytest.exit(f"{program} is missing: `cargo build --examples` makes it", 2)
    folder = tmp_path_factory.mktemp("reports")
    subprocess.run([program, str(folder)], check=True)
    return folder
