"""Whom Buildbot's distributor looks at, and when, for our workers' sake: rarely, and never too rarely."""

from __future__ import annotations

from typing import Any

from buildbot.data.connector import DataConnector
from buildbot.test.fake.step import BuildStepController
from buildbot_latent.asking import SPACING_S
from case import SUCCESS, PluginCase

MANY = tuple(f"w{number}" for number in range(30))


class Counted(PluginCase):
    """A master whose distributor is watched."""

    def setUp(self) -> None:
        super().setUp()
        # What the distributor has looked at, by the master's own choice of the order.
        self.looks: list[list[str]] = []

    def config(self) -> dict[str, Any]:
        def order(_master: Any, builders: list[Any]) -> list[Any]:
            self.looks.append(sorted(builder.name for builder in builders))
            return builders

        return {**super().config(), "prioritizeBuilders": order}

    def leave(self, builder: str) -> None:
        """An earlier life of the master leaves a request that it has given to nobody."""
        self.start_master()
        self.done(self.master.botmaster.brd.disownServiceParent())
        self.done(self.ask_only(builder))
        link = self.worker(self.names[0])._link
        self.kill_master()
        # What it waits for may come; the dead do not speak.
        link.workers.clear()


class Starting(Counted):
    """A master that starts while requests wait in its database."""

    def test_a_request_that_waited_begins_by_itself(self) -> None:
        """Nothing else happens then than the start."""
        self.leave("b1")
        self.start_master()
        self.pass_until(lambda: self.steps["b1"].running, 60, "the build to run")
        self.finish()
        assert self.results() == [SUCCESS]

    def test_all_are_looked_at_if_it_cannot_be_asked_where_requests_wait(self) -> None:
        """The database fails once."""
        self.leave("b1")
        self.begin_with_a_database_that_fails()
        self.pass_until(lambda: self.steps["b1"].running, 60, "the build to run")
        assert len(self.flushLoggedErrors(OSError)) == 1
        self.finish()

    def begin_with_a_database_that_fails(self) -> None:
        """The next master's first question for all requests is not answered."""
        real, failed = DataConnector.get, []

        def get(data: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
            if tuple(path) == ("buildrequests",) and not failed:
                failed.append(path)
                raise OSError("disk I/O error")
            return real(data, path, *args, **kwargs)

        self.patch(DataConnector, "get", get)
        self.start_master()
        assert failed


class ManyStarting(Counted):
    """The same with many workers, a builder for each."""

    names = MANY
    builders = {f"b{name}": [name] for name in MANY}

    def setUp(self) -> None:
        super().setUp()
        self.steps = {name: BuildStepController() for name in self.builders}

    def test_where_nothing_waits_nobody_looks_again(self) -> None:
        """Buildbot itself looks once, at all."""
        self.start_master()
        self.pass_time(5)
        assert self.looks == [sorted(self.builders)]

    def test_where_something_waits_that_alone_is_looked_at(self) -> None:
        """Of the last worker, which comes while the others are waited for."""
        last = f"b{MANY[-1]}"
        self.leave(last)
        self.looks.clear()
        self.start_master()
        self.pass_until(lambda: self.launches, 10, "the launch")
        assert self.looks == [sorted(self.builders), [last]]
        assert [worker for worker, _ in self.controller.launched] == [MANY[-1]]
        self.pass_until(lambda: self.steps[last].running, 60, "the build to run")
        self.finish(last)


class Joining(PluginCase):
    """A worker, or a builder, that a reconfiguration adds."""

    names = ("w1", "w2")
    builders = {"b1": ["w1"], "b2": ["w1"]}

    def test_one_that_is_added_gets_a_build_that_waits(self) -> None:
        """The other is at work."""
        self.names = ("w1",)
        self.start_master(max_builds=1)
        self.ask("b1")
        self.pass_until(lambda: self.steps["b1"].running, 60, "the first build to run")
        self.ask("b2")
        self.pass_time(5)
        assert not self.steps["b2"].running
        self.names, self.builders = ("w1", "w2"), {"b1": ["w1"], "b2": ["w1", "w2"]}
        self.reconfigure()
        self.pass_until(lambda: self.steps["b2"].running, 60, "the second build to run")
        self.finish("b1")
        self.finish("b2")

    def test_a_builder_that_is_given_a_worker_does_what_waits(self) -> None:
        """The worker has been there before, and so has the request."""
        self.start_master(max_builds=1)
        self.ask("b1")
        self.pass_until(lambda: self.steps["b1"].running, 60, "the first build to run")
        self.ask("b2")
        self.builders = {"b1": ["w1"], "b2": ["w1", "w2"]}
        self.reconfigure()
        self.pass_until(lambda: self.steps["b2"].running, 60, "the second build to run")
        self.finish("b1")
        self.finish("b2")

    def test_the_next_build_begins_soon_after_the_last(self) -> None:
        """Also when it was asked a moment ago where requests wait."""
        self.start_master(max_builds=1)
        self.ask("b1")
        self.pass_until(lambda: self.steps["b1"].running, 60, "the first build to run")
        self.ask("b2")
        self.botmaster_is_asked()
        self.steps["b1"].finish_step(SUCCESS)
        self.pass_time(2 * SPACING_S)
        assert self.steps["b2"].running
        self.finish("b2")

    def botmaster_is_asked(self) -> None:
        """As for any worker that is free again."""
        self.worker().botmaster.maybeStartBuildsForWorker("w1")
