"""A whole body of our own form at once: the same events as of its messages one after another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.api.body import decode_lines
from app.drafting import draft_chunks, sort_events
from app.events import MembershipEvent
from app.formats.own import read
from app.formats.own_columns import read_whole
from app.plain_events import PlainEvents

DEVICE = "3f1c0c6a-5d4e-4b8a-9f53-0d2a7e6b1c99"
odd = st.sampled_from(
    [None, "", " ", True, 0, 1, 1.5, "1", [], ["a@example.org"], {}, "\x00", "\ud800"]
)
audiences = st.sampled_from(["31001", " 31001 ", "31002", "x" * 1_001]) | odd
operations = st.sampled_from(["add", "remove", "ADD", " add", "update"]) | odd
values = st.sampled_from(["a@example.org", "B@example.org ", DEVICE, "junk"]) | odd
times = odd | st.sampled_from(
    [
        "2026-02-03T08:15:30Z",
        "2026-02-03T08:15:30.123456+05:30",
        "2026-02-03",
        "20260203",
        "1770106530",
        "1770106530.5",
        "1969-12-31T23:59:59Z",
        1_770_106_530,
        1_770_106_530_123,
        10**15,
        -1,
        "yesterday",
    ]
)
fields = {
    "audience": audiences,
    "operation": operations,
    "email": values,
    "idfa": values,
    "gaid": values,
    "occurred_at": times,
    "more": odd,
}
messages = st.lists(
    st.permutations(list(fields)).flatmap(
        lambda names: st.integers(0, len(names)).flatmap(
            lambda count: st.fixed_dictionaries({name: fields[name] for name in names[:count]})
        )
    )
    | odd,
    max_size=8,
)


def plain(**more: Any) -> dict[str, Any]:
    return {"audience": "31001", "operation": "add", "email": "a@example.org"} | more


people = st.builds(
    plain,
    audience=st.sampled_from(["31001", "31002", "31003"]),
    operation=st.sampled_from(["add", "remove"]),
    email=st.sampled_from(["a@example.org", " B@example.org ", "junk"]),
) | st.builds(
    lambda audience, at_ms: {
        "audience": audience,
        "operation": "add",
        "gaid": DEVICE,
        "occurred_at": at_ms,
    },
    st.sampled_from(["31001", "nobody's"]),
    st.integers(1_700_000_000_000, 1_800_000_000_000),
)


def body_of(messages: Sequence[Any], *, by_line: bool) -> bytes:
    texts = [json.dumps(message).encode() for message in messages]
    return b"\n".join(texts) if by_line else b"[" + b", ".join(texts) + b"]"


def decoded(body: bytes) -> list[Any]:
    value = decode_lines(body, 1_000)
    return value if isinstance(value, list) else [value]


def assert_is_read_alike(body: bytes) -> None:
    """What is read at once is what its messages say one by one; anything else is left to these."""
    events = read_whole(body)
    if events is None:
        return
    readings = [read(message) for message in decoded(body)]
    assert [*events] == [event for reading in readings for event in reading.events]
    assert not any(reading.faults for reading in readings)
    assert all(type(event) is MembershipEvent for event in events)


@given(messages, st.booleans())
@example([plain(), plain(occurred_at="2026-02-03T08:15:30Z"), plain(idfa=DEVICE)], False)
@example([plain(email=["a@example.org", "", "b@example.org"], gaid=DEVICE)], False)
@example([plain(email=[" "])], True)
@example([plain(email=["a@example.org"] * 1_001)], True)
@example([plain(occurred_at="2026-02-03T08:15:30.1234567Z"), plain()], True)
@example([plain(occurred_at="1969-12-31T23:59:59Z")] * 2, True)
@example([plain(occurred_at="2026-02-03T08:15:30")] * 2, True)
@example([plain(occurred_at=1_770_106_530)] * 2, True)
@example([plain(audience=" 31001 "), plain(audience="31001")], True)
def test_a_body_read_at_once_says_what_its_messages_say_one_by_one(
    given_messages: list[Any], by_line: bool
) -> None:
    assert_is_read_alike(body_of(given_messages, by_line=by_line))


@given(st.data())
def test_a_body_that_was_damaged_is_never_read_at_once_for_something_else(
    data: st.DataObject,
) -> None:
    """Neither does it read what the service would refuse as no JSON, or otherwise."""
    many = data.draw(st.lists(people, min_size=1, max_size=4))
    body = bytearray(body_of(many, by_line=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body)))
        length = data.draw(st.integers(0, 2))
        body[place : place + length] = data.draw(
            st.binary(max_size=2)
            | st.sampled_from(
                [b"{", b"}", b"[", b"]", b",", b'"', b"\\u0061", b"\\ud800", b"\n", b" "]
            )
        )
    assert_is_read_alike(bytes(body))


@pytest.mark.parametrize("between", [b"", b" ", b"\n"])
def test_messages_that_share_or_span_lines_are_not_read_at_once(between: bytes) -> None:
    one = body_of([plain()], by_line=True)
    for spanning in (one.replace(b"{", b"{\n"), one):
        body = spanning + between + one
        assert_is_read_alike(body)
        assert (read_whole(body) is None) == (body != one + b"\n" + one)


@pytest.mark.parametrize("by_line", [True, False])
@pytest.mark.parametrize(
    "given_messages",
    [
        [plain()],
        [plain(), plain(occurred_at="2026-02-03T08:15:30Z")],
        [plain(occurred_at="2026-02-03T08:15:30Z"), plain(occurred_at="2026-02-03T08:15:31+01:00")],
        [plain(email=None, gaid=DEVICE, idfa=None), plain(operation="remove")],
        [plain(occurred_at=1_770_106_530_123), plain()],
        [plain(idfa=[DEVICE]), plain(idfa=DEVICE)],
    ],
)
def test_plain_messages_are_read_at_once(given_messages: list[Any], by_line: bool) -> None:
    assert len(read_whole(body_of(given_messages, by_line=by_line)) or ()) == len(given_messages)


@pytest.mark.parametrize(
    "given_message",
    [
        plain(more=1),
        plain(operation="ADD"),
        plain(email=" "),
        plain(email=None),
        plain(occurred_at="yesterday"),
        plain(audience=31001),
        [],
        None,
    ],
)
def test_one_message_that_is_not_plain_leaves_all_to_be_read_one_by_one(given_message: Any) -> None:
    assert read_whole(body_of([plain(), given_message, plain()], by_line=False)) is None


@pytest.mark.parametrize("body", [b"", b" ", b"[]", b"\n\n", b"[" * 100_000, b'{"a":' * 100_000])
def test_a_body_without_messages_is_not_read_at_once(body: bytes) -> None:
    assert read_whole(body) is None


@given(st.lists(people, min_size=1, max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_plain_events_are_drafted_as_if_each_were_an_object(
    given_messages: list[Any], start: int, stop: int
) -> None:
    events = read_whole(body_of(given_messages, by_line=True))
    assert isinstance(events, PlainEvents)
    assert [*events[start:stop]] == [*events][start:stop]
    assert events[len(events) - 1] == [*events][-1]
    known = {"31001": 1, "31002": 2, "31003": 3}
    unknown = {"nobody's": "is not activated"}
    drafted = [
        draft_chunks(sort_events(each), known, unknown, 1_800_000_000_000_000)
        for each in (events, [*events])
    ]
    assert drafted[0] == drafted[1]
