#!/usr/bin/env python3
"""Many real workers in one process: they connect to a master one after the other, or all at once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from buildbot_worker.bot import Worker
from twisted.internet import reactor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "localstack"))

from leash import end_with_parent  # noqa: E402

KEEPALIVE_S = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", required=True, help="where each has a folder of its own")
    parser.add_argument("--every", type=float, required=True, help="seconds between two")
    parser.add_argument("names", nargs="+")
    args = parser.parse_args()
    end_with_parent()
    for number, name in enumerate(args.names):
        folder = Path(args.folder) / name
        folder.mkdir(parents=True)
        worker = Worker("127.0.0.1", args.port, name, "secret", str(folder), KEEPALIVE_S)
        reactor.callLater(number * args.every, worker.startService)
    reactor.run()


if __name__ == "__main__":
    main()
