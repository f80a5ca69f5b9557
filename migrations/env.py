"""Alembic's entry: one transaction per migration, over the connection `app.migrate` hands in.

A migration whose statements would keep others waiting commits on its way, and can be begun anew.
"""

from __future__ import annotations

from typing import Any

from alembic import context

from app.tables import metadata

options: dict[str, Any] = {
    "target_metadata": metadata,
    "transaction_per_migration": True,
    "compare_server_default": True,
}

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **options)
else:
    context.configure(connection=context.config.attributes["connection"], **options)
with context.begin_transaction():
    context.run_migrations()
