"""A controller in memory: it answers as the real one does, by the tests' clock, and a test steers it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema
from buildbot_latent.http import LinkError
from fake_canary import Canary
from fake_record import IN_SERVICE, Failure, Policy, Record, address_of
from twisted.internet import defer

# How long an answer takes; from a change to the controller's look at it; a launch, an end, in seconds.
ANSWER_S, LOOK_S, LAUNCH_S, END_S = 0.01, 0.002, 2.0, 0.5
PENDING = ("requested", "launching", "draining", "terminating", "stopped")
MINUTE_S = 60

OPENAPI = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())


@dataclass
class Call:
    """What was asked."""

    method: str
    url: str
    body: Optional[dict[str, Any]]
    answer: defer.Deferred

    @property
    def path(self) -> str:
        """The address without its query."""
        return unquote(urlsplit(self.url).path)

    def query(self, name: str) -> int:
        """A number of the query; 0 if it is not there."""
        return int(parse_qs(urlsplit(self.url).query).get(name, ["0"])[0])


class Client:
    """What the plugin holds of it: the interface of `buildbot_latent.http.SocketClient`."""

    path = "/fake/latent.sock"

    def __init__(self, controller: FakeController) -> None:
        self.request = controller.request


class FakeController:
    """Has the interface of `buildbot_latent.controller.Controller`, and the record behind it."""

    def __init__(self, reactor: Any, names: tuple[str, ...], policy: Policy) -> None:
        self.policy = policy
        self.records = {name: Record(name, policy) for name in names}
        self.seq = 1
        self.calls: list[Call] = []
        self.admission: dict[str, Any] = {"admit": True, "proof": "", "why": None, "twin": None}
        self.elsewhere: dict[str, str] = {}
        self.declared: dict[str, dict[str, Any]] = {}
        # Workers that it does not take as they are described, and why.
        self.refuses: dict[str, str] = {}
        # Every instance ever, by worker; and those that live.
        self.launched: list[tuple[str, str]] = []
        self.live: dict[str, str] = {}
        # What is heard of instances by those who play them: (worker, instance).
        self.on_launched: Callable[[str, str], None] = lambda worker, instance: None
        self.on_ended: Callable[[str], None] = lambda instance: None
        # Launches: by themselves after this time, or (None) by the test's hand; and how the next ones fail.
        self.launch_s: Optional[float] = LAUNCH_S
        self.fates: list[Failure] = []
        self.look_s = LOOK_S
        # Nobody listens on the socket; somebody listens and never answers.
        self.down = self.mute = False
        self._reactor = reactor
        self._client = Client(self)
        self._refusals: list[tuple[str, LinkError]] = []
        self._held: dict[str, list[Call]] = {}
        self._waiting: list[tuple[Callable[[], bool], Call, Callable[[], dict[str, Any]]]] = []
        self._timers: list[Any] = []

    # The seam: what `buildbot_latent.link` asks of a controller.

    def client(self) -> defer.Deferred:
        """A client of the socket."""
        return defer.succeed(self._client)

    def write_config_if_missing(self) -> None:
        """There is always one."""

    def ensure_running(self) -> defer.Deferred:
        """Returns when it answers; it is not started by anybody but the test."""
        return self.request("GET", "/v1/version", limit=5)

    def request(self, method: str, url: str, body: Optional[dict] = None, limit: float = 40) -> defer.Deferred:
        """One call, answered after a while, or given up after `limit`, as a socket's client does."""
        answer: defer.Deferred = defer.Deferred()
        call = Call(method, url, json.loads(json.dumps(body)), answer)
        self.calls.append(call)
        check_request(call)
        if self.down:
            self.later(ANSWER_S, self._fail, call, LinkError(f"no controller answers on {Client.path}: refused"))
            return answer
        timer = self.later(
            limit, self._fail, call, LinkError(f"the controller did not answer within {limit:.0f} s")
        )
        answer.addBoth(lambda result: (timer.active() and timer.cancel(), result)[1])
        self.later(ANSWER_S, self._take, call)
        return answer

    def later(self, seconds: float, what: Callable[..., Any], *args: Any) -> Any:
        """Something of its own that is due; it outlives a master that is killed."""
        timer = self._reactor.callLater(seconds, what, *args)
        self._timers = [old for old in self._timers if old.active()] + [timer]
        return timer

    def owns(self, timer: Any) -> bool:
        """Whether something due is the controller's own."""
        return timer in self._timers

    # How a test steers it.

    def refuse(self, path: str, message: str, code: str) -> None:
        """The next call whose address has `path` is refused."""
        self._refusals.append((path, LinkError(message, code)))

    def hold(self, path: str) -> None:
        """Calls whose address has `path` are heard, and wait for their answers."""
        self._held.setdefault(path, [])

    def let_through(self, path: str) -> None:
        """They wait no longer."""
        for call in self._held.pop(path):
            self._take(call)

    def cut(self) -> None:
        """Its process ends: whoever waits is cut off, and nobody listens."""
        self.down = True
        held = [call for calls in self._held.values() for call in calls]
        waiting = [call for _, call, _ in self._waiting]
        self._held, self._waiting = {}, []
        for call in held + waiting:
            self._fail(call, LinkError(f"no controller answers on {Client.path}: connection lost"))

    def forget(self) -> None:
        """Its ledger is lost: what lives is found by its tags, and whose request it met is not known."""
        self.seq = 1
        self.records = {name: Record(name, self.policy) for name in self.records}
        for instance, worker in self.live.items():
            self.records[worker].instance = instance
            self.records[worker].move("registering", self.now)
        for record in self.records.values():
            self._moved(record)

    def launch(self, worker: str) -> str:
        """The launch that is under way gives an instance."""
        record = self.records[worker]
        assert record.state == "launching", record.state
        instance = f"i-{len(self.launched) + 1}"
        self.launched.append((worker, instance))
        self.live[instance] = worker
        record.instance = instance
        record.launched_as(next((said[worker] for said in self.declared.values() if worker in said), {}))
        record.move("registering", self.now)
        self._moved(record)
        self.on_launched(worker, instance)
        return instance

    def fail(self, worker: str, failure: Failure) -> None:
        """The request that waits is answered with a failure."""
        record = self.records[worker]
        record.refuse(failure, self.now)
        if record.state == "launching":
            record.move("gone", self.now)
        self._moved(record)

    def drain(self, worker: str, interrupted: bool = False) -> None:
        """Its master shall let it go; because EC2 wants the instance back, if it is interrupted."""
        record = self.records[worker]
        record.interruption = self.now + 2 * MINUTE_S if interrupted else None
        record.move("draining", self.now)
        self._moved(record)

    def set_canary(self, worker: str, **wishes: Any) -> Canary:
        """A rebake wants the worker's next instance to be a canary."""
        record = self.records[worker]
        canary = record.canary = Canary(**wishes)
        self._moved(record)
        return canary

    def lose(self, worker: str) -> None:
        """Somebody else ends its instance, and a listing shows it."""
        record = self.records[worker]
        self.end(record.instance)
        if record.waits and record.state == "registering":
            message = f"{record.instance} ended before its worker connected: shutting-down"
            record.refuse(Failure("InstanceEnded", message, "instance ended", phase="connect"), self.now)
        record.move("gone", self.now)
        self._moved(record)

    def stop_seen(self, worker: str) -> None:
        """A listing shows its instance stopped."""
        record = self.records[worker]
        record.attached, record.build, record.released = False, None, False
        record.move("stopped", self.now)
        self.on_ended(str(record.instance))
        self._moved(record)

    def end(self, instance: Optional[str]) -> None:
        """An instance is no more."""
        if instance is not None and self.live.pop(instance, None):
            self.on_ended(instance)

    @property
    def now(self) -> float:
        """The tests' clock."""
        return float(self._reactor.seconds())

    def asked(self, method: str, ending: str) -> list[Call]:
        """The calls of one kind so far."""
        return [call for call in self.calls if call.method == method and call.path.endswith(ending)]

    # Answers.

    def _take(self, call: Call) -> None:
        if self.mute or call.answer.called:
            return
        for path, held in self._held.items():
            if path in call.url:
                held.append(call)
                return
        for number, (path, error) in enumerate(self._refusals):
            if path in call.url:
                del self._refusals[number]
                self._fail(call, error)
                return
        self._route(call)

    def _route(self, call: Call) -> None:
        for method, pattern, answer in ROUTES:
            match = re.fullmatch(pattern, call.path)
            if match and method == call.method:
                answer(self, call, *match.groups())
                return
        self._fail(call, LinkError(f"no such address: {call.method} {call.path}", "bad_request"))

    def _answer(self, call: Call, value: dict[str, Any]) -> None:
        if not call.answer.called:
            check_answer(call, value)
            call.answer.callback(json.loads(json.dumps(value)))

    def _fail(self, call: Call, error: LinkError) -> None:
        if not call.answer.called:
            call.answer.errback(error)

    def _version(self, call: Call) -> None:
        self._answer(call, {"name": "latent", "version": "0.1.0", "interface": 1, "pid": 1})

    def _show(self, call: Call, name: str) -> None:
        record = self._known(call, name)
        if record is not None:
            wait = call.query("wait")
            self._when(call, wait, lambda: not self._pends(name), lambda: self.records[name].view())

    def _pends(self, name: str) -> bool:
        record = self.records[name]
        waits = record.waits is not None and record.failure is None
        # The instance of a canary is the answer to no request.
        return waits and (record.is_canary or record.state in PENDING)

    def _start(self, call: Call, name: str) -> None:
        record = self._known(call, name)
        if record is None:
            return
        assert call.body is not None
        if self.elsewhere.get(name, call.body["master"]) != call.body["master"]:
            self._fail(call, LinkError(f"worker {name} is used by the master {self.elsewhere[name]}", "conflict"))
            return
        record.master, record.heard = call.body["master"], self.now
        record.ask(call.body["request"], self.now)
        self._moved(record)
        self._answer(call, record.view())

    def _release(self, call: Call, name: str) -> None:
        record = self._known(call, name)
        if record is None:
            return
        assert call.body is not None
        if call.body["request"] in (None, record.request):
            record.let_go(self.now)
            self._moved(record)
        self._answer(call, record.view())

    def _admit(self, call: Call, name: str) -> None:
        record = self._known(call, name)
        if record is None:
            return
        assert call.body is not None
        answer = dict(self.admission)
        instance = next((one for one in self.live if address_of(one) == call.body["peer"]), None)
        if answer["admit"] and (record.state not in (*IN_SERVICE, "launching") or record.view()["order"]):
            answer.update(admit=False, why=f"{name} is {record.state}")
        elif answer["admit"] and (instance is None or record.instance not in (None, instance)):
            answer.update(admit=False, why=f"{call.body['peer']} is not an address of {record.instance}")
        self._answer(call, answer)

    def _declare(self, call: Call, master: str) -> None:
        assert call.body is not None
        known, said = self.declared.get(master, {}), call.body["workers"]
        refused = {name: why for name, why in self.refuses.items() if said.get(name) is not None}
        kept = {name: known.get(name) if one is None or name in refused else one for name, one in said.items()}
        self.declared[master] = {name: one for name, one in kept.items() if one is not None}
        accepted = sorted(name for name, one in said.items() if one is not None and name not in refused)
        self._accept(call, accepted, refused)

    def _declare_one(self, call: Call, master: str, name: str) -> None:
        if name in self.refuses:
            self._fail(call, LinkError(self.refuses[name], "bad_request"))
            return
        self.declared.setdefault(master, {})[name] = call.body or {}
        self._accept(call, [name], {})

    def _accept(self, call: Call, accepted: list[str], refused: dict[str, str]) -> None:
        for name in accepted:
            self.records.setdefault(name, Record(name, self.policy))
        self._answer(call, {"accepted": accepted, "refused": refused})

    def _report(self, call: Call, master: str) -> None:
        assert call.body is not None
        known = {name: said for name, said in call.body["workers"].items() if name in self.records}
        for name, said in known.items():
            record = self.records[name]
            before = repr(record)
            record.hear(said, self.now)
            if repr(record) != before:
                self._moved(record)
            record.heard = self.now
        self._answer(
            call,
            {
                "workers": {name: self.records[name].view() for name in known},
                "unknown": sorted(set(call.body["workers"]) - set(known)),
                "elsewhere": {n: m for n, m in self.elsewhere.items() if n in known and m != master},
                "seq": self.seq,
            },
        )

    def _events(self, call: Call) -> None:
        after = call.query("after")
        self._when(call, call.query("wait"), lambda: self.seq != after, lambda: {"events": [], "last": self.seq})

    def _when(
        self, call: Call, seconds: float, done: Callable[[], bool], value: Callable[[], dict[str, Any]]
    ) -> None:
        """Answers as soon as `done` holds, or when the time is over."""
        if done() or not seconds:
            self._answer(call, value())
            return
        entry = (done, call, value)
        self._waiting.append(entry)

        def over(result: Any) -> Any:
            self._waiting = [other for other in self._waiting if other is not entry]
            return result

        call.answer.addBoth(over)
        self.later(seconds, lambda: self._answer(call, value()))

    def _known(self, call: Call, name: str) -> Optional[Record]:
        record = self.records.get(name)
        if record is None:
            known = ", ".join(self.records)
            self._fail(
                call,
                LinkError(
                    f"worker {name} is not in the configuration of this controller; known: {known}",
                    "unknown_worker",
                ),
            )
        return record

    # Its loop.

    def _moved(self, record: Record) -> None:
        """The record is another: whoever waits is told, and the loop looks at it."""
        record.settle(self.now)
        self.seq += 1
        for done, call, value in list(self._waiting):
            if done():
                self._answer(call, value())
        self.later(self.look_s, self._look, record)

    def _look(self, record: Record) -> None:
        """What the real one's plan says of this worker now, in short."""
        if record is not self.records.get(record.worker):
            return
        if record.is_canary:
            self._look_at_canary(record)
            return
        if record.state == "gone" and record.canary is not None and record.canary.phase == "waiting":
            record.is_canary, record.canary.phase = True, "starting"
            self._begin_launch(record)
        elif record.state == "requested":
            self._begin_launch(record)
        elif record.state == "registering" and record.waits:
            self.later(self.policy.connect_deadline, self._never_connected, record, record.instance)
        elif record.state == "ready" and self.policy.idle_timeout is not None:
            self.later(self.policy.idle_timeout, self._idle, record, record.since)
        if record.state in IN_SERVICE and (
            record.released or (record.state == "draining" and not record.attached)
        ):
            self._terminate(record)

    def _look_at_canary(self, record: Record) -> None:
        """It connects, builds if that is asked, stops, starts, connects again, and ends."""
        canary = record.canary
        assert canary is not None
        if record.state == "ready" and canary.has_shown_enough:
            record.move("draining", self.now)
            if canary.phase == "connected":
                canary.phase = "stopping"
            self._moved(record)
        elif record.state == "draining" and not record.attached:
            if canary.phase == "stopping":
                self.later(END_S, self._canary_stopped, record)
            else:
                self._terminate(record)
        elif record.state == "registering" and canary.is_over:
            self._terminate(record)

    def _canary_stopped(self, record: Record) -> None:
        if record.state != "draining" or record.canary is None:
            return
        record.canary.phase = "stopped"
        self.stop_seen(record.worker)
        self.later(LAUNCH_S, self._canary_started, record)

    def _canary_started(self, record: Record) -> None:
        if record.state != "stopped" or record.canary is None:
            return
        record.canary.phase = "restarting"
        record.move("registering", self.now)
        self._moved(record)
        self.on_launched(record.worker, str(record.instance))

    def _begin_launch(self, record: Record) -> None:
        record.move("launching", self.now)
        self._moved(record)
        if self.launch_s is not None:
            self.later(self.launch_s, self._launched, record)
        self.later(self.policy.launch_deadline, self._too_late, record, record.request)

    def _launched(self, record: Record) -> None:
        if record.state != "launching" or record is not self.records.get(record.worker):
            return
        if self.fates:
            self.fail(record.worker, self.fates.pop(0))
        else:
            self.launch(record.worker)

    def _too_late(self, record: Record, request: Optional[str]) -> None:
        if record.state == "launching" and record.waits == request and request and not record.is_canary:
            message = "no instance within 10m (launch_deadline): its launch is not answered"
            self.fail(record.worker, Failure("LaunchDeadline", message))

    def _never_connected(self, record: Record, instance: Optional[str]) -> None:
        if record.state == "registering" and record.instance == instance:
            if record.waits:
                message = f"{instance} was launched and its worker did not connect within 15m (connect_deadline)"
                cure = "look at the instance's console output"
                failure = Failure("NeverConnected", message, "worker never connected", cure, "connect")
                failure.console = "buildbot-worker: invalid password"
                record.refuse(failure, self.now)
            self._terminate(record)

    def _idle(self, record: Record, since: float) -> None:
        if record.state != "ready" or record.since != since:
            return
        silent = self.now - (record.heard or 0.0)
        if silent >= self.policy.master_silence:
            self._terminate(record)
        else:
            self.drain(record.worker)
            self.later(self.policy.master_silence, self._silent, record, record.instance)

    def _silent(self, record: Record, instance: Optional[str]) -> None:
        silent = self.now - (record.heard or 0.0) >= self.policy.master_silence
        if silent and record.state == "draining" and record.instance == instance and not record.build:
            self._terminate(record)

    def _terminate(self, record: Record) -> None:
        instance = record.instance
        assert instance is not None
        record.attached, record.build, record.released = False, None, False
        record.move("terminating", self.now)
        record.departing.append(instance)
        self._moved(record)
        self.later(END_S, self._ended, record, instance)

    def _ended(self, record: Record, instance: str) -> None:
        self.end(instance)
        record.departing.remove(instance)
        record.move("gone", self.now)
        self._moved(record)


