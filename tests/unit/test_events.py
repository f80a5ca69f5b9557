"""Our own JSON form of a membership event."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidEvent
from app.events import Identity, Kind, MembershipEvent, Operation, parse_message, parse_time

MOMENT = datetime(2026, 2, 3, 8, 15, 30, tzinfo=UTC)
MOMENT_US = round(MOMENT.timestamp() * 1_000_000)
SECRET = "ana.ruiz@example.org"


def message(**fields: Any) -> dict[str, Any]:
    return {"audience": "31001", "operation": "add", "email": SECRET} | fields


def test_a_whole_message_becomes_an_event() -> None:
    device = "3f1c0c6a-5d4e-4b8a-9f53-0d2a7e6b1c99"
    event, faults = parse_message(
        message(occurred_at="2026-02-03T08:15:30Z", idfa=[device], gaid=None)
    )
    assert faults == []
    assert event == MembershipEvent(
        "31001",
        Operation.ADD,
        (Identity(Kind.EMAIL, SECRET), Identity(Kind.IDFA, device)),
        MOMENT_US,
    )


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


def test_a_list_gives_each_identity_and_skips_blanks() -> None:
    event, faults = parse_message(message(email=[SECRET, None, "", " ", "b@example.org"]))
    assert [identity.value for identity in event.identities] == [SECRET, "b@example.org"]
    assert faults == []


def test_a_bad_identity_in_a_list_is_named_by_its_place_and_costs_no_neighbour() -> None:
    event, faults = parse_message(message(email=[SECRET, 5], idfa={"a": 1}))
    assert event.identities == (Identity(Kind.EMAIL, SECRET),)
    assert [(fault.field, fault.reason) for fault in faults] == [
        ("email[1]", "must be text"),
        ("idfa", "must be text"),
    ]


@pytest.mark.parametrize(
    ("given_message", "field"),
    [
        ([], "message"),
        ("text", "message"),
        (None, "message"),
        (message(audience=None), "audience"),
        (message(audience=" "), "audience"),
        (message(audience=True), "audience"),
        (message(audience="a\x00b"), "audience"),
        (message(audience="a" * 1_001), "audience"),
        (message(audience="lone\ud800"), "audience"),
        (message(operation=None), "operation"),
        (message(operation="upsert"), "operation"),
        (message(operation=1), "operation"),
        (message(occurred_at="soon"), "occurred_at"),
        (message(email=None), "email, idfa, gaid"),
        (message(email=[]), "email, idfa, gaid"),
        (message(email=[SECRET.encode()]), "email[0]"),
    ],
)
def test_a_message_that_cannot_be_used_is_refused_by_its_field(
    given_message: object, field: str
) -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_message(given_message)
    assert caught.value.field == field


def test_an_audience_may_be_a_number_and_an_operation_in_any_case() -> None:
    event, _ = parse_message(message(audience=31001, operation=" Remove "))
    assert (event.audience, event.operation) == ("31001", Operation.REMOVE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("audience", "operation", "occurred_at", "email", "idfa", "gaid")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)))
def test_any_json_is_read_or_refused_and_nothing_else(given_message: dict[str, Any]) -> None:
    try:
        event, _ = parse_message(given_message)
    except InvalidEvent:
        return
    assert event.identities


@given(st.sampled_from(FIELDS), st.integers(min_value=0, max_value=3))
def test_faults_never_repeat_a_value(field: str, shape: int) -> None:
    canary = "canary-6f1e@example.org"
    values: list[object] = [canary, [canary], {"x": canary}, [{"x": canary}]]
    try:
        _, faults = parse_message(message() | {field: values[shape]})
        said = " ".join(f"{fault.field} {fault.reason}" for fault in faults)
    except InvalidEvent as problem:
        said = str(problem)
    assert "canary" not in said
