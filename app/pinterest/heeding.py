"""Heeding what answers say about the pace: a 429, or the rate headers (API facts, section 6)."""

from __future__ import annotations

import sqlalchemy as sa

from app.backoff import pause
from app.lease import NOW, seconds
from app.pinterest.outcomes import Answer
from app.pinterest.pacing import DAY, after_answer, after_refusal
from app.pinterest.slots import learn, look
from app.settings import LONGEST_WAIT, Settings
from app.tables import APP, budget

TRIAL_REST = 3_600.0
"""Seconds of rest after a 429 of a trial app that names no time."""


def heed(
    tx: sa.Connection,
    connection_id: int,
    s: Settings,
    answer: Answer,
    category: str = "ads_write",
) -> None:
    """Learn the pace from an answer, and pause the category after a 429 or a spent limit.

    A 429 that arrives while a pause is in force was asked for before it began: it belongs to the
    one that began the pause, and halves nothing again.
    """
    refused = answer.status == 429
    if not refused and answer.allowance is None:
        return
    rows = look(tx, connection_id, s, category)
    row = rows[-1]
    wait = _rest_asked_for(answer, s)
    if wait is not None:  # first: whoever takes a slot locks the app's row before the other, too
        _rest(tx, APP if s.trial_app else connection_id, s, category, wait)
    if not refused:
        learn(
            tx, row, category, after_answer(row.lesson, answer.allowance, row.configured, row.now)
        )
    elif not any(each.paused for each in rows):  # a trial app's pause is in the app's row
        lesson = after_refusal(row.lesson, answer.allowance, row.configured, row.now)
        learn(tx, row, category, lesson)


def _rest_asked_for(answer: Answer, s: Settings) -> float | None:
    """Seconds without requests that an answer asks for, None when it asks for none."""
    longest = DAY if s.trial_app else LONGEST_WAIT
    if answer.status == 429:
        unnamed = TRIAL_REST if s.trial_app else pause(1, s)
        wait = unnamed if answer.retry_after is None else answer.retry_after
        return min(max(wait, 1.0), longest)
    allowance = answer.allowance
    if allowance is None or allowance.remaining != 0 or not allowance.reset:
        return None
    return min(allowance.reset, longest)


def _rest(tx: sa.Connection, connection_id: int, s: Settings, category: str, wait: float) -> None:
    """Pause a category, without shortening a pause that stands."""
    absurd = NOW + seconds(3 * (DAY if s.trial_app else s.longest_pause))
    stands = sa.case((budget.c.not_before < absurd, budget.c.not_before))
    tx.execute(
        sa.update(budget)
        .where(budget.c.connection_id == connection_id, budget.c.category == category)
        .values(not_before=sa.func.greatest(stands, NOW + seconds(wait)))
    )
