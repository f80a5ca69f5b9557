"""Leases with epochs: who may write about an audience or a list, and until when.

Every claim raises the epoch. Whoever writes under a lease names its epoch and must hit exactly one
row; a worker that was frozen and lost its lease hits none, and its word is void (LeaseLost). All
times are the database's clock. A time impossibly far ahead counts as past, so a clock that jumps
back freezes nothing (reliability, P11).
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from app.errors import LeaseLost
from app.settings import Settings

NOW: sa.ColumnElement[Any] = sa.func.clock_timestamp(type_=sa.DateTime(timezone=True))


class Claim(NamedTuple):
    """The right to write about row ``id``, as long as no later claim raised the epoch."""

    id: int
    epoch: int


def seconds(count: float) -> sa.ColumnElement[Any]:
    return sa.literal(timedelta(seconds=count), sa.Interval())


def has_passed(
    column: sa.ColumnElement[Any], longest: float, *, once: bool = False
) -> sa.ColumnElement[bool]:
    """True where a time is unset, past, or further ahead than it could ever have been set.

    ``once``: read the clock once for a statement over many rows, instead of once a row.
    """
    now, absurd = NOW, NOW + seconds(3 * longest)
    if once:
        now, absurd = sa.select(now).scalar_subquery(), sa.select(absurd).scalar_subquery()
    return sa.or_(column.is_(None), column <= now, column > absurd)


def try_claim(
    connection: sa.Connection, table: sa.Table, row_id: int, s: Settings, *also: Any
) -> Claim | None:
    """Take the lease of one row when it is free, its pause is over and the conditions hold."""
    claiming = _claiming(table, s.lease, s.longest_pause).where(*also)
    epoch = connection.execute(claiming, {"row_id": row_id}).scalar()
    return None if epoch is None else Claim(row_id, epoch)


@lru_cache
def _claiming(table: sa.Table, lease: float, longest_pause: float) -> ReturningUpdate[Any]:
    """Put together once, as every flush and every turn begins with it."""
    return (
        sa.update(table)
        .where(
            table.c.id == sa.bindparam("row_id"),
            has_passed(table.c.lease_until, lease),
            has_passed(table.c.not_before, longest_pause),
        )
        .values(epoch=table.c.epoch + 1, lease_until=NOW + seconds(lease))
        .returning(table.c.epoch)
    )


def write_under(
    connection: sa.Connection, table: sa.Table, claim: Claim, *also: Any, **values: Any
) -> None:
    """Update the claimed row. Raises LeaseLost unless the claim and the conditions still hold."""
    updated = connection.execute(
        sa.update(table)
        .where(table.c.id == claim.id, table.c.epoch == claim.epoch, *also)
        .values(**values)
    )
    if updated.rowcount != 1:
        raise LeaseLost(f"{table.name} {claim.id} was taken over; nothing was written")


def release(connection: sa.Connection, table: sa.Table, claim: Claim, **values: Any) -> None:
    """Give the lease back, if it is still ours, and note what else should stand."""
    connection.execute(
        sa.update(table)
        .where(table.c.id == claim.id, table.c.epoch == claim.epoch)
        .values(lease_until=None, **values)
    )
