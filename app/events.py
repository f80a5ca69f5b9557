"""Membership events: what every format is read into, and what all formats read alike: times."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

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
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LONGEST_TEXT = 1_000
LONGEST_BYTES = 2_000
"""Of UTF-8: Postgres takes no more than 2,704 into an entry of an index."""


def is_reference(text: str) -> bool:
    """Whether it can be stored as the upstream id of an audience."""
    return (
        len(text) <= LONGEST_TEXT
        and is_storable(text)
        and (text.isascii() or len(text.encode()) <= LONGEST_BYTES)
    )


def is_storable(text: str) -> bool:
    """False for what Postgres cannot store: a NUL byte, half of a surrogate pair."""
    return "\x00" not in text and text.encode(errors="ignore").decode() == text


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def parse_time(value: object, field: str = "occurred_at") -> int | None:
    """ISO 8601, or epoch seconds or milliseconds, to microseconds; None stays None.

    A time without an offset is taken as UTC. Raises InvalidEvent for anything else.
    """
    if _absent(value):
        return None
    if isinstance(value, datetime):
        return _microseconds(value, field)
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
    """RFC 3339 as it is read everywhere, or else any other ISO 8601."""
    with suppress(msgspec.ValidationError, UnicodeEncodeError):
        return _microseconds(msgspec.convert(text, datetime), field)
    try:
        return _microseconds(datetime.fromisoformat(text), field)
    except ValueError:
        raise InvalidEvent(field, "must be ISO 8601 or epoch seconds or milliseconds") from None


def _microseconds(moment: datetime, field: str) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment < EPOCH:
        raise InvalidEvent(field, "is not a time of this age")
    return (moment - EPOCH) // MICROSECOND
