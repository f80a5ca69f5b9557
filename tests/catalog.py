"""What a database's schema is made of, one line a part, as Postgres' own catalog tells it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command

from app.database import create_engine, transaction
from app.revisions import alembic_config

PARTS = """
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
  FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
 WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
"""
FUNCTIONS = """
SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""
"""By name: a function that gets one more argument with a default is called as before."""
# What the code before does not know of and would run into when it writes.
DEMANDS = """
SELECT 'constraint on ' || conrelid::regclass || ': ' || conname FROM pg_constraint
 WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL
SELECT 'unique index on ' || tablename || ': ' || indexname FROM pg_indexes
 WHERE schemaname = 'public' AND indexdef LIKE 'CREATE UNIQUE%'
UNION ALL
SELECT 'value for ' || table_name || ': ' || column_name FROM information_schema.columns
 WHERE table_schema = 'public' AND is_nullable = 'NO'
   AND column_default IS NULL AND identity_generation IS NULL
UNION ALL
SELECT 'trigger on ' || tgrelid::regclass || ': ' || tgname FROM pg_trigger WHERE NOT tgisinternal
"""
TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"


def lines(database_url: str, query: str) -> set[str]:
    """What a query of the catalog finds, Alembic's own table aside."""
    engine = create_engine(database_url)
    try:
        with transaction(engine) as connection:
            found = connection.exec_driver_sql(query.replace("%", "%%")).scalars()
            return {line for line in found if "alembic_version" not in line}
    finally:
        engine.dispose()


def migrate_to(database_url: str, revision: str) -> None:
    """Run the steps up to a revision, whatever runs."""
    engine = sa.create_engine(database_url)
    config = alembic_config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
