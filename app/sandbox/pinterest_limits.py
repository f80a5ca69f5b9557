"""Quotas of the simulated Pinterest: fixed windows (API facts section 6)."""

import math
import threading
from dataclasses import dataclass, replace

from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_messages import Refusal

_DAY = 86_400.0
_Key = tuple[str, str]
_Quota = tuple[_Key, int | None, float]
"""Whose calls of which category, how many, in how many seconds."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands in a window after a call."""

    limit: int
    remaining: int
    reset: int
    exceeded: bool = False

    def headers(self) -> dict[str, str | None]:
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.reset),
        }


class RateLimits:
    """Windows of a second, a minute or a day; one opens with the first call after the last ended.

    Those of a second and a minute belong to a person who uses an app, those of a day to the app.
    A call that is refused counts in none.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._windows: dict[_Key, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def take(self, category: str, app_id: str, person: str) -> Standing | None:
        """Count a call; None when its category is not limited. Raises nothing itself."""
        every_call, *of_category = self._quotas(category, app_id, person)
        with self._lock:
            for quota in (every_call, *of_category):
                standing = self._look(quota, counting=0)
                if standing is not None and standing.remaining == 0:
                    return replace(standing, exceeded=True)
            self._look(every_call, counting=1)
            standings = [self._look(quota, counting=1) for quota in of_category]
        tightest = [standing for standing in standings if standing is not None]
        return min(tightest, key=lambda standing: standing.remaining, default=None)

    def _quotas(self, category: str, app_id: str, person: str) -> list[_Quota]:
        """That of all calls in a second first."""
        behaviour, user = self._behaviour, f"{person} of {app_id}"
        minute, day = {
            "ads_write": (behaviour.writes_per_minute, behaviour.trial_writes_per_day),
            "ads_read": (behaviour.reads_per_minute, behaviour.trial_reads_per_day),
            "org_read": (behaviour.token_calls_per_minute, behaviour.trial_reads_per_day),
        }[category]
        quotas: list[_Quota] = [
            (("all", user), behaviour.calls_per_second, 1.0),
            ((category, user), minute, 60.0),
        ]
        if behaviour.trial:
            quotas.append(((category, app_id), day, _DAY))
            quotas.append((("all", app_id), behaviour.trial_calls_per_day, _DAY))
        return quotas

    def _look(self, quota: _Quota, counting: int) -> Standing | None:
        key, limit, length = quota
        if limit is None:
            return None
        now = self._behaviour.clock()
        opened, used = self._windows.get(key, (now, 0))
        if not opened <= now < opened + length:
            opened, used = now, 0
        used += counting
        self._windows[key] = opened, used
        reset = max(1, math.ceil(opened + length - now))
        return Standing(limit, max(0, limit - used), reset)


def too_many() -> Refusal:
    return Refusal(429, 8, "You have exceeded your rate limit. Try again later.")
