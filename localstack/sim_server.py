#!/usr/bin/env python3
"""Latent's own model of EC2, `latent sim serve`, as a server on a free loopback port.

As a program it prints the endpoint and runs until it is told to end; as a module it offers
`SimServer`. Unlike moto it honours ClientToken, takes its time, throttles, and can be told to fail.
"""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from server_process import ServerProcess, serve, server_arguments
from sim_control import SimControl


@dataclass(frozen=True)
class Weather:
    """What kind of day it is at EC2. The same seed and calls give the same day."""

    name: str = "calm"
    seed: int = 1
    # Seconds of the model for one of ours.
    speed: float = 1.0
    # How long ago its time begins, such as 2d.
    behind: str = ""
    # Rates, from 0 to 1, of single faults.
    faults: Mapping[str, float] = field(default_factory=dict)

    def options(self) -> list[str]:
        """As the program takes it."""
        faults = [word for name, rate in self.faults.items() for word in ("--fault", f"{name}={rate:g}")]
        behind = ["--behind", self.behind] if self.behind else []
        return ["--weather", self.name, "--seed", str(self.seed), "--speed", f"{self.speed:g}", *behind, *faults]


CALM = Weather()


class SimServer(ServerProcess):
    """One model of EC2, with accounts as they come."""

    name = "latent sim serve"
    ready_line = re.compile(rb"latent sim: EC2 at (http://127\.0\.0\.1:\d+) ")
    ready_path = "/_sim/ready"
    reset_path = "/_sim/reset"

    def __init__(self, log_path: str | os.PathLike[str], binary: str, weather: Weather = CALM, port: int = 0):
        """`binary` is the latent program; `port` 0 takes a free one."""
        super().__init__(log_path, port)
        self._binary = binary
        self._weather = weather

    def renew(self) -> None:
        """See `ServerProcess`. Ids follow from the seed: a reset would give the same ones again."""
        self._port = int(self.endpoint.rpartition(":")[2])
        self.stop()
        self._weather = dataclasses.replace(self._weather, seed=self._weather.seed + 1)
        self.start()

    def command(self) -> list[str]:
        """The program itself."""
        listen = f"127.0.0.1:{self._port}"
        return [self._binary, "sim", "serve", "--listen", listen, *self._weather.options()]

    @property
    def control(self) -> SimControl:
        """Where tests ask for the truth, and for trouble."""
        return SimControl(self.endpoint)


def main() -> int:
    """The program."""
    parser = server_arguments("Runs latent's model of EC2; prints its endpoint.", "sim.log")
    parser.add_argument("--binary", default="latent", help="the latent program; default: latent")
    parser.add_argument("--weather", default="calm", help="calm, rough or storm; default: calm")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--speed", type=float, default=1.0, help="its seconds for one of ours; default: 1")
    arguments = parser.parse_args()
    weather = Weather(arguments.weather, arguments.seed, arguments.speed)
    return serve(SimServer(arguments.log, arguments.binary, weather, arguments.port), arguments)


if __name__ == "__main__":
    sys.exit(main())
