"""What may become of a connection, and who is let in."""

from __future__ import annotations

from case import RETRY, STARTED_S, SUCCESS, PluginCase, buildbot_case
from far_end import RETRY_S, Guest
from twisted.internet import defer
from twisted.spread import pb

QUARANTINE_S = 10


class CannotMakeFolder(Exception):
    """What a worker says whose disk is full."""


class WhilePreparing(PluginCase):
    """A worker connects, and then something is wrong with it."""

    def _stumbles(self, message: str) -> None:
        """The first worker refuses this message; the next one is well."""
        launched = self.controller.on_launched

        def prepare(worker: str, instance: str) -> None:
            launched(worker, instance)
            if instance == "i-1":
                self.guests[instance].troubles[message] = CannotMakeFolder("can't create dir")

        self.controller.on_launched = prepare

    def _is_tried_again(self) -> None:
        self.logged(CannotMakeFolder)
        assert self.results() == [RETRY]
        assert "can't create dir" in self.preparation()
        self._runs_in_the_end()

    def _runs_in_the_end(self) -> None:
        """It may meet the same worker again before the next one."""
        self.pass_until(lambda: self.steps["b1"].running, 5 * QUARANTINE_S + 2 * STARTED_S, "the next try")
        self.flushLoggedErrors(CannotMakeFolder)
        self.finish()
        *before, last = self.results()
        assert set(before) == {RETRY}
        assert last == SUCCESS

    @buildbot_case("failed_sendBuilderList_get_requeued")
    def test_it_refuses_its_builders(self) -> None:
        self._stumbles("builders")
        self.start_master()
        request = self.ask()
        self.pass_time(STARTED_S)
        assert not self.is_claimed(request)
        self._is_tried_again()

    @buildbot_case("failed_ping_get_requeued")
    def test_it_fails_the_ping(self) -> None:
        self._stumbles("print ping")
        self.start_master()
        request = self.ask()
        self.pass_time(STARTED_S)
        assert not self.is_claimed(request)
        self._is_tried_again()

    def test_it_refuses_the_build_once(self) -> None:
        self._stumbles("start build")
        self.start_master()
        self.ask()
        self.pass_time(STARTED_S)
        # It stays connected, and Buildbot tries it again.
        self.guest().troubles = {}
        self._is_tried_again()

    @buildbot_case("sever_connection_before_ping_then_timeout_get_requeued")
    def test_it_is_dead_before_the_ping_and_tcp_gives_up_later(self) -> None:
        self.start_master(build_wait_timeout=1)
        self.ask()
        self.pass_time(2.5)
        first = self.guest()
        first.ignores = {"print ping"}
        self.pass_time(STARTED_S)
        assert "print ping" in first.heard
        first.severed = True
        self.pass_time(100)
        assert self.results() == [None]
        first.cut()
        self.pass_time(1)
        self.logged(pb.PBConnectionLost)
        assert self.results() == [RETRY]
        self.pass_until(lambda: self.steps["b1"].running, QUARANTINE_S + 2 * STARTED_S, "the next try")
        self.finish()
        assert self.results() == [RETRY, SUCCESS]

    def test_the_connection_breaks_while_builders_are_told(self) -> None:
        self.start_master()
        self.ask()
        self.pass_time(2.5)
        self.guest().ignores = {"builders"}
        self.pass_time(STARTED_S)
        self.guest().ignores = set()
        self.guest().cut()
        self.pass_time(1)
        self.lost_connection_logged()
        self.pass_until(lambda: self.steps["b1"].running, QUARANTINE_S + 2 * STARTED_S, "the next try")


