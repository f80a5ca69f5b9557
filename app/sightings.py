"""What stands in the database of the looks at a list, and of its pace: for status and `show`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.forecast import RECENT, Forecast, forecast
from app.lease import NOW, seconds
from app.standing import Seen
from app.tables import attempt, customer_list, observation
from app.witness import Finding

DOUBT = 86_400.0
"""Seconds after an unknown outcome within which its finding is told without being asked for."""


def last_seen() -> list[sa.Label[Any]]:
    """Columns beside ``customer_list``: what each newest observation said, where it said any."""
    newest = [_newest(name) for name in (*Seen._fields, "finding")]
    doubted = customer_list.c.unknown_at > NOW - seconds(DOUBT)
    return [*newest, sa.func.coalesce(doubted, sa.false()).label("doubted")]


def _newest(name: str) -> sa.Label[Any]:
    # the size goes with the status: it is null while that one is new
    column = observation.c[name]
    said = observation.c.audience_status if name == "audience_size" else column
    return (
        sa.select(column)
        .where(observation.c.customer_list_id == customer_list.c.id, said.is_not(None))
        .order_by(observation.c.id.desc())
        .limit(1)
        .scalar_subquery()
        .label(name)
    )


def seen_of(row: sa.Row[Any]) -> Seen:
    return Seen(row.list_status, row.audience_status, row.audience_size)


def finding_of(row: sa.Row[Any]) -> Finding | None:
    return None if row.finding is None else Finding.of_json(row.finding)


class Pace(NamedTuple):
    """What was charged of late for a list."""

    recent: int
    since: datetime | None
    """The first request of all."""
    now: datetime

    def forecast(self, sent: int, cap: int) -> Forecast:
        return forecast(sent, cap, recent=self.recent, since=self.since, now=self.now)


def read_paces(tx: sa.Connection, list_ids: Sequence[int]) -> dict[int, Pace]:
    """The paces of some lists; reads every attempt of theirs."""
    recent = attempt.c.started_at >= NOW - seconds(RECENT.total_seconds())
    query = (
        sa.select(
            customer_list.c.id,
            sa.func.coalesce(sa.func.sum(attempt.c.record_count).filter(recent), 0).label("recent"),
            sa.func.min(attempt.c.started_at).label("since"),
            NOW.label("now"),
        )
        .outerjoin(
            attempt,
            sa.and_(attempt.c.customer_list_id == customer_list.c.id, attempt.c.state != "refused"),
        )
        .where(customer_list.c.id.in_(list_ids))
        .group_by(customer_list.c.id)
    )
    return {row.id: Pace(int(row.recent), row.since, row.now) for row in tx.execute(query)}
