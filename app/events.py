"""Membership events, and our own JSON form of them.

A format is one pure function: a message in, events and faults out. This is Pinfold's own form:

    {"audience": "31001", "operation": "add", "occurred_at": "2026-02-03T08:15:30Z",
     "email": "ana.ruiz@example.org", "idfa": ["3F1C..."], "gaid": null}

One bad identity never costs the message (event-formats, section 1): it becomes a fault that names
the field, and the rest goes on. Faults never repeat a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from app.errors import InvalidEvent


class Operation(StrEnum):
    ADD = "add"
    REMOVE = "remove"


class Kind(StrEnum):
    EMAIL = "email"
    IDFA = "idfa"
    GAID = "gaid"


class ListType(StrEnum):
    """The customer lists of an audience; the value is Pinterest's ``list_type`` and our suffix."""

    EMAIL = "EMAIL"
    MAID = "MAID"


class Identity(NamedTuple):
    kind: Kind
    value: str
    """As it arrived: an address, an advertising id, or a digest of one in hex."""


class MembershipEvent(NamedTuple):
    """One person entered or left one audience: one message for the flush threshold."""

    audience: str
    """The audience's id in the upstream system, never its name."""
    operation: Operation
    identities: tuple[Identity, ...]
    occurred_at_us: int | None = None
    """Microseconds since 1970 in UTC; None means the time of arrival."""


class Fault(NamedTuple):
    """What could not be used, by field and reason; the value itself is never repeated."""

    field: str
    reason: str


OPERATIONS = {"add": Operation.ADD, "remove": Operation.REMOVE}
SECONDS_BELOW = 100_000_000_000
"""Epoch numbers below this are seconds, others milliseconds (event-formats, section 1)."""
LONGEST_TEXT = 1_000


def parse_message(message: object) -> tuple[MembershipEvent, list[Fault]]:
    """Read one message in our own form.

    Returns the event and the faults of identities that were left out of it. Raises InvalidEvent
    when the message as a whole cannot be used.
    """
    if not isinstance(message, Mapping):
        raise InvalidEvent("message", "must be a JSON object")
    audience = _audience(message.get("audience"))
    operation = _operation(message.get("operation"))
    occurred_at_us = parse_time(message.get("occurred_at"))
    identities: list[Identity] = []
    faults: list[Fault] = []
    for kind in Kind:
        for field, value in _values(kind.value, message.get(kind.value)):
            if isinstance(value, str):
                identities.append(Identity(kind, value))
            else:
                faults.append(Fault(field, "must be text"))
    if not identities:
        raise InvalidEvent(
            faults[0].field if faults else "email, idfa, gaid",
            faults[0].reason if faults else "at least one identity is needed",
        )
    return MembershipEvent(audience, operation, tuple(identities), occurred_at_us), faults


def _audience(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise InvalidEvent("audience", "the upstream id of the audience is needed, as text")
    if len(value) > LONGEST_TEXT or not is_storable(value):
        raise InvalidEvent("audience", "is not an id (too long, or no text that can be stored)")
    return value.strip()


def is_storable(text: str) -> bool:
    """False for what Postgres cannot store: a NUL byte, half of a surrogate pair."""
    return "\x00" not in text and text.encode(errors="ignore").decode() == text


def _operation(value: object) -> Operation:
    operation = OPERATIONS.get(value.strip().lower()) if isinstance(value, str) else None
    if operation is None:
        raise InvalidEvent("operation", 'must be "add" or "remove"')
    return operation


def _values(field: str, value: object) -> Iterator[tuple[str, object]]:
    """The values under one field, each with the name of its place; blanks and nulls are absent."""
    if isinstance(value, list):
        for position, entry in enumerate(value):
            if not _absent(entry):
                yield f"{field}[{position}]", entry
    elif not _absent(value):
        yield field, value


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def parse_time(value: object, field: str = "occurred_at") -> int | None:
    """ISO 8601, or epoch seconds or milliseconds, to microseconds; None stays None.

    A time without an offset is taken as UTC. Raises InvalidEvent for anything else.
    """
    if _absent(value):
        return None
    if isinstance(value, str):
        text = value.strip()
        return _epoch(float(text), field) if _is_number(text) else _iso(text, field)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _epoch(value, field)
    raise InvalidEvent(field, "must be ISO 8601 or epoch seconds or milliseconds")


def _is_number(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def _epoch(number: float, field: str) -> int:
    if not 0 <= number < SECONDS_BELOW * 1_000:  # also refuses NaN and the infinities
        raise InvalidEvent(field, "is not a time of this age")
    return round(number * (1_000_000 if number < SECONDS_BELOW else 1_000))


def _iso(text: str, field: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidEvent(field, "must be ISO 8601 or epoch seconds or milliseconds") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment.timestamp() < 0:
        raise InvalidEvent(field, "is not a time of this age")
    return round(moment.timestamp() * 1_000_000)
