#!/usr/bin/env python3
"""Runs a command against LocalStack: in host mode from PyPI, or in Docker.

Host mode needs Python 3.12 or later, which need not be the Python that runs this file. The command
finds the endpoint in the environment variable that `--variable` names. Where LocalStack cannot run,
the program says why and ends with status 0: this is an extra proof, not a condition.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

from leash import Leash

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "localstack-requirements.txt"
COMPOSE = HERE / "compose.yaml"
COMPOSE_ENDPOINT = "http://127.0.0.1:4566"
PYTHON_MIN = (3, 12)
PYTHON_NAMES = [f"python3.{minor}" for minor in range(15, PYTHON_MIN[1] - 1, -1)] + ["python3"]
START_SECONDS_MAX = 120.0

# The switches of moto, which LocalStack's EC2 is: without them it launches unknown images and types.
SWITCHES = {
    "MOTO_ENABLE_AMI_VALIDATION": "1",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "1",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "1",
    "SERVICES": "ec2,sts",
    "EAGER_SERVICE_LOADING": "1",
    "DISABLE_EVENTS": "1",
    "SKIP_SSL_CERT_DOWNLOAD": "1",
    "DNS_ADDRESS": "0",
}


class CannotRun(Exception):
    """Why LocalStack cannot run here."""


def python_for_host_mode() -> str:
    """A Python that LocalStack runs on."""
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    found = [shutil.which(name) for name in PYTHON_NAMES] + [str(path) for path in pyenv]
    for python in [os.environ.get("LOCALSTACK_PYTHON"), sys.executable, *found]:
        if python and version_of(python) >= PYTHON_MIN:
            return python
    needed = ".".join(str(part) for part in PYTHON_MIN)
    raise CannotRun(f"host mode needs Python {needed} or later (LOCALSTACK_PYTHON may name one)")


def version_of(python: str) -> tuple[int, ...]:
    """The version of an interpreter; empty if it cannot be asked."""
    ask = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(part) for part in answer.stdout.split())


def installed(folder: Path) -> str:
    """The interpreter of a virtual environment that holds LocalStack; made on first use."""
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists() or ready.stat().st_mtime < REQUIREMENTS.stat().st_mtime:
        base = python_for_host_mode()
        print(f"installing LocalStack for {base} into {folder}", flush=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            subprocess.run([base, "-m", "venv", "--clear", str(folder)], check=True)
            subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
        except subprocess.CalledProcessError as error:
            raise CannotRun(f"LocalStack could not be installed: {error}") from error
        ready.touch()
    return str(python)


@contextlib.contextmanager
def host_mode(folder: Path) -> Iterator[str]:
    """LocalStack as a process of its own on a free loopback port."""
    python = installed(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="latent-localstack-") as state:
        env = {**os.environ, **SWITCHES, "GATEWAY_LISTEN": address, "LOCALSTACK_VOLUME_DIR": state}
        log = Path(state) / "localstack.log"
        server = Leash([python, "-m", "localstack.runtime.main"], log, env=env)
        try:
            if not answers(f"http://{address}", lambda: server.poll() is None):
                tail = log.read_text("utf-8", "replace").splitlines()[-12:]
                raise RuntimeError("LocalStack did not start:\n  " + "\n  ".join(tail))
            yield f"http://{address}"
        finally:
            server.end()
            server.wait()


@contextlib.contextmanager
def docker() -> Iterator[str]:
    """LocalStack in a container."""
    if shutil.which("docker") is None:
        raise CannotRun("there is no docker")
    if subprocess.run(["docker", "info"], capture_output=True, timeout=60).returncode:
        raise CannotRun("the Docker daemon does not answer")
    compose = ["docker", "compose", "-f", str(COMPOSE)]
    if subprocess.run([*compose, "up", "--wait"]).returncode:
        raise CannotRun("docker compose could not start LocalStack")
    try:
        yield COMPOSE_ENDPOINT
    finally:
        subprocess.run([*compose, "down"], check=False)


def answers(endpoint: str, running: Callable[[], bool]) -> bool:
    """Waits until LocalStack is healthy."""
    # A proxy from the environment must not come between us and loopback.
    http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and running():
        try:
            http.open(f"{endpoint}/_localstack/health", timeout=5).close()
            return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def run(command: list[str], variable: str, endpoint: str) -> int:
    """The command's exit status."""
    env = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", variable: endpoint}
    return subprocess.run(command, env=env).returncode


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Runs a command against LocalStack.")
    parser.add_argument("--venv", type=Path, default=Path(".venv-localstack"), help="default: .venv-localstack")
    parser.add_argument("--variable", default="LATENT_TEST_LOCALSTACK", help="gets the endpoint")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    reasons: list[str] = []
    for way in (lambda: host_mode(arguments.venv), docker):
        status: Optional[int] = None
        try:
            with way() as endpoint:
                print(f"LocalStack: {endpoint}", flush=True)
                status = run(arguments.command, arguments.variable, endpoint)
        except CannotRun as error:
            reasons.append(str(error))
        if status is not None:
            return status
    print(f"LocalStack: not run: {'; '.join(reasons)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
