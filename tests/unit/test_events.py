"""What all formats read alike: times."""

from datetime import UTC, datetime

import pytest

from app.errors import InvalidEvent
from app.events import parse_time

MOMENT_US = round(datetime(2026, 2, 3, 8, 15, 30, tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    "value",
    [
        "2026-02-03T08:15:30Z",
        "2026-02-03T08:15:30+00:00",
        "2026-02-03T09:15:30+01:00",
        "2026-02-03T08:15:30",
        "2026-02-03 08:15:30",
        " 2026-02-03T08:15:30.000Z ",
        MOMENT_US // 1_000_000,
        MOMENT_US / 1_000_000,
        MOMENT_US // 1_000,
        str(MOMENT_US // 1_000_000),
        str(MOMENT_US // 1_000),
        f"{MOMENT_US // 1_000_000}.0",
    ],
)
def test_a_time_is_read_in_all_its_forms(value: object) -> None:
    assert parse_time(value) == MOMENT_US


@pytest.mark.parametrize("value", [None, "", "  "])
def test_no_time_means_the_time_of_arrival(value: object) -> None:
    assert parse_time(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *("yesterday", "2026-13-01", "-5", "1e9", "nan", "inf", "2026-02-03T25:00:00Z"),
        *("\ud800", "2026-02-03T08:15:30\udfff"),
        *(-1, True, float("nan"), float("inf"), 10**19, 10**400, "1" * 400, [], {}),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_time_is_refused_by_its_field(value: object) -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_time(value, "when")
    assert caught.value.field == "when"


def test_an_iso_time_far_ahead_is_never_taken_for_one_of_the_past() -> None:
    """A sentinel such as the year 9999 is no count of milliseconds: it clamps to the arrival."""
    try:
        far = parse_time("9999-12-31T23:59:59Z")
    except InvalidEvent:
        return
    assert far is not None
    assert far > MOMENT_US
