"""Upgrades while all runs: what a migration may do, whom it waits for, who is turned away."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import event

from app import migrate
from app.books import read_books
from app.errors import ConfigError, Unavailable
from app.migrate import left_out, upgrade
from app.processes import Presence
from app.revisions import Step, alembic_config, needed_revision, steps, steps_after
from app.sandbox.pinterest import PinterestSimulator
from tests.catalog import DEMANDS, FUNCTIONS, PARTS, TABLES, lines, migrate_to
from tests.integration.processes import eventually
from tests.workshop import Workshop, emails, open_workshop

EXPANDING = [step for step in steps() if step.breaks_before is None]
CONTRACTING = [step for step in steps() if step.breaks_before is not None]
CONTRACT = CONTRACTING[-1]
NEWEST = steps()[-1].revision
BEFORE = steps()[steps().index(CONTRACT) - 1].revision
UNKNOWN, NEWER = "9999", "9998"
"""Revisions of versions to come: where their database stands, and the oldest it serves."""


# What a migration may do.


def revision_of(step: Step) -> str:
    return step.revision


def taken_and_demanded(database_url: str, step: Step) -> set[str]:
    """What code of the version before misses after a step, or does not know that it must give."""
    place = steps().index(step)
    if place:
        migrate_to(database_url, steps()[place - 1].revision)
    parts, demands = (
        lines(database_url, PARTS + " UNION ALL " + FUNCTIONS),
        lines(database_url, DEMANDS),
    )
    tables = lines(database_url, TABLES)
    migrate_to(database_url, step.revision)
    left = lines(database_url, PARTS + " UNION ALL " + FUNCTIONS)
    taken = {part for part in parts - left if not any(widens(each, part) for each in left)}
    more = lines(database_url, DEMANDS) - demands
    return taken | {line for line in more if line.partition(":")[0].split()[-1] in tables}


def widens(later: str, earlier: str) -> bool:
    """Whether a constraint is the same with more values allowed."""
    (name, values), (before, fewer) = (
        (part.partition(":")[0], set(re.findall(r"'(\w[^']*)'::text", part)))
        for part in (later, earlier)
    )
    return name == before and bool(fewer) and fewer < values


@pytest.mark.parametrize("step", EXPANDING, ids=revision_of)
def test_an_expanding_migration_takes_nothing_away_and_demands_nothing_new(
    empty_database: str, step: Step
) -> None:
    assert taken_and_demanded(empty_database, step) == set()


@pytest.mark.parametrize("step", CONTRACTING, ids=revision_of)
def test_a_contracting_migration_says_so_with_reason(empty_database: str, step: Step) -> None:
    assert taken_and_demanded(empty_database, step) != set()


@pytest.mark.parametrize("step", CONTRACTING, ids=revision_of)
def test_a_contracting_migration_names_an_expanding_one_before_it(step: Step) -> None:
    earlier = steps()[: steps().index(step)]
    assert step.breaks_before in [before.revision for before in earlier if before in EXPANDING]
    named = [each.breaks_before for each in CONTRACTING]
    assert named == sorted(named, key=str)


# Whom it waits for.


@pytest.fixture
def expanded(empty_database: str, simulator: PinterestSimulator) -> Iterator[Workshop]:
    """A workshop on a database that lacks the last contracting step alone."""
    migrate_to(empty_database, BEFORE)
    with open_workshop(empty_database, simulator) as workshop:
        yield workshop


def url_of(workshop: Workshop) -> str:
    return workshop.deployment.settings.require_database_url()


def standing(workshop: Workshop) -> str:
    return str(workshop.value("SELECT version_num FROM alembic_version"))


def note(workshop: Workshop, revision: str | None, ago: str = "20 s") -> None:
    workshop.execute(
        "INSERT INTO process (name, kind, key_ids, schema_revision, seen_at)"
        " VALUES ('worker w@old:1', 'worker', '{}', :r, now() - CAST(:ago AS interval))",
        r=revision,
        ago=ago,
    )


@pytest.mark.parametrize("revision", [None, "0002"])
def test_a_contracting_step_waits_for_a_process_of_an_older_version(
    expanded: Workshop, revision: str | None
) -> None:
    note(expanded, revision)
    done = upgrade(url_of(expanded))
    assert (done.revision, done.left_out) == (BEFORE, list(steps_after(BEFORE)))
    ((name, ago),) = [(older.name, older.seen_ago) for older in done.older]
    assert name == "worker w@old:1"
    assert 20 <= ago.total_seconds() < 300
    assert standing(expanded) == BEFORE
    assert expanded.value("SELECT revision FROM oldest_code") == "0001"  # as it was
    expanded.execute("DELETE FROM process")
    assert upgrade(url_of(expanded)).left_out == []
    assert standing(expanded) == NEWEST
    assert expanded.value("SELECT revision FROM oldest_code") == CONTRACT.breaks_before


@pytest.mark.parametrize(
    ("revision", "ago"),
    [
        pytest.param(needed_revision(), "20 s", id="of this version"),
        pytest.param(UNKNOWN, "20 s", id="of a newer version"),
        pytest.param(None, "6 min", id="gone"),
    ],
)
def test_a_contracting_step_waits_for_nobody_else(
    expanded: Workshop, revision: str | None, ago: str
) -> None:
    note(expanded, revision, ago)
    assert upgrade(url_of(expanded)).left_out == []


def test_an_older_process_is_not_waited_for_where_that_is_asked(expanded: Workshop) -> None:
    note(expanded, None)
    assert upgrade(url_of(expanded), contract_anyway=True).revision == NEWEST


def test_expanding_steps_are_run_whatever_runs(
    empty_database: str, simulator: PinterestSimulator
) -> None:
    migrate_to(empty_database, "0002")
    with open_workshop(empty_database, simulator) as workshop:
        workshop.execute(
            "INSERT INTO process (name, kind, key_ids) VALUES ('api old:7', 'api', '{}')"
        )
        done = upgrade(empty_database)
        assert done.revision == BEFORE
        assert [older.name for older in done.older] == ["api old:7"]


def test_what_was_left_out_is_known_afterwards(expanded: Workshop) -> None:
    note(expanded, None)
    with expanded.transaction() as tx:
        found = left_out(tx)
    assert found.left_out == list(steps_after(BEFORE))
    assert [older.name for older in found.older] == ["worker w@old:1"]
    upgrade(url_of(expanded), contract_anyway=True)
    with expanded.transaction() as tx:
        assert left_out(tx).left_out == []


# Who notes itself while a contracting step begins.


@contextmanager
def of_a_version(monkeypatch: pytest.MonkeyPatch, newest: str) -> Iterator[None]:
    """The code knows no revision after one, as that version's code does not."""
    known = steps()[: [step.revision for step in steps()].index(newest) + 1]
    with monkeypatch.context() as patched:
        patched.setattr("app.revisions.steps", lambda: known)
        patched.setattr("app.processes.steps", lambda: known)
        yield


