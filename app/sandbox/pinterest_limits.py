"""Quotas of the simulated Pinterest: fixed windows per category and token (API facts section 6)."""

import math
import threading
from dataclasses import dataclass

from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_messages import Refusal


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a token stands in its window after a call."""

    limit: int
    remaining: int
    reset: int
    exceeded: bool

    def headers(self) -> dict[str, str | None]:
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.reset),
        }


class RateLimits:
    """Windows of a second or a minute; one opens with the first call after the last has ended."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}
        self._lock = threading.Lock()

    def take(self, category: str, token: str) -> Standing | None:
        """Count a call of `token`; None when its category is not limited. Raises nothing itself."""
        behaviour = self._behaviour
        every_call = self._count("all", token, behaviour.calls_per_second, 1.0)
        if every_call is not None and every_call.exceeded:
            return every_call
        limit = {
            "ads_write": behaviour.writes_per_minute,
            "ads_read": behaviour.reads_per_minute,
            "org_read": behaviour.token_calls_per_minute,
        }[category]
        return self._count(category, token, limit, 60.0)

    def _count(
        self, category: str, token: str, limit: int | None, length: float
    ) -> Standing | None:
        if limit is None:
            return None
        now = self._behaviour.clock()
        with self._lock:
            opened, used = self._windows.get((category, token), (now, 0))
            if not opened <= now < opened + length:
                opened, used = now, 0
            exceeded = used >= limit
            used += 1
            self._windows[category, token] = opened, used
        reset = max(1, math.ceil(opened + length - now))
        return Standing(limit, max(0, limit - used), reset, exceeded)


def too_many() -> Refusal:
    return Refusal(429, 8, "You have exceeded your rate limit. Try again later.")
