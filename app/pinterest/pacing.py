"""How fast requests may follow one another, and what answers teach about it. Pure.

A limit of so many requests in a period is kept at 90 percent, with what a tenth of a period of
rest saved up at once: at most 99 percent of it fall into any period, whatever its phase.

Where Pinterest says less than is configured, by a 429 or in the headers of an answer (API facts,
section 6), the pace goes down at once and comes back step by step, a minute at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

SHARE = 0.9
REST = 0.1
"""The part of a period whose unused slots may be made up for."""
MINUTE = 60.0
DAY = 86_400.0
SLOWEST = 1.0
"""Requests a minute that are tried whatever was learnt."""
GROWTH = 0.05
"""The part of the configured pace that comes back with each minute."""
STILL_TRUE = timedelta(seconds=30)
"""How long an announced limit counts without being heard again."""
TOKEN_CALLS_PER_MINUTE = 1_000
TRIAL_DAY = {"ads_write": 300, "ads_read": 600, "org_read": 100}
"""A trial app's requests a day, by category. Of 1,000 reads and 1,000 token calls only so many,
because all calls together may be 1,000 (API facts, section 6)."""


def spacing(limit: float, period: float) -> float:
    """Seconds from one slot to the next."""
    return period / (SHARE * limit)


class Allowance(NamedTuple):
    """What the rate headers of an answer said; None where nothing, or nothing readable."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None
    """Seconds until the limit's window ends."""

    @property
    def per_minute(self) -> int | None:
        """The limit, where its window can be a minute's: a day's says nothing about a minute."""
        is_a_minutes = self.reset is None or self.reset <= MINUTE
        return self.limit if self.limit and is_a_minutes else None


def read_allowance(headers: Mapping[str, str], now: float) -> Allowance | None:
    """The rate headers of an answer, None without any. ``now`` in Unix seconds.

    The number is read from the front, as newer headers append the window ("100, 100;w=60"); a
    reset may be a moment instead of a duration.
    """
    limit, remaining, reset = (
        _leading_number(headers.get(f"x-ratelimit-{name}", ""))
        for name in ("limit", "remaining", "reset")
    )
    if limit is None and remaining is None:
        return None
    seconds = None if reset is None else float(reset)
    if seconds is not None and seconds > now / 2:
        seconds = max(0.0, seconds - now)
    return Allowance(limit, remaining, seconds)


def _leading_number(text: str) -> int | None:
    digits = ""
    for character in text.strip()[:12]:
        if not ("0" <= character <= "9"):
            break
        digits += character
    return int(digits) if digits else None


class Lesson(NamedTuple):
    """A pace below the configured one, and since when."""

    per_minute: float
    at: datetime


def after_refusal(
    lesson: Lesson | None, allowance: Allowance | None, configured: float, now: datetime
) -> Lesson:
    """The pace after a 429: what Pinterest announced if that is less, else half."""
    pace = min(configured, lesson.per_minute) if lesson else configured
    limit = allowance.per_minute if allowance else None
    known = limit if limit is not None and limit < pace else pace / 2
    return Lesson(max(SLOWEST, known), now)


def after_answer(
    lesson: Lesson | None, allowance: Allowance | None, configured: float, now: datetime
) -> Lesson | None:
    """The pace after any other answer: never above a limit that was just announced."""
    limit = allowance.per_minute if allowance else None
    pace = min(configured, lesson.per_minute) if lesson else configured
    if limit is None or limit >= configured or limit > pace:
        return lesson
    known = lesson is not None and limit == lesson.per_minute
    if lesson and known and timedelta(0) <= now - lesson.at < STILL_TRUE:
        return lesson
    return Lesson(max(SLOWEST, limit), now)


def after_rest(lesson: Lesson, configured: float, now: datetime) -> Lesson | None:
    """The pace after time without a new lesson; None once it is the configured one again."""
    if now < lesson.at:  # the clock was set back
        return Lesson(lesson.per_minute, now)
    minutes = (now - lesson.at) // timedelta(seconds=MINUTE)
    pace = lesson.per_minute + minutes * GROWTH * configured
    if pace >= configured:
        return None
    return Lesson(pace, lesson.at + minutes * timedelta(seconds=MINUTE))
