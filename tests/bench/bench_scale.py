"""The controller with many workers that do nothing new: its memory, its processor time, its calls, its restart."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench_fleet import ROUND_TRIP_S, Fleet, cells, fleet
from bench_link import Reporter, request_bytes, storm
from bench_rows import Measured
from bench_settings import Settings
from master_process import wait_for

# So many workers has one master, and so many are asked for at once.
A_MASTER, AT_ONCE = 1000, 500
LAUNCH_S = 1200.0
LIVE = ("registering", "ready", "busy")


def live_few(settings: Settings) -> Measured:
    """The smaller fleet."""
    with live_fleet(settings, settings.cells, settings.few) as ours:
        return {"n": settings.few, **steady(ours, settings.steady_s)}


def live_many(settings: Settings) -> Measured:
    """The larger one, and what it takes to come back to it."""
    with live_fleet(settings, settings.cells, settings.many) as ours:
        found = steady(ours, settings.steady_s)
        ours.kill()
        found["restart"] = ours.start()
        return {"n": settings.many, **found}


@contextmanager
def live_fleet(settings: Settings, count: int, workers: int) -> Iterator[Fleet]:
    """So many workers in so many cells, all attached, every second one with a build."""
    with fleet(settings.binary, settings.door) as ours:
        ours.write(cells(count, workers), shared=True, raised=True)
        if ours.check():
            ours.clear()
            ours.write(cells(count, workers), shared=True)
        ours.start()
        parts = [ours.workers[at : at + A_MASTER] for at in range(0, workers, A_MASTER)]
        masters = [Reporter(ours.socket, f"bench{number}", part) for number, part in enumerate(parts)]
        try:
            _bring_up(ours, masters)
            ours.control.pace(round_trip_seconds=ROUND_TRIP_S)
            time.sleep(settings.settle_s)
            yield ours
        finally:
            for master in masters:
                master.close()


def _bring_up(ours: Fleet, masters: list[Reporter]) -> None:
    # Nothing waits here: this is not what is measured.
    ours.control.pace(round_trip_seconds=0, pending_seconds=1, throttle=False)
    for master in masters:
        master.start()
        names = list(master.said)
        for at in range(0, len(names), AT_ONCE):
            _ask_for(ours, master, names[at : at + AT_ONCE])
    wait_for("all workers to have an instance", lambda: _living(ours) >= len(ours.workers), LAUNCH_S, 2)
    for master in masters:
        for number, name in enumerate(list(master.said)):
            build = f"{name}/1" if number % 2 else None
            master.said[name] = {**master.said[name], "attached": True, "build": build}
    wait_for("all workers to be attached", lambda: _living(ours, LIVE[1:]) >= len(ours.workers), LAUNCH_S, 2)


def _ask_for(ours: Fleet, master: Reporter, names: list[str]) -> None:
    requests = {name: uuid.uuid4().hex for name in names}
    for name, request in requests.items():
        master.said[name] = {**master.said[name], "request": request, "wanted": True}
    storm(
        ours.socket,
        [
            request_bytes("POST", f"/v1/workers/{name}/start", {"request": request, "master": master.name})
            for name, request in requests.items()
        ],
    )


def _living(ours: Fleet, states: tuple[str, ...] = LIVE) -> int:
    return sum(1 for one in ours.ask("GET", "/v1/status")["workers"] if one["state"] in states)


def steady(ours: Fleet, seconds: float) -> Measured:
    """What it takes over this time."""
    first = _last_call(ours)
    used, began = ours.cpu_s(), time.monotonic()
    rss = []
    while time.monotonic() - began < seconds:
        time.sleep(min(5.0, seconds / 4))
        rss.append(ours.rss_mb())
    passed = time.monotonic() - began
    calls = _last_call(ours) - first
    return {"rss": max(rss), "cpu": 100 * (ours.cpu_s() - used) / passed, "calls": 60 * calls / passed}


def _last_call(ours: Fleet) -> int:
    return int(ours.control.ask("GET", f"calls?after={2**62}")["count"])


def growth(settings: Settings) -> dict[str, Any]:
    """The points of the plot: over workers in some cells, and over cells of some workers."""
    places, workers = settings.growth_cells, settings.growth_workers
    over_workers = [_point(settings, places[0], count) for count in workers]
    over_cells = [_point(settings, count, workers[-1]) for count in places[1:]]
    return {"over workers": over_workers, "over cells": [over_workers[-1], *over_cells]}


def _point(settings: Settings, count: int, workers: int) -> dict[str, float]:
    with live_fleet(settings, count, workers) as ours:
        found = {"cells": count, "workers": workers, **steady(ours, settings.growth_s)}
        print("growth: " + ", ".join(f"{key} {value:.2f}" for key, value in found.items()), flush=True)
        return found
