#!/usr/bin/env python3
"""The plugin on every Python that it promises and that is here, and on the oldest Buildbot that it takes.

Each gets a virtual environment of its own with the wheel of the plugin and the newest Buildbot that
runs on it. There every module is compiled and imported, and `buildbot checkconfig` reads a master.cfg
with workers of the plugin. Ends with 1 if one fails, and with 2 if no Python was found to try.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "python"
LIMIT_S = 900

MASTER_CFG = """\
from buildbot.plugins import schedulers, util, worker

c = BuildmasterConfig = {}
c["buildbotNetUsageData"] = None
c["protocols"] = {"pb": {"port": "tcp:0:interface=127.0.0.1"}}
c["workers"] = [
    worker.LatentEC2Worker("plain", "secret"),
    worker.LatentEC2Worker("more", "secret", max_builds=2, build_wait_timeout=0, autostart=False),
]
c["builders"] = [util.BuilderConfig(name="b", workernames=["plain", "more"], factory=util.BuildFactory())]
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=["b"])]
"""

# Prints what it found; anything wrong is an exception.
PROBE = """\
import compileall, importlib, pkgutil, sys
import buildbot, buildbot_latent, twisted
assert compileall.compile_dir(buildbot_latent.__path__[0], quiet=1, force=True)
names = [m.name for m in pkgutil.walk_packages(buildbot_latent.__path__, "buildbot_latent.")]
for name in names:
    importlib.import_module(name)
from buildbot.plugins import worker
assert worker.LatentEC2Worker.__module__.startswith("buildbot_latent.")
print(f"Buildbot {buildbot.version}, Twisted {twisted.__version__}, {1 + len(names)} modules")
"""


class Failed(Exception):
    """A step did not work; the text is what it said."""


def run(*args: str, cwd: Optional[Path] = None) -> str:
    """Runs a step; what it printed."""
    done = subprocess.run(args, cwd=cwd, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode != 0:
        raise Failed(f"{' '.join(args)[:200]}\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout.strip()


def promised() -> list[str]:
    """The versions of Python that the metadata names."""
    text = (PLUGIN / "pyproject.toml").read_text()
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)


def oldest_buildbot() -> str:
    """The oldest series of Buildbot that the metadata admits, as 4.0."""
    found = re.search(r'"buildbot>=(\d+\.\d+)"', (PLUGIN / "pyproject.toml").read_text())
    if found is None:
        raise Failed("python/pyproject.toml names no oldest Buildbot")
    return found[1]


def interpreter(version: str) -> Optional[str]:
    """A Python of this version: from the PATH, or one that pyenv has installed."""
    candidates = [found for found in (shutil.which(f"python{version}"), sys.executable) if found]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in candidates:
        # One on the PATH may be a shim of pyenv that leads nowhere.
        asked = [candidate, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
        answer = subprocess.run(asked, capture_output=True, text=True)
        if answer.returncode == 0 and answer.stdout.strip() == version:
            return candidate
    return None


def try_one(python: str, wheel: Path, buildbot: str, folder: Path) -> str:
    """Makes an environment, and reads the plugin there; what was found."""
    run(python, "-m", "venv", str(folder))
    inside = str(folder / "bin" / "python")
    run(inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", buildbot, str(wheel))
    found = run(inside, "-W", "error::SyntaxWarning", "-c", PROBE, cwd=folder)
    (folder / "master.cfg").write_text(MASTER_CFG)
    said = run(str(folder / "bin" / "buildbot"), "checkconfig", "master.cfg", cwd=folder)
    if "Config file is good" not in said:
        raise Failed(said)
    return f"{found}, checkconfig is good"


def rounds(versions: Sequence[str]) -> tuple[list[tuple[str, str, str]], list[str]]:
    """What to try (name, interpreter, Buildbot), and the versions that are not here."""
    here = {version: python for version in versions if (python := interpreter(version)) is not None}
    tries = [(f"Python {version}", python, "buildbot") for version, python in here.items()]
    if here:
        series = oldest_buildbot()
        version, python = next(iter(here.items()))
        tries.append((f"Python {version}, Buildbot {series}", python, f"buildbot=={series}.0"))
    return tries, [version for version in versions if version not in here]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="a version, as 3.9; all that are promised if not given")
    wanted = parser.parse_args().python or promised()
    tries, absent = rounds(wanted)
    for version in absent:
        print(f"Python {version}: not here, skipped", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="latent-versions-") as scratch:
        folder = Path(scratch)
        source = shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("*.egg-info", "build"))
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(source))
        (wheel,) = folder.glob("*.whl")
        for name, python, buildbot in tries:
            try:
                print(f"{name}: {try_one(python, wheel, buildbot, folder / name.replace(' ', '-'))}", flush=True)
            except (Failed, subprocess.TimeoutExpired) as e:
                failed += 1
                print(f"{name}: FAILED: {e}", flush=True)
    print(f"{len(tries) - failed} passed, {failed} failed, {len(absent)} skipped")
    return 1 if failed else 0 if tries else 2


if __name__ == "__main__":
    sys.exit(main())
