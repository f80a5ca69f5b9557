"""Beat's scheduler: a clock set back does not stop it, and it ends when it is told to.

Celery's own works out when each entry is next due and looks at none of them before: after a step
of two hours back it sends nothing for two hours, whatever the schedules say. And it is told to end
by an exception that its signal handler raises wherever the process happens to be: in the midst of
publishing, the client of Redis answers it with an error of its own, which beat logs as a message
that could not be sent; then it goes on for ever.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from celery.beat import Scheduler


class SteadyScheduler(Scheduler):  # type: ignore[misc]  # Celery ships no types
    """Keeps the schedule in memory: a lost one costs an interval."""

    _newest: datetime | None = None
    """The latest time seen so far."""
    _closed = False

    def tick(self, *args: Any, **options: Any) -> float:
        """Send the task that is due, if one is; returns the seconds until the next look."""
        now = self.app.now()
        if self._newest is not None and now < self._newest:
            self._heap = None  # ask each schedule anew
        self._newest = now
        wait: float = super().tick(*args, **options)
        if self._closed:
            raise SystemExit
        return wait

    def close(self) -> None:
        """The handler of SIGTERM and SIGINT calls this before it raises."""
        self._closed = True
        super().close()
