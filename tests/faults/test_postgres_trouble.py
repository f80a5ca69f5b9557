"""Postgres crashing, away for long, hanging up, or behind PgBouncer: rows 8 to 10 of the matrix."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.database import transaction
from app.errors import Unavailable
from app.formats import own
from app.sandbox.embedded_postgres import EmbeddedPostgres
from app.sandbox.pinterest import PinterestSimulator
from app.sandbox.sample_traffic import sample_calls
from app.staging import Intake, stage
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import Fleet, crash, eventually, happens, make_fleet, pool_of, read_log
from tests.faults.aftermath import (
    AUDIENCES,
    assert_all_is_right,
    make_busy,
    stage_both,
    writes_go_on,
)
from tests.faults.bouncer import bouncer
from tests.workshop import emails, open_workshop

IN_EACH_SESSION = (
    *("statement_timeout", "idle_in_transaction_session_timeout"),
    *("timezone", "default_transaction_isolation"),
)
AWAY = "Postgres cannot be reached"


@pytest.fixture
def fragile(
    tmp_path: Path, own_postgres: EmbeddedPostgres, valkey_url: str, simulator: PinterestSimulator
) -> Iterator[Fleet]:
    """A busy fleet on that Postgres."""
    settings = {"PINFOLD_RECORDS_PER_REQUEST": "120"}
    fleet = make_fleet(tmp_path, own_postgres.url(), valkey_url, simulator, **settings)
    try:
        make_busy(fleet)
        yield fleet
    finally:
        fleet.stop()


def start(server: EmbeddedPostgres, fleet: Fleet) -> None:
    server.start()
    fleet.deployment.engine.dispose()


def test_postgres_crashing_again_and_again_in_the_midst_of_work_loses_and_spoils_nothing(
    fragile: Fleet, own_postgres: EmbeddedPostgres
) -> None:
    worker, beat = fragile.worker(), fragile.beat()
    stage_both(fragile)
    for _ in range(4):
        writes_go_on(fragile)
        crash(own_postgres)
        start(own_postgres, fragile)
    assert_all_is_right(fragile)
    assert not worker.died()
    assert not beat.died()


def test_while_postgres_is_away_workers_wait_and_none_of_them_dies(
    fragile: Fleet, own_postgres: EmbeddedPostgres
) -> None:
    worker, beat = fragile.worker(), fragile.beat()
    stage_both(fragile)
    writes_go_on(fragile)
    pool = pool_of(worker)
    crash(own_postgres)
    happens(lambda: read_log(worker.log).count(AWAY) >= 10)
    sent = fragile.writes()
    happens(lambda: read_log(worker.log).count(AWAY) >= 20)
    assert fragile.writes() == sent, "something was sent that could not be charged"
    start(own_postgres, fragile)
    assert_all_is_right(fragile)
    assert not worker.died()
    assert not beat.died()
    assert pool_of(worker) == pool


HANG_UP = """
    SELECT count(pg_terminate_backend(pid)) FROM (
        SELECT pid FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
           AND backend_type = 'client backend' ORDER BY random() LIMIT 1) AS one
"""


def stage_insisting(fleet: Fleet) -> int:
    """Stage traffic as a careful caller does: each call again, under its key, until it is
    answered; how many calls that were."""
    intake = Intake(fleet.deployment, "test")
    calls = [
        (f"{upstream_id} {number}", call)
        for seed, upstream_id in enumerate(AUDIENCES, 1)
        for number, call in enumerate(sample_calls(upstream_id, 4_000, seed, fleet.reckoning))
    ]
    for key, call in calls:
        events = [event for message in call for event in own.read(message).events]
        for tries in itertools.count():
            try:
                stage(intake, events, dedupe_key=key)
                break
            except Unavailable:
                assert tries < 200, "never answered"
    return len(calls)


def hang_up(direct: sa.Engine) -> None:
    with transaction(direct) as tx:
        tx.execute(sa.text(HANG_UP))


@pytest.mark.parametrize("way", ["direct", pytest.param("PgBouncer", marks=pytest.mark.pgbouncer)])
def test_sessions_ended_at_random_lose_and_spoil_nothing(
    fleets: FleetMaker, valkey_url: str, fresh_database: str, way: str
) -> None:
    direct = sa.create_engine(fresh_database, poolclass=sa.NullPool)
    with bouncer(fresh_database) if way == "PgBouncer" else nullcontext(fresh_database) as address:
        fleet = fleets(valkey_url, PINFOLD_DATABASE_URL=address, PINFOLD_RECORDS_PER_REQUEST="120")
        make_busy(fleet)
        fleet.worker()
        fleet.beat()
        with ThreadPoolExecutor(1) as threads:
            staging = threads.submit(stage_insisting, fleet)
            while not eventually(staging.done, 0.1):
                hang_up(direct)
        for _ in range(15):
            hang_up(direct)
            writes_may_go_on(fleet)
        fleet.deployment.engine.dispose()
        assert_all_is_right(fleet)
        assert fleet.count("SELECT count(*) FROM receipt") == staging.result()
        fleet.stop()


def writes_may_go_on(fleet: Fleet) -> None:
    """Wait until another request arrives, if there is one to come."""
    sent = fleet.writes()
    eventually(lambda: fleet.writes() > sent, 3)


@pytest.mark.pgbouncer
def test_what_each_session_needs_is_in_force_behind_pgbouncer_too(
    fresh_database: str, simulator: PinterestSimulator
) -> None:
    with bouncer(fresh_database) as address, open_workshop(address, simulator) as workshop:
        shown = [workshop.value(f"SHOW {name}") for name in IN_EACH_SESSION]
        assert shown == ["1min", "1min", "UTC", "read committed"]
        audience_id = workshop.ready()
        workshop.upload(audience_id, *emails(range(5)))
        assert len(workshop.members()) == 5
        workshop.assert_books_balance()
