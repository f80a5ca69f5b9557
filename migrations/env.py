"""Alembic's entry: one transaction per migration, one migrating process at a time."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context

from app.tables import metadata

LOCK_KEY = 0x70696E66  # "pinf": two deployments that migrate at once wait for each other
LOCK_TIMEOUT_MS = 30_000

options: dict[str, Any] = {
    "target_metadata": metadata,
    "transaction_per_migration": True,
    "compare_server_default": True,
}

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    connection: sa.Connection = context.config.attributes["connection"]
    connection.exec_driver_sql("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
    try:
        connection.exec_driver_sql(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        connection.commit()
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.exec_driver_sql("SELECT pg_advisory_unlock(%s)", (LOCK_KEY,))
        connection.commit()
