"""The next generation of an audience's lists: what rebuilding and rolling over have in common.

A wish is a row here too: the next list is made current, and workers create it at Pinterest as after
an activation. Raising the epochs fences whoever works with the older one: a cut that was prepared
for it changes nothing and is made again for the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.tables import audience, connection, customer_list


@dataclass(frozen=True)
class NextList:
    """A list that took the place of an older one."""

    list_id: int
    name: str
    older_list_id: int
    older_name: str
    records: int
    """That waited in the older lane: moved when rebuilt, still to be sent when rolled over."""


def fence(tx: sa.Connection, audience_id: int) -> sa.Row[Any]:
    """Lock an audience; a cut that is under way for it will change nothing."""
    return tx.execute(
        sa.update(audience)
        .where(audience.c.id == audience_id)
        .values(epoch=audience.c.epoch + 1, lease_until=None)
        .returning(*audience.c)
    ).one()


def insert_next(tx: sa.Connection, old: sa.Row[Any], name: str) -> int:
    """Insert the current list after ``old``, which is not current any more; returns its id."""
    restored_at = (
        sa.select(connection.c.restored_at)
        .join(audience, audience.c.connection_id == connection.c.id)
        .where(audience.c.id == old.audience_id)
        .scalar_subquery()
    )
    list_id: int = tx.execute(
        sa.insert(customer_list)
        .values(
            audience_id=old.audience_id,
            list_type=old.list_type,
            generation=old.generation + 1,
            name=name,
            create_unknown_at=restored_at,  # it may have been made after the backup
        )
        .returning(customer_list.c.id)
    ).scalar_one()
    return list_id
