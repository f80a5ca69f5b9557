"""When a list will reach the cap, from what was sent to it of late. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

RECENT = timedelta(days=7)
"""The time whose requests make the rate."""
LEAST = timedelta(days=1)
"""The shortest time to judge a rate by: a first upload is no pace."""
HORIZON = timedelta(days=10 * 365)
LEVELS = (95, 80, 50)
"""Percent of the cap at which people are warned, the highest first."""


class Forecast(NamedTuple):
    sent: int
    cap: int
    per_day: float
    """Records a day, of late."""
    full_at: datetime | None
    """None where nothing is sent, or not within ten years."""

    @property
    def level(self) -> int | None:
        """The highest percentage of the cap that was passed and is worth a warning."""
        return next((level for level in LEVELS if self.sent * 100 >= self.cap * level), None)

    @property
    def sentence(self) -> str:
        """How far it is, at which pace, and when it will be full."""
        share = f"{self.sent:,} of {self.cap:,} records sent"
        if self.sent >= self.cap:
            return f"{share}: full, nothing more is sent to it"
        if not self.per_day:
            return f"{share}, none of late"
        when = f"full about {self.full_at:%Y-%m-%d}" if self.full_at else "not full within 10 years"
        return f"{share}, {self.per_day:,.0f} a day: {when}"

    def warning(self, audience: str) -> str | None:
        """The sentence for status, with what to do; None below the lowest level."""
        if self.level is None or self.sent >= self.cap:
            return None
        return (
            f"over {self.level} percent of the cap: {self.sentence}; "
            f'pinfold audience roll-over "{audience}" starts a fresh list'
        )


def forecast(
    sent: int, cap: int, *, recent: int, since: datetime | None, now: datetime
) -> Forecast:
    """``recent`` records were charged within RECENT, the first of all at ``since``."""
    age = max(now - since, LEAST) if since else RECENT
    per_day = recent / (min(age, RECENT) / timedelta(days=1))
    left = max(0, cap - sent)
    days = left / per_day if per_day else None
    within = days is not None and days <= HORIZON / timedelta(days=1)
    return Forecast(sent, cap, per_day, now + timedelta(days=days or 0) if within else None)
