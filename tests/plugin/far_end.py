"""Workers on instances: what a master has of them is a connection, and here is one without a network."""

from __future__ import annotations

from typing import Any, Optional

from buildbot.worker.protocols import base
from fake_record import address_of
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.python.failure import Failure
from twisted.spread import pb

# From the launch to the first knock; between two of them; how long a message takes; in seconds.
BOOT_S, RETRY_S, MESSAGE_S = 20.0, 10.0, 0.01


class GuestConnection(base.Connection):
    """A connection whose far end is a `Guest`."""

    def __init__(self, guest: Guest) -> None:
        super().__init__(guest.worker)
        self.guest = guest
        self.info: dict[str, Any] = {}
        self.lost = False
        # Whether its login is done: PB tells of the end of no other.
        self.let_in = False
        # Messages that are not answered yet.
        self._open: list[defer.Deferred] = []

    def get_peer(self) -> str:
        """As PB says it."""
        return f"{self.guest.address}:51234"

    def loseConnection(self) -> None:
        # A connection that is dead without a word is closed when TCP has given up, and not before.
        if not self.guest.severed:
            self.guest.reactor.callLater(0, self.lose)

    def lose(self) -> None:
        """It is lost, and this side knows."""
        if self.lost:
            return
        self.lost = True
        waiting, self._open = self._open, []
        for answer in waiting:
            answer.errback(Failure(pb.PBConnectionLost("lost connection")))
        if self.let_in:
            self.notifyDisconnected()
        self.guest.disconnected(self)

    def _say(self, message: str, value: Any = None) -> defer.Deferred:
        self.guest.heard.append(message)
        if self.lost:
            return defer.fail(pb.DeadReferenceError("Calling Stale Broker"))
        answer: defer.Deferred = defer.Deferred()
        self._open.append(answer)
        self.guest.reactor.callLater(MESSAGE_S, self._heard, message, answer, value)
        return answer

    def _heard(self, message: str, answer: defer.Deferred, value: Any) -> None:
        if self.guest.severed or message in self.guest.ignores or answer not in self._open:
            return
        self._open.remove(answer)
        trouble = self.guest.troubles.get(message)
        if trouble is not None:
            answer.errback(Failure(trouble))
        else:
            answer.callback(value)

    # What a master may ask of a worker.

    def remotePrint(self, message: str) -> defer.Deferred:
        return self._say(f"print {message}")

    def remoteGetWorkerInfo(self) -> defer.Deferred:
        return self._say("info", dict(self.guest.info))

    def remoteSetBuilderList(self, builders: list) -> defer.Deferred:
        return self._say("builders", [name for name, _ in builders])

    def remoteStartBuild(self, builderName: str) -> defer.Deferred:
        return self._say("start build")

    def remoteInterruptCommand(self, *_: Any) -> defer.Deferred:
        return self._say("interrupt")

    def remoteShutdown(self) -> defer.Deferred:
        if "shutdown" not in self.guest.ignores:
            self.guest.reactor.callLater(MESSAGE_S, self.guest.exit)
        # A connection that is lost is what was asked for; PB's own class says so too.
        return self._say("shutdown").addErrback(lambda failure: failure.trap(pb.PBConnectionLost) and None)


class Guest:
    """A worker's process on an instance: it knocks until it is let in, as long as the instance lives."""

    def __init__(self, case: Any, worker: str, instance: str) -> None:
        self.reactor = case.reactor
        self._case = case
        self.worker = worker
        self.instance = instance
        self.address = address_of(instance)
        self.info: dict[str, Any] = {
            "basedir": "/home/buildbot/worker",
            "system": "posix",
            "version": "4.3.0",
            "worker_commands": {},
            "environ": {},
        }
        # Its service manager starts it again when it ends.
        self.restarts = case.restarts
        self.lives = True
        self.conn: Optional[GuestConnection] = None
        # The host is gone without a farewell: nothing is answered, and nobody is told.
        self.severed = False
        # Messages that are refused, or never answered.
        self.troubles: dict[str, Exception] = {}
        self.ignores: set[str] = set()
        self.heard: list[str] = []
        # How often it was turned away; and the refusals at which its process has ended.
        self.refused = 0
        self.ended_at: list[str] = []
        self._timer: Any = None

    def boot(self, seconds: float = BOOT_S) -> None:
        """Its first knock comes after a while."""
        self._timer = self.reactor.callLater(seconds, self.knock)

    def owns(self, timer: Any) -> bool:
        """Whether something due is its own."""
        return timer is self._timer

    def knock(self) -> None:
        """It connects, and is let in or turned away; turned away, it knocks again after a while."""
        if not self.lives or self.conn is not None:
            return
        if not self._case.master.running:
            self._timer = self.reactor.callLater(RETRY_S, self.knock)
            return
        conn = self.conn = GuestConnection(self)
        self._let_in(conn, self._case.master.workers).addErrback(self._turned_away, conn)

    @defer.inlineCallbacks
    def _let_in(self, conn: GuestConnection, manager: Any) -> Any:
        """What PB's login does, once name and password are right."""
        if self.worker not in manager.registrations:
            raise UnauthorizedLogin()
        worker = manager.getWorkerByName(self.worker)
        yield manager.newConnection(conn, self.worker)
        yield worker.attached(conn)
        conn.let_in = True

    def _turned_away(self, failure: Failure, conn: GuestConnection) -> None:
        """What `buildbot-worker` does when its login fails: it ends, but for two reasons."""
        self.refused += 1
        if conn.lost or self.severed:
            # It has noticed that by itself, or hears nothing at all.
            return
        if failure.check(UnauthorizedLogin, pb.PBConnectionLost):
            conn.loseConnection()
        else:
            self.ended_at.append(failure.getErrorMessage())
            self.exit()

    def disconnected(self, conn: GuestConnection) -> None:
        """The connection is lost; it knocks again as long as it lives."""
        if self.conn is conn:
            self.conn = None
            if self.lives:
                self._timer = self.reactor.callLater(RETRY_S, self.knock)

    def cut(self) -> None:
        """The connection breaks, and both sides notice: its process ends, a cable, a TCP that gives up."""
        if self.conn is not None:
            self.conn.lose()

    def exit(self) -> None:
        """Its process ends; its service manager may start another."""
        self.lives = self.restarts
        self.cut()

    def orphan(self) -> None:
        """Its master's process is gone; the connection with it."""
        conn, self.conn = self.conn, None
        if conn is not None:
            conn.lost = True
            self._timer = self.reactor.callLater(RETRY_S, self.knock)

    def die(self, in_silence: bool = False) -> None:
        """Its instance is no more."""
        self.lives = False
        self.severed = in_silence
        if not in_silence:
            self.cut()

    @property
    def connected(self) -> bool:
        """Whether it has a connection that both sides hold for good."""
        return self.conn is not None and not self.conn.lost and not self.severed
