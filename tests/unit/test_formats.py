"""The messages of one call: told apart, and read each for itself."""

from __future__ import annotations

import pytest

from app.formats import FORMATS, messages_of, read_all

EVENT = {"audience": "31001", "operation": "add", "email": "a@example.org"}


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ([EVENT, EVENT], [EVENT, EVENT]),
        (EVENT, [EVENT]),
        ({"batch": [EVENT], "sentAt": "now"}, [EVENT]),
        ([], []),
        (5, [5]),
        ({"batch": "no list"}, [{"batch": "no list"}]),
    ],
)
def test_a_body_is_one_message_an_array_or_a_batch(value: object, messages: list[object]) -> None:
    assert messages_of(value) == messages


@pytest.mark.parametrize("field", ["type", "audience"])
def test_a_message_with_a_field_called_batch_is_a_message(field: str) -> None:
    message = {field: "record", "batch": [1, 2]}
    assert messages_of(message) == [message]


def test_one_message_that_cannot_be_used_spoils_no_other() -> None:
    call = read_all(FORMATS["events"], [EVENT, 5, {**EVENT, "operation": "?"}, EVENT])
    assert [read.position for read in call.messages] == [0, 3]
    assert [(fault.position, fault.field, fault.whole) for fault in call.faults] == [
        (1, "message", True),
        (2, "operation", True),
    ]
    assert call.unreadable.total() == 2