def waits_for_a_lock(workshop: Workshop) -> bool:
    return bool(workshop.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))


def test_a_process_that_is_just_being_noted_is_seen(
    expanded: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = Presence(expanded.deployment, "worker", "w@old:1")
    keys = expanded.deployment.keyring.key_ids
    with ThreadPoolExecutor(1) as pool:
        with expanded.transaction() as tx:
            with of_a_version(monkeypatch, "0003"):
                older._note(tx, keys)
            migrating = pool.submit(upgrade, url_of(expanded))
            assert eventually(lambda: migrating.done() or waits_for_a_lock(expanded))
            assert not migrating.done()
        assert [each.name for each in migrating.result(60).older] == ["worker w@old:1"]


def test_a_process_of_an_older_version_that_starts_later_is_turned_away(
    expanded: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = expanded.deployment.keyring
    with ThreadPoolExecutor(1) as pool, of_a_version(monkeypatch, "0003"):
        with expanded.transaction() as tx:
            tell = sa.text("UPDATE oldest_code SET revision = :r")
            tx.execute(tell, {"r": CONTRACT.breaks_before})
            starting = pool.submit(Presence(expanded.deployment, "worker").renew)
            assert eventually(lambda: starting.done() or waits_for_a_lock(expanded))
            assert not starting.done()
        with pytest.raises(ConfigError, match="from 0004 on, this one is of 0003"):
            starting.result(60)
    assert expanded.rows("SELECT name FROM process") == []


def test_a_process_that_runs_learns_that_it_has_become_too_old(
    expanded: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence = Presence(expanded.deployment, "worker")
    presence.renew()
    presence._next_at = 0.0  # a minute later
    expanded.execute("UPDATE oldest_code SET revision = :r", r=NEWER)
    expanded.execute(
        "ALTER TABLE process DROP COLUMN schema_revision"
    )  # even what it notes itself in
    with pytest.raises(ConfigError, match="run a newer one"):
        presence.renew()


# Which database a version runs on.


@pytest.fixture
def ahead(workshop: Workshop) -> Workshop:
    """A workshop on a database that a newer version has upgraded."""
    workshop.execute("UPDATE alembic_version SET version_num = :r", r=UNKNOWN)
    return workshop


def test_a_database_that_lacks_contracting_steps_is_accepted(expanded: Workshop) -> None:
    expanded.deployment.require_schema()


@pytest.mark.parametrize("oldest", [step.revision for step in steps()])
def test_a_newer_database_that_still_serves_this_version_is_accepted(
    ahead: Workshop, oldest: str
) -> None:
    ahead.execute("UPDATE oldest_code SET revision = :r", r=oldest)
    ahead.deployment.require_schema()
    assert upgrade(url_of(ahead)).revision == UNKNOWN  # and there is nothing to do
    with ahead.transaction() as tx:
        assert left_out(tx).left_out == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(f"UPDATE oldest_code SET revision = '{NEWER}'", id="serves newer ones"),
        pytest.param("DELETE FROM oldest_code", id="says nothing"),
        pytest.param("DROP TABLE oldest_code", id="never did"),
    ],
)
def test_a_newer_database_that_does_not_serve_this_version_is_refused(
    ahead: Workshop, change: str
) -> None:
    ahead.execute(change)
    for refused in (ahead.deployment.require_schema, lambda: upgrade(url_of(ahead))):
        with pytest.raises(ConfigError, match=f"at revision {UNKNOWN} .* run a newer one"):
            refused()


# Whom it keeps waiting.


def test_a_step_that_has_to_wait_lets_others_pass(
    empty_database: str, simulator: PinterestSimulator
) -> None:
    migrate_to(empty_database, "0003")
    passed = 0
    with open_workshop(empty_database, simulator) as workshop, ThreadPoolExecutor(1) as pool:
        with workshop.transaction() as reading:  # as a dump does, for hours
            reading.execute(sa.text("SELECT count(*) FROM process"))
            migrating = pool.submit(upgrade, empty_database)
            deadline = time.monotonic() + 60
            while passed < 3:
                assert eventually(lambda: waits_for_a_lock(workshop))
                with workshop.transaction() as tx:
                    tx.execute(sa.text("SET LOCAL lock_timeout = '15 s'"))
                    tx.execute(sa.text("UPDATE process SET seen_at = now()"))
                passed += 1
                assert time.monotonic() < deadline
            assert not migrating.done()
        assert migrating.result(120).revision == NEWEST


def test_an_index_is_built_while_others_write_to_its_table(
    empty_database: str, simulator: PinterestSimulator
) -> None:
    migrate_to(empty_database, "0002")
    writing = sa.text("LOCK upload, attempt IN ROW EXCLUSIVE MODE")
    with open_workshop(empty_database, simulator) as workshop, ThreadPoolExecutor(1) as pool:
        with workshop.transaction() as slow:
            slow.execute(writing)
            migrating = pool.submit(upgrade, empty_database)
            assert eventually(lambda: waits_for_a_lock(workshop))
            with workshop.transaction() as quick:
                quick.execute(sa.text("SET LOCAL lock_timeout = '100 ms'"))
                quick.execute(writing)
        assert migrating.result(120).revision == NEWEST


UNFINISHED = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"


@pytest.mark.parametrize(
    ("step", "table"), [("0003", "attempt"), ("0005", "upload"), ("0005", "connection")]
)
def test_a_step_that_commits_on_its_way_can_be_begun_anew(
    empty_database: str,
    fresh_database: str,
    simulator: PinterestSimulator,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    table: str,
) -> None:
    migrate_to(empty_database, f"{int(step) - 1:04}")
    with monkeypatch.context() as patched, open_workshop(empty_database, simulator) as workshop:
        patched.setattr(migrate, "PATIENCE_S", 0.0)
        with workshop.transaction() as writing:
            writing.execute(sa.text(f"LOCK {table} IN ROW EXCLUSIVE MODE"))
            with pytest.raises(Unavailable, match=f"step {step} was given up"):
                upgrade(empty_database)
    assert upgrade(empty_database).revision == NEWEST
    assert lines(empty_database, UNFINISHED) == set()
    assert lines(empty_database, PARTS) == lines(fresh_database, PARTS)


# A lock that writers wait for, on a table that the transaction has read from its first row on.
READ_UNDER_A_LOCK = """
SELECT relation::regclass::text
  FROM pg_locks JOIN pg_stat_xact_user_tables ON relid = relation AND seq_scan > 0
 WHERE pid = pg_backend_pid() AND granted AND mode IN
       ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


@pytest.mark.parametrize("step", EXPANDING[1:], ids=revision_of)
def test_no_table_is_read_through_under_a_lock_that_writers_wait_for(
    empty_database: str, step: Step
) -> None:
    migrate_to(empty_database, steps()[steps().index(step) - 1].revision)
    there = lines(empty_database, TABLES)
    engine = sa.create_engine(empty_database)
    found: set[str] = set()

    @event.listens_for(engine, "after_cursor_execute")
    def look(connection: sa.Connection, *_: object) -> None:
        with connection.connection.cursor() as cursor:
            cursor.execute(READ_UNDER_A_LOCK)
            found.update(table for (table,) in cursor.fetchall() if table in there)

    config = alembic_config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, step.revision)
    engine.dispose()
    assert found == set()


def test_a_step_that_waits_in_vain_is_given_up_whole(
    expanded: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "PATIENCE_S", 0.0)
    with expanded.transaction() as reading:
        reading.execute(sa.text("SELECT count(*) FROM carried"))
        with pytest.raises(Unavailable, match=f"{CONTRACT.revision} was given up: somebody holds"):
            upgrade(url_of(expanded))
    assert standing(expanded) == BEFORE
    assert upgrade(url_of(expanded)).revision == NEWEST


# What the contracting steps do.


@pytest.fixture
def carrying(expanded: Workshop) -> int:
    """An audience of which an older version and this one have each purged receipts."""
    audience_id = expanded.ready()
    expanded.upload(audience_id, *emails(range(10)))
    expanded.execute("DELETE FROM receipt")
    expanded.execute("INSERT INTO carried VALUES (:a, 6, 6, 0)", a=audience_id)
    expanded.execute(
        "INSERT INTO carried_sum (audience_id, list_type, received) VALUES (:a, 'EMAIL', 4)",
        a=audience_id,
    )
    expanded.assert_books_balance()
    assert expanded.book(audience_id).received == 10
    return audience_id


def test_the_sums_that_older_versions_carried_stay_in_the_books(
    expanded: Workshop, carrying: int
) -> None:
    before = read_books(expanded.deployment)
    upgrade(url_of(expanded))
    assert standing(expanded) == NEWEST
    assert read_books(expanded.deployment) == before


def test_the_books_can_be_read_while_the_sums_move(expanded: Workshop, carrying: int) -> None:
    before = read_books(expanded.deployment)
    config = alembic_config()
    with ThreadPoolExecutor(1) as pool:
        with expanded.transaction() as tx:
            config.attributes["connection"] = tx
            command.upgrade(config, NEWEST)
            reading = pool.submit(read_books, expanded.deployment)
            assert eventually(lambda: reading.done() or waits_for_a_lock(expanded))
            assert not reading.done()
        assert reading.result(60) == before
