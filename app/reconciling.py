"""Reconciling: raise what is charged of a list to what Pinterest itself counted.

A restored database has forgotten what was sent after its backup, Pinterest has not. The difference
is charged by an attempt of its own kind, without a known end, so that the ledger balances and no
proof of any kind ever gives it back (promise 3). Nothing here lowers a charge.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.lists import GONE
from app.settings import CAP
from app.tables import attempt, audience, carried_list, connection, customer_list, observation

RECOVERY = "RECOVERY"
UNRECONCILED = "not recovered"
"""Why a list is held whose counters could not be read when the database had been restored."""


def counted(values: Mapping[str, Any]) -> int | None:
    """The records that Pinterest counted for a list, None where its reply named none."""
    given = (values["batches"], values["uploaded_records"], values["removed_records"])
    return None if None in given else given[1] + given[2]


def missing(charged: int, least: int) -> int:
    """How many records a charge lacks of what it must be at least; none goes beyond CAP."""
    return max(0, min(least, CAP) - charged)


def uncounted() -> sa.ColumnElement[bool]:
    """True for lists that were gone when the database was restored, and are held since.

    Nobody could say what they have had, so their charge may be far too low: should they come back,
    they are reconciled before anything is sent to them.
    """
    restored_at = (
        sa.select(connection.c.restored_at)
        .join(audience, audience.c.connection_id == connection.c.id)
        .where(audience.c.id == customer_list.c.audience_id)
        .correlate(customer_list)
        .scalar_subquery()
    )
    since_then = sa.func.coalesce(customer_list.c.held_at <= restored_at, sa.false())
    return sa.and_(customer_list.c.held_reason == GONE, since_then)


def reconcile(
    tx: sa.Connection, list_id: int, least: int, at: datetime, seen: Mapping[str, Any] | None
) -> int:
    """Charge a list with ``least`` records in all, or leave it; returns what was added.

    ``seen``: the columns of an observation made at ``at``. Its counters are then what later looks
    are compared with, because the attempts before them do not tell the whole story any more.
    """
    row = tx.execute(
        sa.select(customer_list.c.charged, customer_list.c.epoch)
        .where(customer_list.c.id == list_id)
        .with_for_update()
    ).one()
    added = missing(row.charged, least)
    tx.execute(
        sa.update(customer_list)
        .where(customer_list.c.id == list_id)
        .values(charged=customer_list.c.charged + added)
    )
    tx.execute(
        sa.insert(attempt).values(
            customer_list_id=list_id,
            purpose=RECOVERY,
            record_count=added,
            epoch=row.epoch,
            state="unknown",
            started_at=at,
            settled_at=at,
            detail="counted by Pinterest, unknown to the restored database",
        )
    )
    # what was dropped before is in what Pinterest counted, and stays in the ledger
    tx.execute(
        sa.update(carried_list)
        .where(carried_list.c.customer_list_id == list_id)
        .values(requests=0, added=0, removed=0)
    )
    if seen is not None:
        tx.execute(sa.insert(observation).values(customer_list_id=list_id, observed_at=at, **seen))
    return added


def reconcile_late(tx: sa.Connection, list_id: int, least: int) -> int:
    """The same for counters that came late: what the last recovery found was more than it saw.

    Does nothing for a list that no recovery had to do with.
    """
    query = sa.select(customer_list.c.charged).where(customer_list.c.id == list_id)
    added = missing(tx.execute(query.with_for_update()).scalar_one(), least)
    grown = tx.execute(
        sa.update(attempt)
        .where(attempt.c.id == last_recovery(list_id))
        .values(record_count=attempt.c.record_count + added)
    ).rowcount
    if not added or not grown:
        return 0
    tx.execute(
        sa.update(customer_list)
        .where(customer_list.c.id == list_id)
        .values(charged=customer_list.c.charged + added)
    )
    return added


def last_recovery(list_id: int) -> sa.ScalarSelect[int]:
    """The id of the newest such attempt of a list, 0 where there is none."""
    query = sa.select(sa.func.coalesce(sa.func.max(attempt.c.id), 0))
    return query.where(
        attempt.c.customer_list_id == list_id, attempt.c.purpose == RECOVERY
    ).scalar_subquery()
