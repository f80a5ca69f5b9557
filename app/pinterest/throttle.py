"""The pace of writing: one row per connection, shared by all workers, one statement per slot.

Pinterest counts write requests per minute and user (API facts, section 6). Slots are handed out
evenly at 90 percent of the limit, with what 6 seconds of rest saved up at once: at most 99 percent
of the limit fall into any minute, whatever its phase.
"""

from __future__ import annotations

import sqlalchemy as sa

from app.lease import NOW, seconds
from app.settings import Settings
from app.tables import budget, connection, insert_if_absent

SHARE = 0.9
REST = 6.0
"""Seconds of unused slots that may be made up for."""


def take_slot(tx: sa.Connection, connection_id: int, s: Settings) -> float:
    """Take the next slot. Returns the seconds until it; above ``s.patience`` it was not taken.

    A pause of the connection (``not_before``) counts as time until the slot. Stored times that
    are impossibly far ahead, after the clock was set back, count as now.
    """
    insert_if_absent(tx, budget, connection_id=connection_id, category="ads_write")
    c, b = connection.c, budget.c
    step = sa.func.coalesce(c.writes_per_minute, s.writes_per_minute)
    spacing = sa.literal(60 / SHARE) / step * seconds(1)
    horizon = NOW + seconds(3 * s.backoff_most)
    rested = NOW - seconds(REST)
    pause = sa.case((c.not_before > horizon, None), else_=c.not_before)
    following = sa.case((b.next_slot_at > horizon, None), else_=b.next_slot_at)
    slot = sa.func.greatest(following, pause, rested)  # NULLs are skipped
    distance = sa.func.extract("epoch", slot - NOW)
    row = (
        sa.select(c.id, slot.label("slot"), spacing.label("spacing"), distance.label("distance"))
        .join(budget, b.connection_id == c.id)
        .where(c.id == connection_id, b.category == "ads_write")
        .with_for_update(of=budget)
        .cte("slot")
    )
    taken = tx.execute(
        sa.update(budget)
        .where(b.connection_id == row.c.id, b.category == "ads_write")
        .values(
            next_slot_at=sa.case(
                (row.c.distance <= s.patience, row.c.slot + row.c.spacing), else_=b.next_slot_at
            )
        )
        .returning(row.c.distance)
    ).scalar_one()
    return max(0.0, float(taken))
