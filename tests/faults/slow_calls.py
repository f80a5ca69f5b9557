"""Calls of intake whose transaction stays open for a while, as over a slow network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.database import self_committing
from tests.faults.mortal_workers import Step, this_step
from tests.faults.reckoning import Said, Word


class SlowCall(NamedTuple):
    """A call whose transaction is open, its gate taken and its ids drawn."""

    step: Step
    said: list[Said]
    words: dict[int, list[Word]]
    key: str


@contextmanager
def committing_slowly(engine: sa.Engine) -> Iterator[Any]:
    """In place of ``self_committing``: where a step calls, its transaction stays open a while."""
    step = this_step()
    if step is None:
        with self_committing(engine) as cursor:
            yield cursor
        return
    pooled = engine.raw_connection()
    driver: Any = pooled.dbapi_connection
    try:
        with driver.cursor() as cursor:
            yield cursor
        step.freeze()
        driver.commit()
    finally:
        driver.rollback()
        pooled.close()
