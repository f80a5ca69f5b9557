"""The cap in sight: rate, date and warnings from what was sent of late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.forecast import Forecast, forecast

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MILLION = 1_000_000
CAP = 300 * MILLION


def ahead(sent: int, recent: int, days: float = 30, cap: int = CAP) -> Forecast:
    return forecast(sent, cap, recent=recent, since=NOW - timedelta(days=days), now=NOW)


def test_the_rate_of_the_last_week_leads_to_a_date() -> None:
    found = ahead(200 * MILLION, 70 * MILLION)
    assert found.per_day == 10 * MILLION
    assert found.full_at == NOW + timedelta(days=10)
    assert "10,000,000 a day: full about 2026-03-11" in found.sentence


def test_a_list_younger_than_a_week_is_judged_by_its_age() -> None:
    assert ahead(6 * MILLION, 6 * MILLION, days=2).per_day == 3 * MILLION


def test_the_first_hour_is_not_taken_for_a_pace() -> None:
    assert ahead(6 * MILLION, 6 * MILLION, days=1 / 24).per_day == 6 * MILLION
    assert ahead(6 * MILLION, 6 * MILLION, days=-3).per_day == 6 * MILLION  # the clock went back


def test_nothing_sent_of_late_gives_no_date() -> None:
    found = forecast(0, CAP, recent=0, since=None, now=NOW)
    assert found.full_at is None
    assert "none of late" in found.sentence


def test_a_date_beyond_ten_years_is_not_named() -> None:
    found = ahead(7, 7)
    assert found.full_at is None
    assert "not full within 10 years" in found.sentence


@pytest.mark.parametrize(
    ("percent", "level"),
    [(0, None), (49.999, None), (50, 50), (79.999, 50), (80, 80), (94.999, 80), (95, 95)],
)
def test_it_warns_at_50_80_and_95_percent(percent: float, level: int | None) -> None:
    found = ahead(int(percent * CAP / 100), MILLION)
    assert found.level == level
    warning = found.warning("VIP")
    assert (warning is None) == (level is None)
    assert warning is None or (f"over {level} percent" in warning and 'roll-over "VIP"' in warning)


def test_a_full_list_says_so_and_needs_no_forecast() -> None:
    found = ahead(CAP, 7 * MILLION)
    assert found.full_at == NOW
    assert "full, nothing more is sent" in found.sentence
    assert found.warning("VIP") is None
    assert "full" in ahead(0, 0, cap=0).sentence
