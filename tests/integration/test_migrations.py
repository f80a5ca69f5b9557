"""Migrations: they lead to exactly the tables the code speaks of, also when two run at once."""

import multiprocessing
from collections.abc import Iterator
from uuid import uuid4

import pytest
import sqlalchemy as sa

from app.database import create_engine, transaction
from app.deployment import Deployment
from app.errors import ConfigError
from app.migrate import current_revision, drift, newest_revision, upgrade
from app.sandbox.embedded_postgres import PostgresServer
from app.settings import Settings
from app.tables import metadata


@pytest.fixture
def empty_database(postgres: PostgresServer) -> Iterator[str]:
    name = f"pinfold_empty_{uuid4().hex}"
    postgres.create_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def migrated(fresh_database: str) -> Iterator[sa.Connection]:
    engine = create_engine(fresh_database)
    with transaction(engine) as connection:
        yield connection
    engine.dispose()


def test_the_migrations_lead_to_the_tables_of_the_code(migrated: sa.Connection) -> None:
    assert drift(migrated) == []
    assert current_revision(migrated) == newest_revision()


EVERYTHING = """
SELECT 'constraint ' || conname || ': ' || pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index ' || indexname || ': ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'options of ' || relname || ': ' || coalesce(reloptions::text, '')
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
UNION ALL
SELECT 'column ' || table_name || '.' || column_name || ': ' || data_type || ' ' || is_nullable
       || ' ' || coalesce(column_default, '') || ' ' || coalesce(identity_generation, '')
  FROM information_schema.columns WHERE table_schema = 'public'
"""


def everything(database_url: str) -> set[str]:
    engine = create_engine(database_url)
    try:
        with transaction(engine) as connection:
            found = connection.exec_driver_sql(EVERYTHING).scalars()
            return {line for line in found if "alembic_version" not in line}
    finally:
        engine.dispose()


def test_the_migrations_lead_to_just_what_the_tables_say(
    fresh_database: str, empty_database: str
) -> None:
    """Down to what the drift does not compare: checks, covering columns, storage options."""
    engine = create_engine(empty_database)
    with transaction(engine) as connection:
        metadata.create_all(connection)
    engine.dispose()
    migrated, meant = everything(fresh_database), everything(empty_database)
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
        revisions = pool.map(upgrade, [empty_database] * 2, chunksize=1)
    assert revisions == [newest_revision()] * 2
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
