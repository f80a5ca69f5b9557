"""How long to wait after failures. Pure but for the jitter."""

from __future__ import annotations

import random

from app.settings import Settings


def pause(failures: int, s: Settings, chance: float | None = None) -> float:
    """Seconds to wait after so many failures in a row: doubling, up to an hour, then jittered.

    ``chance`` in [0, 1) pins the jitter, which takes off up to half, so that lists that failed
    together do not come back together.
    """
    longest = min(s.backoff_first * 2.0 ** min(max(failures, 1) - 1, 32), s.backoff_most)
    return longest * (1 - (random.random() if chance is None else chance) / 2)
