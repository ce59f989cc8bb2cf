"""Whole lives of workers: their calls, and how soon a master hears of a death or may start again."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench_fleet import ACCOUNT, REGION, ROUND_TRIP_S, Cell, Fleet, ec2_server, fleet
from bench_link import Reporter
from bench_old import OldMaster, old_master
from bench_rows import Measured, percentile
from bench_settings import Settings
from controller_link import ask
from master_process import wait_for
from sim_control import SimControl

MASTER = "bench"
BOOT_S, BUILD_S = 20.0, 5.0
# For what is not about boots.
SOON_S = 3.0
LOOK_S, NEWS_LOOK_S = 0.2, 0.005
LIFE_S = 1500.0
TOLD_S = 120.0
# Of the old class: what the row about deaths sets, and what is the default.
MISSING_S, MISSING_DEFAULT_S = 30.0, 3600.0
ADMISSIONS = 200
OVER = ("terminated", "shutting-down")


@contextmanager
def running_fleet(settings: Settings, workers: int, shared: bool, **pace: Any) -> Iterator[tuple[Fleet, Reporter]]:
    """A fleet in one cell with its controller and its master, at a pace."""
    with fleet(settings.binary, settings.door) as ours:
        ours.write([Cell("alice", ACCOUNT, REGION, workers)], shared=shared)
        ours.control.pace(round_trip_seconds=ROUND_TRIP_S, **pace)
        ours.start()
        master = Reporter(ours.socket, MASTER, ours.workers)
        master.looks = True
        master.start()
        # What its start has to ask is asked by then.
        time.sleep(3)
        try:
            yield ours, master
        finally:
            master.close()


# Calls of whole lives.


def lives_ours(settings: Settings) -> Measured:
    """Calls for each life, of one worker, some and many."""
    return _lives(settings, _life_ours)


def lives_old(settings: Settings) -> Measured:
    """The same with Buildbot's own class."""
    return _lives(settings, _life_old)


def _lives(settings: Settings, live: Callable[[Settings, int], float]) -> Measured:
    counts = {"one": 1, "fifty": settings.fifty, "all": settings.workers}
    return {"n": settings.workers, **{key: live(settings, count) for key, count in counts.items()}}


def _life_ours(settings: Settings, count: int) -> float:
    with running_fleet(settings, count, False, pending_seconds=BOOT_S) as (ours, master):
        first = _count(ours.control)
        desks = [threading.Thread(target=_live, args=(ours, master, name), daemon=True) for name in ours.workers]
        for desk in desks:
            desk.start()
        guests = _Guests(ours.control, master)
        end = time.monotonic() + LIFE_S
        while any(desk.is_alive() for desk in desks):
            if time.monotonic() > end:
                raise TimeoutError(f"{count} lives are not over after {LIFE_S:.0f} s")
            guests.look()
            time.sleep(LOOK_S)
        return _calls_each(ours.control, first, count)


class _Guests:
    """Workers that connect as soon as their instance runs."""

    def __init__(self, control: SimControl, master: Reporter) -> None:
        self._control = control
        self._master = master
        self._known: set[str] = set()

    def look(self) -> None:
        """Once."""
        for one in self._control.instances():
            if one["state"] == "running" and one["id"] not in self._known:
                self._known.add(one["id"])
                name = one["worker"]
                self._master.say(name, attached=True, build=f"{name}/1")


def _live(ours: Fleet, master: Reporter, name: str) -> None:
    """One request, one build, one release, until the controller says that it is gone."""
    request = start(ours, master, name)
    _until(lambda: master.said[name]["attached"], LIFE_S, LOOK_S)
    time.sleep(BUILD_S)
    release(ours, master, name, request)
    _until(lambda: _is_gone(master.views.get(name), request), LIFE_S, LOOK_S)


def _is_gone(view: Any, request: str) -> bool:
    return bool(view and view["request"] in (request, None) and view["state"] == "gone" and not view["departing"])


def _life_old(settings: Settings, count: int) -> float:
    with ec2_server(settings.door) as control, old_master(control, count) as master:
        control.pace(round_trip_seconds=ROUND_TRIP_S, pending_seconds=BOOT_S)
        first = _count(control)
        master.do("start", list(master.amis))
        let_go: set[str] = set()
        while len(let_go) < count:
            ready = [name for name in _started(master) if name not in let_go]
            if ready:
                master.do("stop", ready)
                let_go.update(ready)
            time.sleep(LOOK_S)
        master.wait("stopped", count, LIFE_S)
        return _calls_each(control, first, count)