class WhileBuilding(PluginCase):
    """A worker is lost in the middle of a build."""

    @buildbot_case("worker_close_connection_while_building")
    def test_the_build_is_tried_again(self) -> None:
        self.start_master(build_wait_timeout=0)
        guest = self.bring_up()
        self.guest().lives = False
        guest.cut()
        self.lost_connection_logged()
        self.pass_time(1)
        assert self.results()[0] == RETRY
        self.pass_until(lambda: self.steps["b1"].running, 2 * STARTED_S, "the next try")
        self.finish()
        assert self.results() == [RETRY, SUCCESS]

    @buildbot_case("sever_connection_while_building")
    def test_the_build_is_tried_again_when_tcp_gives_up(self) -> None:
        self.start_master(build_wait_timeout=0)
        guest = self.bring_up()
        guest.severed = True
        self.pass_time(100)
        assert self.results() == [None]
        guest.cut()
        self.pass_time(1)
        self.lost_connection_logged()
        assert self.results()[0] == RETRY
        self.pass_until(lambda: self.steps["b1"].running, 2 * STARTED_S, "the next try")
        self.finish()
        assert self.results() == [RETRY, SUCCESS]

    def test_a_host_that_ends_without_a_farewell_is_noticed_by_the_listing(self) -> None:
        self.start_master()
        guest = self.bring_up()
        self.controller.on_ended = lambda instance: guest.die(in_silence=True)
        self.controller.lose("w1")
        # TCP would notice in hours; a transport closes on the master's side at once.
        guest.severed = False
        self.pass_time(2)
        self.lost_connection_logged()
        assert self.results()[0] == RETRY
        self.controller.on_ended = self._ended
        self.pass_until(lambda: self.steps["b1"].running, 2 * STARTED_S, "the next try")
        assert self.launches == 2

    def test_the_build_is_tried_again_after_a_short_loss(self) -> None:
        self.start_master()
        guest = self.bring_up()
        guest.cut()
        self.pass_time(1)
        self.lost_connection_logged()
        assert self.results()[0] == RETRY
        self.pass_until(lambda: self.steps["b1"].running, RETRY_S + 2 * STARTED_S, "the next try")
        self.finish()
        assert self.results() == [RETRY, SUCCESS]

    def test_the_same_instance_serves_when_the_wish_comes_before_its_end(self) -> None:
        self.controller.look_s = 1
        self.start_master()
        guest = self.bring_up()
        guest.cut()
        self.lost_connection_logged()
        self.pass_until(lambda: self.results() == [RETRY, None], 5, "the next try")
        self.pass_until(lambda: self.steps["b1"].running, RETRY_S + 5, "the worker to be back")
        self.finish()
        assert self.launches == 1

    def test_an_idle_worker_that_is_lost_comes_back_for_the_next_build(self) -> None:
        self.start_master()
        guest = self.bring_up_idle()
        guest.cut()
        self.pass_time(1)
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]


class WhileAttached(PluginCase):
    """Something is wrong in the middle of a login: PB tells the master of the end of no such connection."""

    def _is_back(self) -> None:
        self.pass_time(RETRY_S + 2)
        assert self.guest().connected and self.guest().ended_at == []
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]
        assert self.launches == 1

    def test_one_that_comes_back_and_refuses_its_builders_knocks_again(self) -> None:
        self.start_master()
        guest = self.bring_up_idle()
        guest.troubles["builders"] = CannotMakeFolder("can't create dir")
        guest.cut()
        self.pass_time(RETRY_S + 1)
        assert guest.refused == 1 and self.worker().conn is None
        assert not self.seen()["connected_to"]
        guest.troubles = {}
        self._is_back()

    def _comes_back_and_is_told_its_builders(self) -> Guest:
        """Which it does not answer."""
        self.start_master()
        guest = self.bring_up_idle()
        guest.ignores = {"builders"}
        guest.cut()
        self.pass_time(RETRY_S + 1)
        assert self.worker().conn is not None
        return guest

    def test_one_that_comes_back_and_is_lost_again_meanwhile_knocks_again(self) -> None:
        guest = self._comes_back_and_is_told_its_builders()
        guest.cut()
        assert self.worker().conn is None
        guest.ignores = set()
        self._is_back()

    def test_the_master_stops_while_one_comes_back(self) -> None:
        guest = self._comes_back_and_is_told_its_builders()
        self.stop_master()
        assert guest.ended_at == []

    def test_one_that_is_lost_while_its_first_login_is_written_down(self) -> None:
        written: defer.Deferred = defer.Deferred()
        self.start_master()
        self.patch(self.master.data.updates, "workerConnected", lambda **_: written)
        self.ask()
        self.pass_until(lambda: self.worker().conn is not None, STARTED_S, "the worker")
        self.guest().lives = False
        self.guest().cut()
        written.callback(None)
        self.pass_time(1)
        assert self.worker().conn is None
        self.lost_connection_logged()
        self.pass_until(lambda: self.steps["b1"].running, QUARANTINE_S + 2 * STARTED_S, "the next try")
        self.finish()
        assert self.results() == [RETRY, SUCCESS]


