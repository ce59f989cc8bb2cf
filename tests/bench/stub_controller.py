#!/usr/bin/env python3
"""A controller that takes every start and launches nothing: what is measured against it is the master.

It speaks the interface on a Unix socket, and writes when each start arrived (`worker seconds`, on the
monotonic clock that all processes share) as a line of a file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "localstack"))

from buildbot_latent.controller import INTERFACE  # noqa: E402
from leash import end_with_parent  # noqa: E402

BACKLOG = 1024
NEWS_S_MAX = 25.0


class Stub:
    """What it remembers: which request each worker waits for."""

    def __init__(self, arrivals: TextIO, launches: bool) -> None:
        self._arrivals = arrivals
        self._launches = launches
        self._requests: dict[str, str] = {}
        view = json.loads((ROOT / "docs" / "openapi.json").read_text())["components"]["schemas"]["WorkerView"]
        # Whatever else the interface gains is null here.
        self._nothing: dict[str, Any] = dict.fromkeys(view["properties"])

    def view(self, worker: str) -> dict[str, Any]:
        """A worker that waits for its instance, or for nothing."""
        request = self._requests.get(worker)
        launched = request is not None and self._launches
        known = {
            "worker": worker,
            "state": "registering" if launched else "requested" if request else "gone",
            "request": request,
            "instance": f"i-{worker}" if launched else None,
            "waiting": request is not None and not launched,
            "departing": [],
            "idle_timeout_s": 600,
            "master_silence_s": 300,
            "connect_deadline_s": 900,
            "launch_deadline_s": 600,
        }
        return {**self._nothing, **known}

    async def answer(self, method: str, url: str, body: Any) -> Any:
        """The answer to one call, when it is due."""
        path = urllib.parse.urlsplit(url)
        parts = path.path.strip("/").split("/")[1:]
        wait = min(float(urllib.parse.parse_qs(path.query).get("wait", ["0"])[0]), NEWS_S_MAX)
        if parts == ["version"]:
            return {"version": "0.0.0", "interface": INTERFACE}
        if parts[0] == "events":
            await asyncio.sleep(wait)
            return {"last": 1, "events": []}
        if parts[0] == "masters":
            return self._of_master(method, parts, body)
        worker = parts[1]
        if parts[2:] == ["start"]:
            self._arrivals.write(f"{worker} {time.monotonic()}\n")
            self._arrivals.flush()
            self._requests[worker] = body["request"]
        elif parts[2:] == ["release"]:
            self._requests.pop(worker, None)
        elif parts[2:] == ["admit"]:
            return {"admit": True, "proof": "none is asked for", "why": None, "twin": None}
        elif method == "GET":
            await asyncio.sleep(wait)
        return self.view(worker)

    def _of_master(self, method: str, parts: list[str], body: Any) -> Any:
        if method == "PUT":
            return {"accepted": sorted(body.get("workers", {})), "refused": {}}
        views = {name: self.view(name) for name in body["workers"]}
        return {"seq": 1, "unknown": [], "elsewhere": {}, "workers": views}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, call after call."""
        try:
            while await self._serve_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, url, _ = head[0].split(" ")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        text = await reader.readexactly(int(fields.get("content-length", 0)))
        answer = json.dumps(await self.answer(method, url, json.loads(text or b"null"))).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))
        await writer.drain()
        return fields.get("connection") != "close"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--arrivals", required=True)
    parser.add_argument("--launches", action="store_true", help="says of each start that its instance is there")
    args = parser.parse_args()
    end_with_parent()
    with open(args.arrivals, "w") as arrivals:
        server = await asyncio.start_unix_server(Stub(arrivals, args.launches).serve, args.socket, backlog=BACKLOG)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
