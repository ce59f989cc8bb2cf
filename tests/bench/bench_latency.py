"""From many requests at once to their launches on the wire: without a throttle, with it, and of one AMI."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from bench_fleet import ACCOUNT, REGION, ROUND_TRIP_S, Cell, Fleet, cells, ec2_server, fleet
from bench_link import request_bytes, storm
from bench_old import old_master
from bench_rows import Measured, percentile
from bench_settings import Settings
from master_process import wait_for
from sim_control import SimControl

MASTER = "bench"
THROTTLED = "RequestLimitExceeded"
BURST, REFILL = 5, 2
# Of the published bucket, where a controller cannot be told that a limit was raised.
WORKERS_A_CELL = BURST
ANSWERS_S = 300.0


def launch_ours(settings: Settings) -> Measured:
    """No throttle."""
    with fleet(settings.binary, settings.door) as ours:
        write_unthrottled(ours, settings.workers)
        return _latency(*_ours(ours, throttle=False))


def launch_old(settings: Settings) -> Measured:
    """The same with Buildbot's own class."""
    return _latency(*_old(settings, throttle=False, shared=False))


def throttled_ours(settings: Settings) -> Measured:
    """Under the published buckets."""
    with fleet(settings.binary, settings.door) as ours:
        ours.write([_one_cell(settings.workers)], shared=False)
        return _under_limit(settings.workers, *_ours(ours, throttle=True))


def throttled_old(settings: Settings) -> Measured:
    """The same with Buildbot's own class."""
    return _under_limit(settings.workers, *_old(settings, throttle=True, shared=False))


def shared_ours(settings: Settings) -> Measured:
    """Of one AMI, under the published buckets."""
    with fleet(settings.binary, settings.door) as ours:
        ours.write([_one_cell(settings.workers)], shared=True)
        return _of_one_ami(*_ours(ours, throttle=True))


def shared_old(settings: Settings) -> Measured:
    """The same with Buildbot's own class."""
    return _of_one_ami(*_old(settings, throttle=True, shared=True))


def write_unthrottled(ours: Fleet, workers: int) -> None:
    """A fleet in one cell with raised limits; where it does not know that, in as many as its bursts need."""
    one = _one_cell(workers)
    ours.write([one], shared=False, raised=True)
    if not ours.check():
        ours.conditions = "one cell with raised limits"
        return
    ours.clear()
    several = cells(-(-workers // WORKERS_A_CELL), workers)
    ours.write(several, shared=False)
    ours.conditions = f"{len(several)} cells, because this controller cannot be told of raised limits"


def start_all(ours: Fleet) -> dict[str, float]:
    """Asks for all workers at once; when each was asked for."""
    requests = {name: uuid.uuid4().hex for name in ours.workers}
    questions = [
        request_bytes("POST", f"/v1/workers/{name}/start", {"request": request, "master": MASTER})
        for name, request in requests.items()
    ]
    began, _ = storm(ours.socket, questions)
    return dict(zip(requests, began))


def _one_cell(workers: int) -> Cell:
    return Cell("alice", ACCOUNT, REGION, workers)


def _ours(ours: Fleet, throttle: bool) -> tuple[dict[str, float], dict[str, float], list[dict[str, Any]]]:
    # Before it looks at anything: its own calls count too.
    ours.control.pace(round_trip_seconds=ROUND_TRIP_S, throttle=throttle)
    ours.start()
    # What its start has to ask is asked by then.
    time.sleep(3)
    first = _count(ours.control)
    asked = start_all(ours)
    amis = {one["worker"]: one["image"] for one in _launched(ours.control, len(asked))}
    calls = ours.control.calls(first)
    return asked, _arrivals(calls, amis), calls


def _old(
    settings: Settings, throttle: bool, shared: bool
) -> tuple[dict[str, float], dict[str, float], list[dict[str, Any]]]:
    with ec2_server(settings.door) as control, old_master(control, settings.workers, shared) as master:
        control.pace(round_trip_seconds=ROUND_TRIP_S, throttle=throttle)
        first = _count(control)
        master.do("start", list(master.amis))
        # With too few tokens the SDK gives up after some tries, and Buildbot tries again later.
        _launched(control, settings.workers, lambda: len(master.events("start failed")))
        calls = control.calls(first)
        asked = master.wait("asked", settings.workers, 30)
        return asked, _arrivals(calls, master.amis), calls


def _count(control: SimControl) -> int:
    calls = control.calls()
    return int(calls[-1]["number"]) if calls else 0


def _launched(control: SimControl, count: int, failed: Callable[[], int] = lambda: 0) -> list[dict[str, Any]]:
    """All instances, once there are so many, those that failed counted."""

    def there() -> Any:
        found = control.instances()
        return found if len(found) + failed() >= count else None

    found: list[dict[str, Any]] = wait_for(f"{count} launches", there, ANSWERS_S, 0.5)
    # The last answers are under way.
    time.sleep(2 * ROUND_TRIP_S)
    return found


def _launches(calls: list[dict[str, Any]]) -> int:
    return sum(1 for call in calls if _is_launch(call) and call["code"] is None)


def _is_launch(call: dict[str, Any]) -> bool:
    return call["action"] in ("RunInstances", "CreateFleet")


def _arrivals(calls: list[dict[str, Any]], amis: dict[str, str]) -> dict[str, float]:
    """When the last launch of each worker's AMI arrived that was not refused."""
    found: dict[str, float] = {}
    for call in calls:
        if _is_launch(call) and call["code"] is None:
            # The door names the AMI of a launch.
            found[call["subject"]] = max(found.get(call["subject"], 0), call["arrived_us"] / 1e6)
    return {worker: found[ami] for worker, ami in amis.items() if ami in found}


def _latency(asked: dict[str, float], arrived: dict[str, float], _: list[dict[str, Any]]) -> Measured:
    took = [1000 * (arrived[name] - asked[name]) for name in arrived]
    return {"n": len(took), "p50": percentile(took, 50), "p99": percentile(took, 99)}


def _under_limit(
    workers: int, asked: dict[str, float], arrived: dict[str, float], calls: list[dict[str, Any]]
) -> Measured:
    last = max(arrived.values()) - min(asked.values())
    refused = sum(1 for call in calls if call["code"] == THROTTLED)
    limit = max(workers - BURST, 1) / REFILL
    missing = workers - _launches(calls)
    share = last / limit
    return {"n": workers, "share": share, "last": last, "refused": 100 * refused / len(calls), "failed": missing}


def _of_one_ami(asked: dict[str, float], arrived: dict[str, float], calls: list[dict[str, Any]]) -> Measured:
    taken = _launches(calls)
    last = max(arrived.values()) - min(asked.values())
    return {"n": len(asked), "calls": taken, "last": last}
