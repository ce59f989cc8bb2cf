"""The rows of the table: what each measures, its targets, and what became of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Optional


@dataclass(frozen=True)
class Quantity:
    """One number of a row."""

    key: str
    name: str
    unit: str
    # At most this; none for what is only told.
    target: Optional[float] = None
    digits: int = 1


@dataclass(frozen=True)
class Row:
    """What is measured together."""

    key: str
    title: str
    quantities: tuple[Quantity, ...]
    # Said under the table: what is counted, and under which conditions.
    note: str
    # Why there is nothing to compare with; empty where there is.
    alone: str = ""
    # Measured in a third of the rounds.
    is_slow: bool = False


# How the sides are called.
OURS, OLD = "latent", "Buildbot's own"
# One side of one round: numbers by the keys of their quantities, and how many things they are of.
Measured = dict[str, float]
Side = Callable[[Any], Measured]


@dataclass
class Found:
    """All rounds of a row, and why a side has none."""

    ours: list[Measured] = field(default_factory=list)
    old: list[Measured] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)
    # How many things one round was of, by the side's name.
    n: dict[str, int] = field(default_factory=dict)
    # When the row began and ended, as seconds since 1970.
    began: float = 0
    ended: float = 0

    def median(self, side: str, key: str) -> Optional[float]:
        """The median over the rounds; None without any."""
        rounds: list[Measured] = getattr(self, side)
        values = [one[key] for one in rounds if key in one]
        return statistics.median(values) if values else None

    def ratio(self, key: str) -> Optional[float]:
        """How much more the old one takes: the median of the paired rounds' own ratios."""
        pairs = [(ours[key], old[key]) for ours, old in zip(self.ours, self.old) if key in ours and key in old]
        ratios = [old / ours for ours, old in pairs if ours > 0]
        return statistics.median(ratios) if ratios else None


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that so many percent of them do not exceed."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("nothing was measured")
    at = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(at) - 1)]


ROWS = (
    Row(
        "launch",
        "request → RunInstances on the wire, {workers} workers at once, no throttle",
        (Quantity("p50", "p50", "ms", 5), Quantity("p99", "p99", "ms", 50)),
        "From the start of each request to the arrival of its call at the door. On our side a request begins when "
        "a client opens its connection to the controller, on the other when Buildbot calls `substantiate`. "
        "A controller that cannot be told of raised limits gets as many cells as its own bursts of five need.",
    ),
    Row(
        "throttled",
        "the same under the published buckets, distinct AMIs",
        (
            Quantity("share", "last launch over the bucket's own limit", "×", 1.05, 2),
            Quantity("last", "last launch after", "s"),
            Quantity("refused", "calls refused", "%", 1, 2),
            Quantity("failed", "starts that failed", "", None, 0),
        ),
        "The limit is (workers − 5) / 2 s: five calls at once and two per second. Refused are calls of "
        "any action.",
    ),
    Row(
        "shared",
        "{workers} workers sharing one AMI, injected identity, published buckets",
        (Quantity("calls", "launch calls", "", 3, 0), Quantity("last", "last launch after", "s", 3)),
        "Calls of RunInstances that were not refused.",
    ),
    Row(
        "lifecycle",
        "calls per lifecycle, 20 s boots",
        (
            Quantity("one", "1 worker", "", 12, 2),
            Quantity("fifty", "{fifty} workers", "", 2.4, 2),
            Quantity("all", "{workers} workers", "", 2.15, 2),
        ),
        "All calls of every service, refused ones included, from the first request until the last instance is "
        "terminated and its master knows it, divided by the workers. Every instance is pending for 20 s; on our "
        "side its worker connects then, has a build for 5 s, and is released; on the other it is released when "
        "`start_instance` has returned.",
        is_slow=True,
    ),
    Row(
        "told",
        "in the same configuration: an instance dies while it is pending → master told",
        (Quantity("worst", "slowest", "s", 3),),
        "The answer to the long poll that the plugin keeps open, or the failure of `start_instance`.",
    ),
    Row(
        "admit",
        "worker connects → master's build may start (our share)",
        (Quantity("p50", "p50", "ms"), Quantity("p99", "p99", "ms", 10)),
        "The plugin's question whether to admit it, its look at the worker, and the report that it is attached, "
        "each on a connection of its own, as the plugin makes them.",
        "it asks nobody",
    ),
    Row(
        "death",
        "a running instance dies before its worker connects → master told",
        (Quantity("worst", "slowest", "s", 3),),
        "As above. Buildbot's own class hears of it from nobody: `missing_timeout` ends its wait, an hour by "
        "default. It is measured with 30 s, and the difference to the default added.",
    ),
    Row(
        "again",
        "stop → next start possible",
        (
            Quantity("worst", "slowest", "ms", 100),
            Quantity("beside", "slowest, beside EC2's answer to the end", "ms"),
        ),
        "On our side from the release of a running worker until the RunInstances of its next request is on the "
        "wire; on the other until `stop_instance` has returned, before which nothing can start. We wait for EC2's "
        "answer to the termination, which takes 200 ms here: until it is accepted the worker would have two "
        "instances if it were refused.",
    ),
    Row(
        "master",
        "master: memory and start-up per worker",
        (
            Quantity("memory", "memory", "MB", 0.2, 3),
            Quantity("cpu", "start-up, CPU", "ms", 2),
            Quantity("wall", "start-up, wall", "ms"),
        ),
        "Over as many workers of `AbstractLatentWorker` with nothing in them, which cost what Buildbot takes for "
        "any latent worker.",
    ),
    Row(
        "live1000",
        "controller with {few} live workers in {cells} cells, steady state",
        (
            Quantity("rss", "RSS", "MB", 40),
            Quantity("cpu", "CPU", "% of a core", 5),
            Quantity("calls", "calls to EC2", "/min", None, 0),
        ),
        "A cell is an account in a region. All workers are attached and every second one has a build; each "
        "thousand of them has a master, which reports and listens as the plugin does. Polling has its defaults.",
        "it has no controller",
    ),
    Row(
        "live10000",
        "controller with {many} live workers in {cells} cells, steady state",
        (
            Quantity("rss", "RSS", "MB", 100),
            Quantity("cpu", "CPU", "% of a core", 25),
            Quantity("calls", "calls to EC2", "/min", None, 0),
            Quantity("restart", "restart to reconciled", "s", 5),
        ),
        "As above. Reconciled is it when `ready` of its health says that every cell was listed, counted from the "
        "start of the process after a SIGKILL.",
        "it has no controller",
        is_slow=True,
    ),
    Row(
        "sweep",
        "sweep, {many} instances × 17 regions",
        (
            Quantity("calls", "calls over pages and acts", "×", 1.1, 2),
            Quantity("time", "time over the slowest region's pages", "×", 1.3, 2),
            Quantity("seconds", "seconds", "s"),
        ),
        "`latent sweep --all-regions`, looking only; the instances are spread over all regions. A region's pages "
        "take from the arrival of its first listing to the last answer.",
        "it has no sweep",
    ),
    Row(
        "ledger",
        "ledger: {days} days of {record} workers",
        (
            Quantity("start", "start", "s", 2),
            Quantity("audit", "audit of one month", "s", 3),
            Quantity("size", "file", "GB", 2, 2),
        ),
        "Made by `examples/year_ledger`, which opens it once more as a start does; a year of a thousand workers "
        "are ten million entries. The audit is `latent audit --offline` of thirty days, a report for each of "
        "three owners.",
        "it has no record",
    ),
)


def row_of(key: str) -> Row:
    """The row of this key."""
    return next(row for row in ROWS if row.key == key)
