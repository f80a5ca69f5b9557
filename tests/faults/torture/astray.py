"""A beat whose clock is hours off, and jumps: three hours ahead, then two behind, and so on.

celery -A tests.faults.torture.astray beat
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from workers.celery_app import app

__all__ = ["app"]

JUMP_EVERY_S = 20.0
SHIFTS = (timedelta(hours=3), timedelta(hours=-2))

_began = time.monotonic()
_right = app.now


def now() -> datetime:
    """What this beat takes for the time."""
    jumps = int((time.monotonic() - _began) / JUMP_EVERY_S)
    return _right() + SHIFTS[jumps % len(SHIFTS)]


app.now = now
