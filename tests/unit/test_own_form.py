"""Our own JSON form of a membership event."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidEvent
from app.events import Identity, Kind, MembershipEvent, Operation
from app.formats.own import read
from app.formats.reading import Dialect

MOMENT_US = 1_770_106_530_000_000
SECRET = "ana.ruiz@example.org"


def message(**fields: Any) -> dict[str, Any]:
    return {"audience": "31001", "operation": "add", "email": SECRET} | fields


def test_a_whole_message_becomes_an_event() -> None:
    device = "3f1c0c6a-5d4e-4b8a-9f53-0d2a7e6b1c99"
    reading = read(message(occurred_at="2026-02-03T08:15:30Z", idfa=[device], gaid=None))
    assert (reading.faults, reading.message_id) == ([], None)
    (event,) = reading.events
    assert event == MembershipEvent(
        "31001",
        Operation.ADD,
        (Identity(Kind.EMAIL, SECRET), Identity(Kind.IDFA, device)),
        MOMENT_US,
    )


def test_a_list_gives_each_identity_and_skips_blanks() -> None:
    reading = read(message(email=[SECRET, None, "", " ", "b@example.org"]))
    (event,) = reading.events
    assert [identity.value for identity in event.identities] == [SECRET, "b@example.org"]
    assert reading.faults == []


def test_a_bad_identity_in_a_list_is_named_by_its_place_and_costs_no_neighbour() -> None:
    reading = read(message(email=[SECRET, 5], idfa={"a": 1}))
    (event,) = reading.events
    assert event.identities == (Identity(Kind.EMAIL, SECRET),)
    assert [(fault.field, fault.reason) for fault in reading.faults] == [
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
        read(given_message)
    assert caught.value.field == field


def test_an_audience_may_be_a_number_and_an_operation_in_any_case() -> None:
    (event,) = read(message(audience=31001, operation=" Remove ")).events
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
        (event,) = read(given_message).events
    except InvalidEvent:
        return
    assert event.identities


@given(st.sampled_from(FIELDS), st.integers(min_value=0, max_value=3))
def test_faults_never_repeat_a_value(field: str, shape: int) -> None:
    canary = "canary-6f1e@example.org"
    values: list[object] = [canary, [canary], {"x": canary}, [{"x": canary}]]
    try:
        faults = read(message() | {field: values[shape]}).faults
        said = " ".join(f"{fault.field} {fault.reason}" for fault in faults)
    except InvalidEvent as problem:
        said = str(problem)
    assert "canary" not in said


def test_the_audience_of_a_source_counts_where_a_message_names_none() -> None:
    source = Dialect(audience="31009")
    unnamed = {name: value for name, value in message().items() if name != "audience"}
    assert [event.audience for event in read(unnamed, source).events] == ["31009"]
    assert [event.audience for event in read(message(), source).events] == ["31001"]
