"""Whether an audience is to be flushed: the rule, and the facts it rests on.

The rule is ``flush_reason``, a pure function; ``facts_of`` reads what it needs of one audience. The
due check asks the same question of all audiences at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from app.lease import NOW
from app.settings import Settings
from app.tables import audience, batch, connection, customer_list, staged_chunk


@dataclass(frozen=True)
class Facts:
    """What the decision to flush one audience rests on."""

    now: datetime
    state: str
    since: datetime
    """The last upload, or the activation when there was none."""
    asked: bool
    draining: bool
    """Chunks are left of a prefix that was too large for one upload."""
    waiting_messages: int
    lane_records: int
    """Unsettled records in lanes that can move now: the next cut waits for them."""
    held_records: int
    """Unsettled records in lanes of current lists that wait for a person or a condition."""
    held_connection: bool
    flush_messages: int
    flush_age: timedelta
    lane_limit: int


def flush_reason(facts: Facts) -> str | None:
    """Why an audience is to be flushed now, or None (design section 3, step 3).

    100,000 waiting messages flush at once; fewer wait until 3 hours after the last upload; an
    empty queue never uploads. What waits for a deactivated audience is booked, not sent.
    """
    if facts.waiting_messages == 0 or facts.state == "paused":
        return None
    if facts.state == "deactivated":
        return "deactivated"
    if facts.lane_records or facts.held_records > facts.lane_limit or facts.held_connection:
        return None
    if facts.asked:
        return "asked"
    if facts.waiting_messages >= facts.flush_messages:
        return "count"
    if facts.draining:
        return "drain"
    # a last upload in the future means that the clock was set back: do not wait for it
    old = facts.now - facts.since >= facts.flush_age or facts.since > facts.now + facts.flush_age
    return "age" if old else None


def facts_of(tx: sa.Connection, audience_id: int, s: Settings) -> Facts:
    """The facts of one audience as they stand now."""
    row = tx.execute(_facts_query(s), {"of_audience": audience_id}).one()
    return Facts(
        now=row.now,
        state=row.state,
        since=row.since,
        asked=row.asked,
        draining=row.draining,
        waiting_messages=row.messages,
        lane_records=row.free,
        held_records=row.held,
        held_connection=row.held_connection,
        flush_messages=row.flush_messages,
        flush_age=row.flush_age,
        lane_limit=s.lane_limit,
    )


@lru_cache
def _facts_query(s: Settings) -> sa.Select[Any]:
    """Put together once, as every flush begins with it."""
    of_audience = sa.bindparam("of_audience", type_=sa.BigInteger())
    chunk = sa.select(
        sa.func.coalesce(sa.func.sum(staged_chunk.c.message_count), 0).label("messages"),
        sa.func.min(staged_chunk.c.id).label("oldest"),
    ).where(staged_chunk.c.audience_id == of_audience)
    waiting = chunk.subquery()
    held = customer_list.c.held_reason.is_not(None)
    growing = sa.and_(held, customer_list.c.current)
    lanes = (
        sa.select(
            sa.func.coalesce(sa.func.sum(batch.c.record_count).filter(~held), 0).label("free"),
            sa.func.coalesce(sa.func.sum(batch.c.record_count).filter(growing), 0).label("held"),
        )
        .join(customer_list, customer_list.c.id == batch.c.customer_list_id)
        .where(customer_list.c.audience_id == of_audience, batch.c.state == "waiting")
        .subquery()
    )
    return (
        sa.select(
            NOW.label("now"),
            audience.c.state,
            sa.func.coalesce(audience.c.last_upload_at, audience.c.activated_at).label("since"),
            audience.c.flush_requested_at.is_not(None).label("asked"),
            sa.func.coalesce(waiting.c.oldest <= audience.c.drain_to, sa.false()).label("draining"),
            waiting.c.messages,
            lanes.c.free,
            lanes.c.held,
            connection.c.held_reason.is_not(None).label("held_connection"),
            sa.func.coalesce(connection.c.flush_messages, s.flush_messages).label("flush_messages"),
            flush_age(s).label("flush_age"),
        )
        .select_from(audience)
        .join(connection, connection.c.id == audience.c.connection_id)
        .join(waiting, sa.true())
        .join(lanes, sa.true())
        .where(audience.c.id == of_audience)
    )


def flush_age(s: Settings) -> sa.ColumnElement[Any]:
    """The flush age in force for a row of ``connection``, as an interval."""
    return sa.func.coalesce(connection.c.flush_age, s.flush_age) * sa.literal(
        timedelta(seconds=1), sa.Interval()
    )