def _started(master: OldMaster) -> dict[str, float]:
    """A start that failed is over, too: Buildbot would try again later, at further calls."""
    return {**master.events("start failed"), **master.events("started")}


def _calls_each(control: SimControl, first: int, count: int) -> float:
    actions = Counter(call["action"] for call in control.calls(first))
    print(f"  calls of {count}: " + ", ".join(f"{name} {n}" for name, n in actions.most_common()), flush=True)
    return sum(actions.values()) / count


def _count(control: SimControl) -> int:
    calls = control.calls()
    return int(calls[-1]["number"]) if calls else 0


# What a master asks for.


def start(ours: Fleet, master: Reporter, name: str) -> str:
    """Asks for the worker; the request."""
    request = uuid.uuid4().hex
    ours.ask("POST", f"/v1/workers/{name}/start", {"request": request, "master": MASTER})
    master.say(name, request=request, wanted=True, attached=False, build=None)
    return request


def release(ours: Fleet, master: Reporter, name: str, request: str) -> None:
    """Wants it no longer."""
    master.say(name, wanted=False, attached=False, build=None)
    ours.ask("POST", f"/v1/workers/{name}/release", {"request": request, "master": MASTER})


def _until(is_it: Callable[[], bool], seconds: float, every: float) -> None:
    wait_for("what must happen", is_it, seconds, every)


# Deaths.


def told_ours(settings: Settings) -> Measured:
    """While pending, in a fleet that is as large as the one whose calls are counted."""
    with running_fleet(settings, settings.workers, False, pending_seconds=BOOT_S) as (ours, master):
        return _worst([_death(ours, master, name, "pending") for name in ours.workers[: settings.examples]])


def death_ours(settings: Settings) -> Measured:
    """While running, before the worker connects."""
    with running_fleet(settings, settings.examples, False, pending_seconds=SOON_S) as (ours, master):
        return _worst([_death(ours, master, name, "running") for name in ours.workers])


def _worst(seconds: list[float]) -> Measured:
    return {"n": len(seconds), "worst": max(seconds)}


def _death(ours: Fleet, master: Reporter, name: str, state: str) -> float:
    """One worker's instance dies in this state; seconds until the report's answer says so."""
    request = start(ours, master, name)
    one = _instance(ours.control, name, state, lambda one: one["worker"] == name)
    # Not right after a look of the controller's.
    time.sleep(1.0 + hash(one["id"]) % 100 / 50)
    ours.control.meddle(one["id"], "terminate")
    began = time.time()

    def is_told() -> bool:
        view = master.views.get(name)
        if not view or view["request"] != request:
            return False
        return bool(view["failure"]) or (view["state"] in ("gone", "terminating") and not view["waiting"])

    _until(is_told, TOLD_S, NEWS_LOOK_S)
    took = time.time() - began
    release(ours, master, name, request)
    return took


