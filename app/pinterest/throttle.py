"""The pace of requests: one row per connection and category, shared by all workers.

Pinterest counts requests per minute, user and category (API facts, section 6). Each request takes
a slot first, by one statement; slots follow one another evenly (``app.pinterest.pacing``).

A trial app has so many requests a day in all: a second row, of connection 0, paces them over the
day, and a slot is then one of both rows. The first 27 writes after a rest go at once, the others
evenly: something moves every five minutes, instead of nothing for the rest of a day.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from app.pinterest.pacing import TRIAL_DAY, after_rest
from app.pinterest.slots import learn, look
from app.settings import Settings


def take_slot(
    tx: sa.Connection,
    connection_id: int,
    s: Settings,
    category: str = "ads_write",
    *,
    joining: bool = False,
) -> float:
    """Take the next slot. Returns the seconds until it; above ``s.patience`` it was not taken.

    Pauses (``not_before`` of the budget and of the connection) count as time until the slot.
    Stored times impossibly far ahead, after the clock was set back, count as now. ``joining``:
    where others stand in line for the next ones, none is taken and the answer is infinite.
    """
    row = look(tx, connection_id, s, category, take=True, joining=joining)[-1]
    if row.lesson is not None:
        learn(tx, row, category, after_rest(row.lesson, row.configured, row.now))
    return math.inf if row.crowded and row.wait <= s.patience else max(0.0, row.wait)


class Pace(NamedTuple):
    """How fast a connection may go in one category, for people."""

    configured_per_minute: float
    per_minute: float
    """What is in force: less than configured while a lesson counts."""
    paused_until: datetime | None
    """When the next request may go, where that is further off than workers wait for."""
    paused: bool
    """A pause is in force, of the connection or, on trial access, of the app."""
    day_limit: int | None
    """Of all connections together; None unless the app has trial access."""
    day_used: int


def read_pace(
    tx: sa.Connection, connection_id: int, s: Settings, category: str = "ads_write"
) -> Pace:
    """The pace as it stands; takes no slot."""
    rows = look(tx, connection_id, s, category)
    own = rows[-1]
    return Pace(
        configured_per_minute=own.configured,
        per_minute=min(own.configured, own.lesson.per_minute if own.lesson else own.configured),
        paused_until=own.slot_at if own.wait > s.patience else None,
        paused=any(row.paused for row in rows),
        day_limit=TRIAL_DAY[category] if s.trial_app else None,
        day_used=rows[0].used_today,
    )


def paused_until(
    tx: sa.Connection, connection_id: int, s: Settings, category: str = "ads_write"
) -> datetime | None:
    """When the next request may go; None when that is soon."""
    return read_pace(tx, connection_id, s, category).paused_until
