"""What the fake controller knows of one worker, and how events move it: as `src/model` does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from fake_canary import Canary

# When the tests' clock stands at 0.
EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)

IN_SERVICE = ("registering", "ready", "busy", "draining")


def at(seconds: Optional[float]) -> Optional[str]:
    """A time of the tests' clock as the interface writes it."""
    return None if seconds is None else (EPOCH + timedelta(seconds=seconds)).isoformat()


@dataclass
class Policy:
    """The limits of a worker's life, in seconds; the defaults of policy/default.toml."""

    idle_timeout: Optional[float] = 600
    launch_deadline: float = 600
    connect_deadline: float = 900
    master_silence: float = 300
    drain_deadline: float = 1800


@dataclass
class Failure:
    """The answer to a request that could not be met."""

    code: str
    message: str
    kind: str = "a passing fault"
    cure: str = "nothing to do: latent tries again"
    phase: str = "launch"
    fatal: bool = False
    console: Optional[str] = None

    def view(self) -> dict[str, Any]:
        """As the interface shows it."""
        return dict(vars(self))


# What EC2 may say to a launch, each with what a person reads of it.
NO_CAPACITY = Failure(
    "NoCapacity",
    "no instance within 10m (launch_deadline): no offering has capacity",
    "no capacity here",
    "add instance types, subnets or a second market to the image manifest",
)
QUOTA = Failure(
    "VcpuLimitExceeded",
    "You have requested more vCPU capacity than your current vCPU limit allows",
    "quota",
    "the owner asks AWS for a higher quota, or ends other instances",
)
THROTTLED = Failure(
    "RequestLimitExceeded",
    "Request limit exceeded.",
    "throttled",
    "nothing to do: latent slows down and tries again",
)
BAD_AMI = Failure(
    "InvalidAMIID.NotFound",
    "The image id '[ami-0gone]' does not exist",
    "owner must fix",
    "the owner corrects the image manifest in amis/ or the AWS set-up it names",
    fatal=True,
)
NO_RIGHTS = Failure(
    "UnauthorizedOperation",
    "You are not authorized to perform this operation.",
    "credentials",
    "the owner checks the role, its trust policy and its permissions",
    fatal=True,
)


def address_of(instance: str) -> str:
    """Where an instance connects from."""
    return f"10.0.0.{instance.rsplit('-', 1)[1]}"


