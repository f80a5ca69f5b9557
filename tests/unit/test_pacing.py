"""How fast requests may follow one another, and what answers teach about it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pinterest.pacing import (
    DAY,
    GROWTH,
    MINUTE,
    REST,
    SLOWEST,
    TRIAL_DAY,
    Allowance,
    Lesson,
    after_answer,
    after_refusal,
    after_rest,
    read_allowance,
    spacing,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTES = timedelta(minutes=1)
paces = st.floats(SLOWEST, 100_000)
allowances = st.none() | st.builds(
    Allowance,
    limit=st.none() | st.integers(0, 10**9),
    remaining=st.none() | st.integers(0, 10**9),
    reset=st.none() | st.floats(0, 10**6),
)
events = st.lists(
    st.tuples(st.sampled_from(["refusal", "answer", "rest"]), allowances, st.floats(-600, 3_600)),
    max_size=30,
)


@given(events, paces)
def test_a_pace_is_never_above_the_configured_one_and_never_zero(
    happened: list[tuple[str, Allowance | None, float]], configured: float
) -> None:
    lesson: Lesson | None = None
    now = NOON
    for what, allowance, passed in happened:
        now += timedelta(seconds=passed)
        if what == "refusal":
            lesson = after_refusal(lesson, allowance, configured, now)
        elif what == "answer":
            lesson = after_answer(lesson, allowance, configured, now)
        elif lesson is not None:
            lesson = after_rest(lesson, configured, now)
        assert lesson is None or SLOWEST <= lesson.per_minute <= configured


@given(paces, paces)
def test_every_pace_comes_back_within_the_time_its_growth_takes(
    configured: float, pace: float
) -> None:
    lesson = Lesson(min(pace, configured), NOON)
    assert after_rest(lesson, configured, NOON + (1 / GROWTH + 1) * MINUTES) is None


@given(st.integers(1, 5_000), st.sampled_from([MINUTE, DAY]))
def test_slots_after_the_longest_rest_never_pass_the_limit_in_any_period(
    limit: int, period: float
) -> None:
    """A period holds the slots of its length and of the rest, and the one at its beginning."""
    assert int(period * (1 + REST) / spacing(limit, period)) + 1 <= limit


def test_a_429_halves_the_pace_when_nobody_says_how_much_is_allowed() -> None:
    once = after_refusal(None, None, 400, NOON)
    assert once == Lesson(200, NOON)
    assert after_refusal(once, None, 400, NOON + MINUTES) == Lesson(100, NOON + MINUTES)


def test_a_429_with_a_lower_limit_adopts_it() -> None:
    assert after_refusal(None, Allowance(60, 0, 20), 400, NOON).per_minute == 60


def test_a_429_at_a_limit_that_was_kept_halves_because_others_use_it_too() -> None:
    kept = Lesson(60, NOON)
    assert after_refusal(kept, Allowance(60, 0, 20), 400, NOON).per_minute == 30


def test_no_number_of_429s_stops_all_tries() -> None:
    lesson = None
    for _ in range(50):
        lesson = after_refusal(lesson, None, 400, NOON)
    assert lesson == Lesson(SLOWEST, NOON)


def test_a_lower_limit_in_any_answer_is_adopted_and_a_higher_one_is_not() -> None:
    assert after_answer(None, Allowance(100, 99, 60), 400, NOON) == Lesson(100, NOON)
    assert after_answer(None, Allowance(800, 799, 60), 400, NOON) is None
    halved = Lesson(50, NOON)
    assert after_answer(halved, Allowance(100, 99, 60), 400, NOON) is halved


def test_a_limit_that_is_announced_again_and_again_is_not_outgrown() -> None:
    lesson = after_answer(None, Allowance(100, 99, 60), 400, NOON)
    for second in range(1, 600):
        now = NOON + timedelta(seconds=second)
        lesson = after_answer(lesson, Allowance(100, 99, 60), 400, now)
        assert lesson is not None
        lesson = after_rest(lesson, 400, now)
        assert lesson is not None
        assert lesson.per_minute == 100


@pytest.mark.parametrize("allowance", [None, Allowance(0, 0, 60), Allowance(None, 5, 60)])
def test_headers_without_a_limit_teach_nothing(allowance: Allowance | None) -> None:
    assert after_answer(None, allowance, 400, NOON) is None


def test_a_limit_of_a_day_says_nothing_about_a_minute() -> None:
    assert after_answer(None, Allowance(300, 299, 80_000), 400, NOON) is None


def test_a_pace_comes_back_step_by_step() -> None:
    lesson = Lesson(200, NOON)
    assert after_rest(lesson, 400, NOON + timedelta(seconds=59)) == lesson
    later = after_rest(lesson, 400, NOON + timedelta(seconds=150))
    assert later == Lesson(240, NOON + 2 * MINUTES)
    assert after_rest(Lesson(390, NOON), 400, NOON + MINUTES) is None


def test_a_clock_that_was_set_back_delays_the_recovery_by_a_minute_only() -> None:
    lesson = Lesson(200, NOON)
    moved = after_rest(lesson, 400, NOON - timedelta(days=30))
    assert moved == Lesson(200, NOON - timedelta(days=30))
    assert after_rest(moved, 400, moved.at + MINUTES) == Lesson(220, moved.at + MINUTES)


@pytest.mark.parametrize(
    ("headers", "read"),
    [
        ({}, None),
        ({"x-ratelimit-reset": "7"}, None),
        ({"x-ratelimit-limit": "soon"}, None),
        ({"x-ratelimit-limit": "²"}, None),
        ({"x-ratelimit-limit": "60"}, Allowance(60)),
        (
            {
                "x-ratelimit-limit": " 400, 400;w=60",
                "x-ratelimit-remaining": "399",
                "x-ratelimit-reset": "42.5",
            },
            Allowance(400, 399, 42),
        ),
        (
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1790000030"},
            Allowance(None, 0, 30),
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "-3"}, Allowance(None, 0)),
    ],
)
def test_rate_headers_are_read_tolerantly(headers: dict[str, str], read: Allowance | None) -> None:
    assert read_allowance(headers, 1_790_000_000) == read


@given(st.dictionaries(st.sampled_from(["x-ratelimit-limit", "x-ratelimit-reset"]), st.text()))
def test_no_header_breaks_the_reading(headers: dict[str, str]) -> None:
    read_allowance(headers, 1_790_000_000)


def test_a_trial_apps_shares_stay_within_what_all_calls_together_may_be() -> None:
    assert TRIAL_DAY["ads_write"] == 300
    assert sum(TRIAL_DAY.values()) <= 1_000