class AtTheDoor(PluginCase):
    """Whoever knocks is asked for at the controller."""

    def _knocks(self, guest: Guest) -> None:
        guest.knock()
        self.pass_time(1)

    def test_the_twin_of_an_earlier_instance_is_turned_away(self) -> None:
        self.boots = False
        self.start_master()
        self.ask()
        self.pass_time(5)
        self.controller.admission.update(admit=False, why="10.0.0.99 is not an address of i-1", twin="i-99")
        stale = self._stale("i-99")
        self._knocks(stale)
        assert stale.refused == 1
        self.flushLoggedErrors(RuntimeError)
        stale.lives = False
        self.controller.admission.update(admit=True, why=None, twin=None)
        self._knocks(self.guest_on("i-1"))
        self.pass_time(2)
        assert self.steps["b1"].running
        assert any("10.0.0.99 is not an address of i-1" in line for line in self.lines)

    def _stale(self, instance: str) -> Guest:
        """A worker of this name on an instance that the controller does not mean."""
        guest = self.guests[instance] = Guest(self, "w1", instance)
        return guest

    def test_before_the_start_is_answered_one_on_an_ending_instance_is_turned_away(self) -> None:
        self.start_master(build_wait_timeout=0)
        first = self.bring_up()
        self.controller.launch_s = None
        # It outlives its instance's end in the record: EC2 takes its time.
        self.controller.on_ended = lambda instance: None
        self.finish()
        self.ask()
        self.pass_time(2)
        assert self.record().state == "launching"
        first.cut()
        self.pass_time(2)
        assert not self.steps["b1"].running

    def test_one_that_knocks_while_it_is_let_go_is_turned_away_and_its_process_goes_on(self) -> None:
        self.start_master(build_wait_timeout=1)
        guest = self.bring_up()
        for path in ("/release", "/report"):
            self.controller.hold(path)
        self.finish()
        self.pass_time(RETRY_S + 5)
        # The controller has not heard of it, and would let it in.
        assert self.record().state != "gone" and guest.refused == 1
        assert any("not ready for it: INSUBSTANTIATING" in line for line in self.lines)
        assert guest.ended_at == []
        for path in ("/release", "/report"):
            self.controller.let_through(path)
        self.pass_time(1)
        # A stop of the worker would wait for what is not done.
        assert not self.worker()._deferwaiter.has_waited()

    def test_one_that_nobody_asked_for_is_turned_away(self) -> None:
        self.start_master()
        guest = self._stale("i-7")
        self._knocks(guest)
        assert guest.refused == 1
        guest.lives = False
        self.pass_time(1)
        self.flushLoggedErrors(RuntimeError)
        assert self.worker().conn is None
        self.run_build()
        assert self.results() == [SUCCESS]

    def test_of_two_at_once_the_first_is_let_in_and_no_build_is_lost(self) -> None:
        self.boots = False
        self.start_master()
        self.ask()
        self.pass_time(5)
        first, second = self.guest_on("i-1"), self._stale("i-8")
        first.knock()
        second.knock()
        self.pass_time(2)
        assert first.connected
        assert not second.connected
        second.lives = False
        self.flushLoggedErrors(RuntimeError)
        self.pass_time(2)
        assert self.steps["b1"].running
        self.finish()
        assert self.results() == [SUCCESS]
        # Buildbot's own list of connections has one place for each name, and two were in it.
        first.cut()
        self.flushLoggedErrors(KeyError)

    def test_a_second_one_is_turned_away_while_the_first_is_well(self) -> None:
        self.start_master()
        first = self.bring_up()
        second = self._stale("i-8")
        self._knocks(second)
        assert (first.connected, second.refused) == (True, 1)
        second.lives = False
        self.flushLoggedErrors(RuntimeError)
        assert self.results() == [None]

    def test_a_second_one_takes_the_place_of_one_that_does_not_answer(self) -> None:
        self.start_master()
        guest = self.bring_up_idle()
        guest.ignores = {"print master got a duplicate connection"}
        again = Guest(self, "w1", "i-1")
        self.guests["again"] = again
        guest.lives = False
        again.knock()
        self.pass_time(30)
        self.lost_connection_logged()
        self.flushLoggedErrors(RuntimeError, defer.CancelledError)
        self.run_build()
        assert self.results() == [SUCCESS, SUCCESS]

    def test_one_that_knocks_while_the_controller_is_silent_is_let_in_later(self) -> None:
        self.start_master()
        self.bring_up_idle()
        self.kill_master()
        self.controller.mute = True
        self.start_master()
        self.pass_time(30)
        assert self.worker().conn is None
        self.flushLoggedErrors(RuntimeError)
        self.controller.mute = False
        self.pass_time(60)
        assert self.guest().connected
        assert self.launches == 1
        self.flushLoggedErrors(RuntimeError)

    def guest_on(self, instance: str) -> Guest:
        """The worker on an instance."""
        return self.guests[instance]