def _instance(
    control: SimControl, name: str, state: str, is_it: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    def there() -> Any:
        return next((one for one in control.instances() if is_it(one) and one["state"] == state), None)

    return dict(wait_for(f"the instance of {name} to be {state}", there, TOLD_S, 0.1))


def told_old(settings: Settings) -> Measured:
    """While pending."""
    with ec2_server(settings.door) as control, old_master(control, settings.examples) as master:
        control.pace(round_trip_seconds=ROUND_TRIP_S, pending_seconds=BOOT_S)
        return _worst([_old_death(master, name, "pending", "start failed") for name in master.amis])


def death_old(settings: Settings) -> Measured:
    """While running: it is not told, it only gives up."""
    count = min(settings.examples, 3)
    with ec2_server(settings.door) as control, old_master(control, count, missing_s=MISSING_S) as master:
        control.pace(round_trip_seconds=ROUND_TRIP_S, pending_seconds=SOON_S)
        took = [_old_death(master, name, "running", "told") for name in master.amis]
        return _worst([one + MISSING_DEFAULT_S - MISSING_S for one in took])


def _old_death(master: OldMaster, name: str, state: str, what: str) -> float:
    ami = master.amis[name]
    master.do("start", [name])
    one = _instance(master.control, name, state, lambda one: one["image"] == ami)
    if state == "running":
        # It looks every five seconds until it runs, and not again.
        wait_for(f"{name} to have started", lambda: name in master.events("started"), TOLD_S)
    time.sleep(1.0 + hash(one["id"]) % 100 / 50)
    master.control.meddle(one["id"], "terminate")
    began = time.time()
    found: dict[str, float] = wait_for(
        f"{name} to be told", lambda: name in master.events(what) and master.events(what), TOLD_S, 0.05
    )
    return found[name] - began


# The next start.


def again_ours(settings: Settings) -> Measured:
    """From a release to the launch of the next request, on the wire."""
    with running_fleet(settings, settings.examples, False, pending_seconds=SOON_S) as (ours, master):
        took = []
        for name in ours.workers:
            request = start(ours, master, name)
            one = _instance(ours.control, name, "running", _of(name))
            master.say(name, attached=True)
            # Let go of before the controller has seen it run, it would be taken over by the next request.
            _until(lambda at=name: _is_ready(master.views.get(at)), TOLD_S, 0.05)
            began = time.time()
            release(ours, master, name, request)
            start(ours, master, name)
            call = _next_launch(ours.control, one["image"], began)
            took.append(1000 * (call["arrived_us"] / 1e6 - began))
        return {**_worst(took), "beside": max(took) - 1000 * ROUND_TRIP_S}


def _is_ready(view: Any) -> bool:
    return bool(view and view["state"] == "ready" and view["instance_state"] == "running")


def _of(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda one: bool(one["worker"] == name)


def _next_launch(control: SimControl, image: str, after: float) -> dict[str, Any]:
    def there() -> Any:
        launches = [one for one in control.calls() if one["action"] == "RunInstances" and one["subject"] == image]
        return next((one for one in launches if one["arrived_us"] / 1e6 > after), None)

    return dict(wait_for("the next launch", there, TOLD_S, 0.1))


def again_old(settings: Settings) -> Measured:
    """From the order to stop until it has returned."""
    with ec2_server(settings.door) as control, old_master(control, settings.examples) as master:
        control.pace(round_trip_seconds=ROUND_TRIP_S, pending_seconds=SOON_S)
        took = []
        for name in master.amis:
            master.do("start", [name])
            wait_for(f"{name} to start", lambda at=name: at in master.events("started"), TOLD_S)
            master.do("stop", [name])
            wait_for(f"{name} to stop", lambda at=name: at in master.events("stopped"), TOLD_S)
            took.append(1000 * (master.events("stopped")[name] - master.events("let go")[name]))
        return _worst(took)


# The door of the master.


def admit_ours(settings: Settings) -> Measured:
    """What the plugin asks between a worker that connects and its build."""
    count = min(settings.workers, 20)
    with running_fleet(settings, count, True, pending_seconds=SOON_S, throttle=False) as (ours, master):
        for name in ours.workers:
            start(ours, master, name)
        known: dict[str, str] = {}

        def all_run() -> bool:
            known.update(
                {i["worker"]: i["private_ip"] for i in ours.control.instances() if i["state"] == "running"}
            )
            seen = [master.views.get(name, {}).get("state") for name in ours.workers]
            return len(known) == count and all(state in ("registering", "ready") for state in seen)

        _until(all_run, LIFE_S, LOOK_S)
        took = [_admission(ours, master, name, known[name]) for _ in range(ADMISSIONS // count) for name in known]
        return {"n": len(took), "p50": percentile(took, 50), "p99": percentile(took, 99)}


def _admission(ours: Fleet, master: Reporter, name: str, peer: str) -> float:
    master.said[name] = {**master.said[name], "attached": True}
    report = {"workers": dict(master.said)}
    asked = {"master": MASTER, "peer": peer, "info": {}}
    began = time.perf_counter()
    answer = ask(ours.socket, "POST", f"/v1/workers/{name}/admit", asked)
    ask(ours.socket, "GET", f"/v1/workers/{name}?wait=0")
    ask(ours.socket, "POST", f"/v1/masters/{MASTER}/report", report)
    took = 1000 * (time.perf_counter() - began)
    if not answer["admit"]:
        raise RuntimeError(f"{name} is not admitted: {answer['why']}")
    return took
