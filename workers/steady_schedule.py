"""A schedule that survives a clock set back.

Celery's own waits until the clock has caught up again: after a step of two hours back, an
interval of a minute is next due in two hours (reliability, T3).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from celery.schedules import schedstate, schedule


class SteadySchedule(schedule):  # type: ignore[misc]  # Celery ships no types
    """Due every so many seconds; a last run in the future means due now."""

    def __init__(self, seconds: float, **options: Any) -> None:
        super().__init__(timedelta(seconds=seconds), **options)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.run_every.total_seconds(),)

    def is_due(self, last_run_at: datetime) -> schedstate:
        if self.maybe_make_aware(last_run_at) > self.now():
            return schedstate(is_due=True, next=self.run_every.total_seconds())
        return super().is_due(last_run_at)
