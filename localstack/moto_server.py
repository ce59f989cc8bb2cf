#!/usr/bin/env python3
"""Moto's EC2 and STS as a server on a free loopback port.

As a program it prints the endpoint and runs until it is told to end; as a module it offers
`MotoServer`. Its validation switches are on: without them it launches unknown images and types.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

from server_process import ServerProcess, serve, server_arguments

SWITCHES = {
    "MOTO_ENABLE_AMI_VALIDATION": "1",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "1",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "1",
}


class MotoServer(ServerProcess):
    """One moto. It never forgets what has ended: `reset` it between tests."""

    name = "moto's server"
    ready_line = re.compile(rb"Running on (http://127\.0\.0\.1:\d+)\s")
    ready_path = "/moto-api/"
    reset_path = "/moto-api/reset"

    def command(self) -> list[str]:
        """Moto as a module of this Python."""
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]

    def environment(self) -> Mapping[str, str]:
        """With the validation switches."""
        return {**os.environ, **SWITCHES}


def main() -> int:
    """The program."""
    arguments = server_arguments("Runs moto's server; prints its endpoint.", "moto.log").parse_args()
    return serve(MotoServer(arguments.log, arguments.port), arguments)


if __name__ == "__main__":
    sys.exit(main())
