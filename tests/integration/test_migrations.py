"""Migrations: they lead to exactly the tables the code speaks of, also when two run at once."""

import multiprocessing
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from app.database import create_engine, transaction
from app.deployment import Deployment
from app.errors import ConfigError
from app.migrate import drift, upgrade
from app.revisions import current_revision, steps
from app.settings import Settings
from app.tables import metadata
from tests.catalog import PARTS, lines


@pytest.fixture
def migrated(fresh_database: str) -> Iterator[sa.Connection]:
    engine = create_engine(fresh_database)
    with transaction(engine) as connection:
        yield connection
    engine.dispose()


def test_the_migrations_lead_to_the_tables_of_the_code(migrated: sa.Connection) -> None:
    assert drift(migrated) == []
    assert current_revision(migrated) == steps()[-1].revision


def test_the_migrations_lead_to_just_what_the_tables_say(
    fresh_database: str, empty_database: str
) -> None:
    """Down to what the drift does not compare: checks, covering columns, storage options."""
    engine = create_engine(empty_database)
    with transaction(engine) as connection:
        metadata.create_all(connection)
    engine.dispose()
    migrated, meant = lines(fresh_database, PARTS), lines(empty_database, PARTS)
    assert sorted(meant - migrated) == []
    assert sorted(migrated - meant) == []


def test_drift_is_noticed(fresh_database: str) -> None:
    engine = create_engine(fresh_database)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audience ADD COLUMN surprise integer")
        connection.exec_driver_sql("DROP INDEX upload_audience_id_id_idx")
        found = " ".join(drift(connection))
    engine.dispose()
    assert "surprise" in found
    assert "upload_audience_id_id_idx" in found


def test_two_migrations_at_once_are_safe(empty_database: str) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        done = pool.map(upgrade, [empty_database] * 2, chunksize=1)
    assert [each.revision for each in done] == [steps()[-1].revision] * 2
    engine = create_engine(empty_database)
    with transaction(engine) as connection:
        assert drift(connection) == []
    engine.dispose()


def test_every_constraint_is_named_by_the_convention(migrated: sa.Connection) -> None:
    rows = migrated.exec_driver_sql(
        "SELECT conname, conrelid::regclass::text AS table_name FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
        " AND conrelid <> 'alembic_version'::regclass"
    ).all()
    assert len(rows) > 30
    for row in rows:
        assert row.conname.startswith(row.table_name)
        assert row.conname.endswith(("_pkey", "_key", "_fkey", "_check")), row.conname


def test_ids_are_big_and_never_given_by_hand(migrated: sa.Connection) -> None:
    rows = migrated.exec_driver_sql(
        "SELECT table_name, data_type, identity_generation FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = 'id'"
    ).all()
    assert {row.data_type for row in rows} == {"bigint"}
    by_hand = {row.table_name for row in rows if row.identity_generation != "ALWAYS"}
    assert by_hand == {"held_chunk", "login"}  # they keep the id of what they belong to


def test_an_unmigrated_database_is_refused_with_the_fix(empty_database: str) -> None:
    deployment = Deployment(Settings(database_url=empty_database))
    with pytest.raises(ConfigError, match="pinfold migrate"):
        deployment.require_schema()
    deployment.engine.dispose()


def test_a_migrated_database_is_accepted(fresh_database: str) -> None:
    deployment = Deployment(Settings(database_url=fresh_database))
    deployment.require_schema()
    deployment.engine.dispose()
