"""Which emulated EC2 a fleet runs on: latent's own model, or moto as an independent check."""

from __future__ import annotations

import os
from pathlib import Path

from moto_server import MotoServer
from server_process import ServerProcess
from sim_server import CALM, SimServer, Weather

KINDS = ("sim", "moto")


def chosen_kind() -> str:
    """What LATENT_EC2 says; the model if it says nothing."""
    kind = os.environ.get("LATENT_EC2") or KINDS[0]
    if kind not in KINDS:
        raise ValueError(f"LATENT_EC2 is one of {', '.join(KINDS)}, not {kind!r}")
    return kind


def make_emulator(kind: str, folder: Path, binary: str, weather: Weather = CALM, port: int = 0) -> ServerProcess:
    """One that is not started yet; `binary` is the latent program, `weather` the model's."""
    if kind == "moto":
        return MotoServer(folder / "moto.log", port)
    # Another version of the program may play EC2 than the one under test.
    return SimServer(folder / "sim.log", os.environ.get("LATENT_SIM_BIN") or binary, weather, port)
