"""The due check: what has to be flushed and what has to be delivered, from Postgres alone.

The rule is that of ``app.flush_rule``. ``audiences_due`` asks Postgres the same question of all
audiences at once, over an index; a flush asks again for its audience before it cuts. Every wish
(flush now, activate, retry) is a column or a row first, so a lost message only costs time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.due_lists import lists_due
from app.ending_rests import end_stretched_rests
from app.flush_rule import flush_age
from app.lease import NOW, has_passed
from app.settings import Settings
from app.sweeps import ended_ago, may_begin, note_sweep
from app.tables import audience, batch, connection, customer_list, staged_chunk

SWEEP = "due check"
CHECK_LOCK = 0x70696E64


@dataclass(frozen=True)
class Due:
    audience_ids: list[int]
    list_ids: list[int]


def check_due_once(deployment: Deployment) -> Due | None:
    """One check over everything, or None when another one runs or just ended.

    Where the last one ended in the future, the clock was set back since: then rests end first.
    """
    s = deployment.settings
    with transaction(deployment.engine) as tx:
        ago = ended_ago(tx, SWEEP)
    if ago is not None and ago < timedelta(0):
        end_stretched_rests(deployment, -ago)
    with transaction(deployment.engine) as tx:
        if not may_begin(tx, SWEEP, CHECK_LOCK, timedelta(seconds=s.check_interval / 2)):
            return None
        due = Due(audiences_due(tx, s), lists_due(tx, s))
        note_sweep(tx, SWEEP, len(due.audience_ids) + len(due.list_ids))
    return due


def audiences_due(tx: sa.Connection, s: Settings) -> list[int]:
    """The audiences that ``flush_reason`` would flush and whose lease is free, oldest first.

    One pass over the index of what waits, in its order, so that adding up needs no hash table,
    which would take twice as long. Few audiences are left of it: those with enough for the least
    demanding connection, and those that may be due otherwise. Only these are looked at closely.
    """
    tx.exec_driver_sql("SET LOCAL enable_hashagg = off")
    due = list(tx.execute(_due_query(s)).scalars())
    tx.exec_driver_sql("SET LOCAL enable_hashagg = on")
    return due


@lru_cache
def _due_query(s: Settings) -> sa.Select[Any]:
    """Putting it together takes a tenth of the check, so it is done once."""
    now = sa.select(NOW).scalar_subquery()
    account = (
        sa.select(
            connection.c.id,
            connection.c.held_reason,
            sa.func.coalesce(connection.c.flush_messages, s.flush_messages).label("enough"),
            (now - flush_age(s)).label("long_ago"),
            (now + flush_age(s)).label("impossible"),  # the clock was set back since
        )
        .cte("account")
        .prefix_with("MATERIALIZED")
    )
    since = sa.func.coalesce(audience.c.last_upload_at, audience.c.activated_at)
    waiting = _waiting(account, since)
    wanted = sa.or_(
        audience.c.flush_requested_at.is_not(None),
        waiting.c.messages >= account.c.enough,
        waiting.c.oldest <= audience.c.drain_to,
        since <= account.c.long_ago,
        since > account.c.impossible,
    )
    return (
        sa.select(audience.c.id)
        .join(waiting, waiting.c.audience_id == audience.c.id)
        .join(account, account.c.id == audience.c.connection_id)
        .where(
            has_passed(audience.c.lease_until, s.lease, once=True),
            has_passed(audience.c.not_before, s.longest_pause, once=True),
            sa.or_(
                audience.c.state == "deactivated",
                sa.and_(
                    audience.c.state == "active",
                    account.c.held_reason.is_(None),
                    wanted,
                    audience.c.id.not_in(moving_lanes()),
                    audience.c.id.not_in(long_lanes(s)),
                ),
            ),
        )
        .order_by(waiting.c.oldest)
    )


def _waiting(account: sa.CTE, since: sa.ColumnElement[Any]) -> sa.Subquery:
    """What waits for the audiences that may be due, a superset that is cheap to tell."""
    due_otherwise = sa.select(audience.c.id).where(
        sa.or_(
            audience.c.state == "deactivated",
            audience.c.flush_requested_at.is_not(None),
            audience.c.drain_to.is_not(None),
            since <= sa.select(sa.func.max(account.c.long_ago)).scalar_subquery(),
            since > sa.select(sa.func.min(account.c.impossible)).scalar_subquery(),
        )
    )
    messages = sa.func.sum(staged_chunk.c.message_count)
    return (
        sa.select(
            staged_chunk.c.audience_id,
            messages.label("messages"),
            sa.func.min(staged_chunk.c.id).label("oldest"),
        )
        .group_by(staged_chunk.c.audience_id)
        .having(
            sa.or_(
                messages >= sa.select(sa.func.min(account.c.enough)).scalar_subquery(),
                staged_chunk.c.audience_id.in_(due_otherwise),
            )
        )
        .subquery()
    )


def moving_lanes() -> sa.Select[Any]:
    """The audiences whose next cut waits for a lane: of a list that is not held."""
    return _lanes().where(customer_list.c.held_reason.is_(None))


def long_lanes(s: Settings) -> sa.Select[Any]:
    """The audiences whose held lanes are too long for another cut.

    An older list gets none of it, so that its lane, however long, stops nothing.
    """
    held = _lanes().where(customer_list.c.current, customer_list.c.held_reason.is_not(None))
    return held.having(sa.func.sum(batch.c.record_count) > s.lane_limit)


def _lanes() -> sa.Select[Any]:
    return (
        sa.select(customer_list.c.audience_id)
        .join(batch, batch.c.customer_list_id == customer_list.c.id)
        .where(batch.c.state == "waiting")
        .group_by(customer_list.c.audience_id)
    )
