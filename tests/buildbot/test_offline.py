"""`buildbot checkconfig` with 200 workers of both styles, cut off from every network."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from master_process import BUILDBOT

WORKERS = 200
LIMIT_S = 60.0

NEW_STYLE = 'worker.LatentEC2Worker(f"w{n}", "secret", max_builds=1, notify_on_missing=["admin@example.org"])'
# A definition of Buildbot's own class with the class's name changed.
OLD_STYLE = """worker.LatentEC2Worker(
    f"w{n}", "secret", "m5.large", ami="ami-0123456789abcdef0", region="us-west-2", keypair_name="keys",
    security_name="workers", user_data="#!/bin/sh\\n", tags={"project": "ci"}, build_wait_timeout=300,
    spot_instance=True, max_spot_price=0.4, price_multiplier=None, max_builds=1,
)"""

MASTER_CFG = """\
from buildbot.plugins import schedulers, util, worker

c = BuildmasterConfig = {{}}
c["buildbotNetUsageData"] = None
c["protocols"] = {{"pb": {{"port": "tcp:0"}}}}
c["workers"] = [{worker} for n in range({count})]
names = [one.name for one in c["workers"]]
c["builders"] = [util.BuilderConfig(name="b", workernames=names, factory=util.BuildFactory())]
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=["b"])]
"""

# Read by every Python that starts: whoever looks up a name or opens a connection is told off and recorded.
GUARD = """\
import socket

def refused(what):
    def refuse(*args, **kwargs):
        with open({record!r}, "a") as record:
            record.write(f"{{what}} {{args[1:] or args}}\\n")
        raise OSError("no network in this test")
    return refuse

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refused(name))
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
    setattr(socket, name, refused(name))
"""

NAMESPACE = ["unshare", "--map-root-user", "--net"]
CONNECTS = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2)"


def namespaces() -> bool:
    """Whether this system lets us make one."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """No latent program, no AWS configuration, and a proxy that refuses."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **proxies}


def check(command: list[str], folder: Path, environment: dict[str, str], style: str) -> None:
    """Runs the check, which must find nothing wrong, and writes nothing beside the configuration."""
    config = folder / "master"
    config.mkdir()
    (config / "master.cfg").write_text(MASTER_CFG.format(worker=style, count=WORKERS))
    args = [*command, *BUILDBOT, "checkconfig", str(config / "master.cfg")]
    checked = subprocess.run(args, env=environment, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Config file is good" in checked.stdout
    assert {path.name for path in config.iterdir()} <= {"master.cfg", "__pycache__"}


def connects(command: list[str], environment: dict[str, str]) -> bool:
    """Whether a program that is run like this reaches a port of ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        args = [*command, sys.executable, "-c", CONNECTS, str(server.getsockname()[1])]
        return subprocess.run(args, env=environment, capture_output=True).returncode == 0


STYLES = [
    pytest.param(NEW_STYLE, id="new-style"),
    pytest.param(OLD_STYLE, id="old-style"),
]


@pytest.mark.skipif(not namespaces(), reason="no network namespace may be made here")
@pytest.mark.parametrize("style", STYLES)
def test_the_check_needs_no_network(tmp_path: Path, environment: dict[str, str], style: str) -> None:
    assert connects([], environment) and not connects(NAMESPACE, environment)
    check(NAMESPACE, tmp_path, environment, style)


@pytest.mark.parametrize("style", STYLES)
def test_the_check_does_not_even_try_the_network(tmp_path: Path, environment: dict[str, str], style: str) -> None:
    record = tmp_path / "tried"
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD.format(record=str(record)))
    environment["PYTHONPATH"] = str(guard)
    assert not connects([], environment) and record.exists()
    record.unlink()
    check([], tmp_path, environment, style)
    assert not record.exists(), record.read_text()
