"""`latent serve` as a service manager starts it. No call of it leaves the machine: its EC2 is a closed port."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("kill", "serve")]
