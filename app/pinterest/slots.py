"""The rows of the budget that a slot is taken from, looked at and moved on by one statement."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.pinterest.pacing import (
    DAY,
    MINUTE,
    REST,
    SLOWEST,
    TOKEN_CALLS_PER_MINUTE,
    TRIAL_DAY,
    Lesson,
    spacing,
)
from app.settings import Settings
from app.tables import APP, budget, insert_if_absent

SHORT_LINE = 1.0
"""Seconds of slots taken by others, or one slot if that is longer, that a list joins behind."""


class Standing(NamedTuple):
    """One row of the budget as it stands now; that of the connection itself comes last."""

    connection_id: int
    configured: float
    """Requests per minute by the settings."""
    lesson: Lesson | None
    now: datetime
    paused: bool
    """A pause of this row, or of the connection, is in force."""
    used_today: int
    """Slots taken in the day that began with the first of them."""
    wait: float
    """Seconds until the next slot, negative while unused slots may be made up for."""
    slot_at: datetime
    crowded: bool


def learn(tx: sa.Connection, row: Standing, category: str, lesson: Lesson | None) -> None:
    """Write down what changed about the pace, unless another worker did so in between."""
    if lesson == row.lesson:
        return
    tx.execute(
        sa.update(budget)
        .where(
            budget.c.connection_id == row.connection_id,
            budget.c.category == category,
            budget.c.learnt_at.is_not_distinct_from(row.lesson.at if row.lesson else None),
        )
        .values(
            learnt_per_minute=lesson.per_minute if lesson else None,
            learnt_at=lesson.at if lesson else None,
        )
    )


def look(
    tx: sa.Connection,
    connection_id: int,
    s: Settings,
    category: str,
    *,
    take: bool = False,
    joining: bool = False,
) -> list[Standing]:
    """The rows that a slot is made from, the connection's last; ``take``: and take it.

    It is not taken where it is further off than ``s.patience``, or where ``joining`` finds a
    crowd.
    """
    ids = [APP, connection_id] if s.trial_app else [connection_id]
    values = _values(s, category) | {"ids": ids, "category": category, "joining": joining}
    rows = tx.execute(_TAKE if take else _LOOK, values).all()
    if len(rows) == len(ids):
        return [_standing(row) for row in rows]
    for each in ids:
        insert_if_absent(tx, budget, connection_id=each, category=category)
    return look(tx, connection_id, s, category, take=take, joining=joining)


def _standing(row: sa.Row[Any]) -> Standing:
    learnt, learnt_at = row.learnt_per_minute, row.learnt_at
    values = row._asdict() | {"lesson": None if learnt is None else Lesson(learnt, learnt_at)}
    return Standing(**{name: values[name] for name in Standing._fields})


def _values(s: Settings, category: str) -> dict[str, Any]:
    """What the settings say, in the words of the query. Durations are seconds."""
    per_minute = {"ads_write": s.writes_per_minute, "ads_read": s.reads_per_minute}
    day_step = spacing(TRIAL_DAY[category], DAY)
    return {
        "app": APP,
        "per_minute": per_minute.get(category, TOKEN_CALLS_PER_MINUTE),
        "minute_step": spacing(1, MINUTE),
        "minute_rest": REST * MINUTE,
        "day_step": day_step,
        "day_rest": REST * DAY,
        "patience": s.patience,
        # beyond these nothing was ever stored: the clock was set back since
        "furthest_slot": s.patience + 2 * spacing(SLOWEST, MINUTE),
        "furthest_day_slot": s.patience + 2 * day_step,
        "furthest_pause": 3 * s.longest_pause,
        "furthest_day_pause": 3 * DAY,
        "short_line": SHORT_LINE,
    }


_QUERY = """
WITH held AS (
    SELECT b.*, c.not_before AS connection_pause, b.connection_id = :app AS is_app, CAST(coalesce(
        CASE WHEN b.category = 'ads_write' THEN c.writes_per_minute END, :per_minute
    ) AS float8) AS configured
    FROM budget b LEFT JOIN connection c ON c.id = b.connection_id
    WHERE b.connection_id = ANY (:ids) AND b.category = :category
    ORDER BY b.connection_id {lock}
), paced AS (  -- the clock is read once the rows are held
    SELECT *, clock_timestamp() AS now, interval '1 s' AS s,
        CASE WHEN is_app THEN :day_step
            ELSE :minute_step / least(configured, learnt_per_minute) END AS step,
        CASE WHEN is_app THEN :day_rest ELSE :minute_rest END AS rest,
        CASE WHEN is_app THEN :furthest_day_slot ELSE :furthest_slot END AS furthest_slot,
        CASE WHEN is_app THEN :furthest_day_pause ELSE :furthest_pause END AS furthest_pause
    FROM held
), timed AS (
    SELECT *,
        CASE WHEN next_slot_at <= now + furthest_slot * s THEN next_slot_at END AS following,
        greatest(
            CASE WHEN not_before <= now + furthest_pause * s THEN not_before END,
            CASE WHEN connection_pause <= now + furthest_pause * s THEN connection_pause END
        ) AS pause
    FROM paced
), each AS (
    SELECT *, greatest(following, pause, now - rest * s) AS own_slot_at,
        coalesce(pause > now, false) AS paused,
        CASE WHEN now >= day_began_at AND now < day_began_at + interval '1 day' THEN day_used
            ELSE 0 END AS used_today
    FROM timed
), slot AS (
    SELECT CAST(max(extract(epoch FROM own_slot_at - now)) AS float8) AS wait,
        coalesce(bool_or(extract(epoch FROM following - greatest(pause, now))
            > greatest(:short_line, step)), false) AND :joining AS crowded
    FROM each
){taken}
SELECT connection_id, configured, learnt_per_minute, learnt_at, now, paused, used_today, wait,
    now + wait * s AS slot_at, crowded
FROM each, slot ORDER BY connection_id
"""
_TAKEN = """, taken AS (
    UPDATE budget b SET
        next_slot_at = greatest(own_slot_at, now + (wait - rest) * s) + step * s,
        day_began_at = CASE WHEN used_today = 0 THEN now ELSE b.day_began_at END,
        day_used = used_today + 1,
        -- one that is over would come alive again if the clock were set back
        not_before = CASE WHEN b.not_before BETWEEN now AND now + furthest_pause * s
            THEN b.not_before END
    FROM each, slot
    WHERE b.connection_id = each.connection_id AND b.category = each.category
        AND wait <= :patience AND NOT crowded
)"""
_TAKE = sa.text(_QUERY.format(lock="FOR UPDATE OF b", taken=_TAKEN))
_LOOK = sa.text(_QUERY.format(lock="", taken=""))