@dataclass
class Record:
    """A worker as the controller knows it."""

    worker: str
    policy: Policy
    state: str = "gone"
    since: float = 0.0
    instance: Optional[str] = None
    # What it is, as it was launched last.
    ami: str = "ami-0debian"
    instance_type: str = "m7i.large"
    # The request that waits, and the last one.
    waits: Optional[str] = None
    request: Optional[str] = None
    # Which master asked last.
    master: Optional[str] = None
    failure: Optional[Failure] = None
    released: bool = False
    attached: bool = False
    build: Optional[str] = None
    leaving: bool = False
    interruption: Optional[float] = None
    departing: list[str] = field(default_factory=list)
    # When its master spoke of it last.
    heard: Optional[float] = None
    # What its image manifest says; what a rebake asks; and whether the instance, or its launch, is that.
    generation: Optional[int] = None
    canary: Optional[Canary] = None
    is_canary: bool = False

    def move(self, state: str, now: float) -> None:
        """Into another state."""
        if state != self.state:
            self.state, self.since = state, now
        if state == "gone" and self.is_canary and self.canary is not None:
            self.canary.ended()
            self.is_canary = False
        if state in ("gone", "requested"):
            self.instance = None
            self.attached, self.build, self.released, self.interruption = False, None, False, None

    def launched_as(self, declaration: dict[str, Any]) -> None:
        """The AMI and the type of its new instance."""
        if self.is_canary and self.canary is not None:
            self.ami = self.canary.ami
            return
        image = declaration.get("image", {})
        self.ami = image.get("ami", self.ami)
        (self.instance_type,) = image.get("instance_types", [self.instance_type])

    def ask(self, request: str, now: float) -> None:
        """A master wants it."""
        if self.request == request and self.failure is None and not self.released:
            return
        self.waits = self.request = request
        self.failure, self.released = None, False
        if self.state == "gone":
            self.move("requested", now)

    def let_go(self, now: float) -> None:
        """Nobody wants it any more."""
        self.waits = None
        if self.state == "requested":
            self.move("gone", now)
        # Who lets a worker go that is a canary does not mean it.
        self.released = not self.is_canary and self.state in (*IN_SERVICE, "launching", "terminating")

    def refuse(self, failure: Failure, now: float) -> None:
        """Answers the request that waits."""
        self.waits, self.failure = None, failure
        if self.state == "requested":
            self.move("gone", now)
        if self.state == "launching":
            self.released = True

    def hear(self, said: dict[str, Any], now: float) -> None:
        """Takes in what its master reports."""
        self.leaving = bool(said.get("leaving"))
        if self.state in IN_SERVICE:
            if said["attached"]:
                self._attach(said.get("build"), now)
                if self.is_canary and self.canary is not None:
                    self.canary.hear(said.get("smoke"))
            elif self.attached:
                self.attached, self.build = False, None
                if self.is_canary and self.canary is not None:
                    self.canary.builds(None)
                self.move("registering" if self.state in ("ready", "busy") else self.state, now)
        let_go = not said["wanted"] and not said["attached"] and not self.is_canary
        same = said.get("request") is not None and said["request"] == self.request
        if let_go and same and (self.waits or self.state in IN_SERVICE) and not self.released:
            self.let_go(now)

    def _attach(self, build: Optional[str], now: float) -> None:
        canary = self.canary if self.is_canary else None
        if not self.attached:
            self.attached = True
            if canary is None:
                self.released, self.waits = False, None
            else:
                canary.attached(at(now))
        self.build = build
        if canary is not None:
            canary.builds(build)
        if self.state != "draining":
            self.move("busy" if build else "ready", now)

    def settle(self, now: float) -> None:
        """Without an instance it is requested exactly while a request waits."""
        if self.state == "gone" and self.waits:
            self.move("requested", now)

    def view(self) -> dict[str, Any]:
        """As the interface shows it."""
        there = self.instance is not None
        limits = self.policy
        return {
            "worker": self.worker,
            "owner": "alice",
            "region": "us-west-2",
            "image": "debian",
            "ami": self.ami,
            "state": self.state,
            "since": at(self.since),
            "instance": self.instance,
            "instance_state": "running" if there else None,
            "addresses": [f"10.0.0.{self.instance.rsplit('-', 1)[1]}"] if self.instance else [],
            "instance_type": self.instance_type if there else None,
            "place": "us-west-2a" if there else None,
            "market": "on-demand" if there else None,
            "attempt": f"attempt-{self.instance}" if there else None,
            "created": at(self.since) if there else None,
            "lease": None,
            "deadline": None,
            "unattended": None,
            "idle_since": at(self.since) if self.state == "ready" else None,
            "build": self.build,
            "request": self.request,
            "waiting": self.waits is not None,
            "failure": self.failure.view() if self.failure else None,
            "order": "drain" if self.state == "draining" else None,
            "held": None,
            "held_until": None,
            "hold_until": None,
            "departing": list(self.departing),
            "levers": dict.fromkeys(("aged_at", "builds", "builds_max", "idle", "warm_from", "warm_until")),
            "idle_timeout_s": None if limits.idle_timeout is None else int(limits.idle_timeout),
            "master_silence_s": int(limits.master_silence),
            "connect_deadline_s": int(limits.connect_deadline),
            "launch_deadline_s": int(limits.launch_deadline),
            "interruption": at(self.interruption),
            "price": {"low": 100_800, "high": 100_800} if there else None,
            "cost_today": None,
            "master": self.master,
            "declared_by": None,
            "turned_away": [],
            "generation": self.canary.generation if self.is_canary and self.canary else self.generation,
            "canary": None if self.canary is None else self.canary.view(self.is_canary),
        }
