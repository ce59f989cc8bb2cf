"""The documents and the files that their snippets make."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "localstack"), str(Path(__file__).resolve().parent)]