WORKER = r"/v1/workers/([^/]+)"
MASTER = r"/v1/masters/([^/]+)"
Route = tuple[str, str, Callable[..., None]]
ROUTES: list[Route] = [
    ("GET", "/v1/version", FakeController._version),
    ("GET", "/v1/events", FakeController._events),
    ("GET", WORKER, FakeController._show),
    ("POST", f"{WORKER}/start", FakeController._start),
    ("POST", f"{WORKER}/release", FakeController._release),
    ("POST", f"{WORKER}/admit", FakeController._admit),
    ("POST", f"{MASTER}/report", FakeController._report),
    ("PUT", f"{MASTER}/workers", FakeController._declare),
    ("PUT", f"{MASTER}/workers/([^/]+)", FakeController._declare_one),
]


# What is said on either side has the form that docs/openapi.json gives it.


def operation_of(call: Call) -> Optional[dict[str, Any]]:
    """The entry of the document for a call, if it has one."""
    for path, methods in OPENAPI["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", path), call.path):
            operation: Optional[dict[str, Any]] = methods.get(call.method.lower())
            return operation
    return None


def check(value: Any, content: dict[str, Any]) -> None:
    """Fails if a message has another form than the document gives it; each form is looked at once."""
    schema = json.dumps(content["application/json"]["schema"])
    if (schema, form_of(value)) not in SEEN:
        whole = {**json.loads(schema), "components": OPENAPI["components"]}
        jsonschema.Draft202012Validator(whole).validate(value)
        SEEN.add((schema, form_of(value)))


SEEN: set[tuple[str, str]] = set()


def form_of(value: Any) -> str:
    """Its keys and the kinds of its values."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{form_of(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(form_of, value)) + "]"
    return type(value).__name__


def check_request(call: Call) -> None:
    """The plugin's side."""
    operation = operation_of(call)
    if operation is not None and call.body is not None:
        check(call.body, operation["requestBody"]["content"])


def check_answer(call: Call, value: dict[str, Any]) -> None:
    """And ours: a fake that drifts away from the real one proves nothing."""
    operation = operation_of(call)
    if operation is not None:
        check(value, operation["responses"]["200"]["content"])
