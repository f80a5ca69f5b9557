"""When an audience is flushed: the pure rule."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.flush_rule import Facts, flush_reason

NOW = datetime(2026, 2, 3, 12, tzinfo=UTC)
AGE = timedelta(hours=3)
HOUR = timedelta(hours=1)


def facts(**given_facts: Any) -> Facts:
    usual: dict[str, Any] = {
        "now": NOW,
        "state": "active",
        "since": NOW - HOUR,
        "asked": False,
        "draining": False,
        "waiting_messages": 1,
        "lane_records": 0,
        "held_records": 0,
        "held_connection": False,
        "flush_messages": 100_000,
        "flush_age": AGE,
        "lane_limit": 2_000_000,
    }
    return Facts(**usual | given_facts)


@pytest.mark.parametrize(
    ("given_facts", "reason"),
    [
        ({"waiting_messages": 99_999}, None),
        ({"waiting_messages": 100_000}, "count"),
        ({"waiting_messages": 100_001}, "count"),
        ({"since": NOW - AGE + timedelta(microseconds=1)}, None),
        ({"since": NOW - AGE}, "age"),
        ({"since": NOW - AGE, "waiting_messages": 0}, None),
        ({"since": NOW + timedelta(minutes=5)}, None),
        ({"since": NOW + AGE}, None),
        ({"since": NOW + AGE + timedelta(seconds=1)}, "age"),
        ({"draining": True}, "drain"),
        ({"asked": True}, "asked"),
        ({"asked": True, "waiting_messages": 0}, None),
        ({"asked": True, "state": "paused"}, None),
        ({"waiting_messages": 10**6, "state": "paused"}, None),
        ({"state": "deactivated"}, "deactivated"),
        ({"state": "deactivated", "waiting_messages": 0}, None),
        ({"state": "deactivated", "lane_records": 5, "held_connection": True}, "deactivated"),
        ({"waiting_messages": 10**6, "lane_records": 1}, None),
        ({"asked": True, "lane_records": 1}, None),
        ({"waiting_messages": 10**6, "held_records": 2_000_000}, "count"),
        ({"waiting_messages": 10**6, "held_records": 2_000_001}, None),
        ({"waiting_messages": 10**6, "held_connection": True}, None),
    ],
)
def test_the_rule(given_facts: dict[str, Any], reason: str | None) -> None:
    assert flush_reason(facts(**given_facts)) == reason


@given(
    st.builds(
        facts,
        state=st.sampled_from(["active", "paused", "deactivated"]),
        since=st.timedeltas(-timedelta(hours=9), timedelta(hours=9)).map(lambda d: NOW + d),
        asked=st.booleans(),
        draining=st.booleans(),
        lane_records=st.integers(0, 2),
        held_records=st.integers(0, 3_000_000),
        held_connection=st.booleans(),
    )
)
def test_an_empty_queue_never_uploads(situation: Facts) -> None:
    empty = Facts(**situation.__dict__ | {"waiting_messages": 0})
    assert flush_reason(empty) is None


@given(st.integers(1, 10**6), st.timedeltas(timedelta(0), timedelta(days=30)))
def test_whatever_waits_is_flushed_after_three_hours_at_the_latest(
    waiting: int, later: timedelta
) -> None:
    assert flush_reason(facts(waiting_messages=waiting, since=NOW - AGE - later)) is not None
