"""Who is told of a worker that does not come."""

from __future__ import annotations

from typing import Any

from case import STARTED_S, PluginCase
from twisted.internet import defer


class Told(PluginCase):
    """`notify_on_missing`."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[dict[str, Any]] = []

    def _begin(self, **options: Any) -> None:
        self.start_master(**options)
        heard = self.master.mq.startConsuming(lambda _, said: self.told.append(said), ("workers", None, "missing"))
        self.done(heard)

    def test_the_owner_is_told_when_it_never_connects(self) -> None:
        self.boots = False
        self._begin(notify_on_missing="owner@example.org", missing_timeout=120)
        self.ask()
        self.pass_time(125)
        self.logged(defer.TimeoutError)
        assert [said["notify"] for said in self.told] == [["owner@example.org"]]
        assert self.told[0]["name"] == "w1"

    def test_nobody_is_told_who_did_not_ask(self) -> None:
        self.boots = False
        self._begin(missing_timeout=120)
        self.ask()
        self.pass_time(125)
        self.logged(defer.TimeoutError)
        assert self.told == []

    def test_a_worker_that_sleeps_is_not_missing(self) -> None:
        self._begin(notify_on_missing="owner@example.org", missing_timeout=120)
        self.pass_time(600)
        self.run_build()
        self.pass_time(self.policy.idle_timeout + 600)
        assert self.record().state == "gone"
        assert self.told == []

    def test_one_that_comes_in_time_is_not_missing(self) -> None:
        self._begin(notify_on_missing="owner@example.org", missing_timeout=STARTED_S + 10)
        self.bring_up()
        self.pass_time(600)
        assert self.told == []
