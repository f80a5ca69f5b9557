"""What the formats of files share, whose records are one person's change in one audience each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.errors import InvalidEvent
from app.events import Identity, MembershipEvent, Operation, parse_time
from app.formats.calls import NO_IDENTITY, UNREADABLE_TIME
from app.formats.identifiers import identities_in
from app.formats.reading import Dialect, Mention, Reading, is_absent


def operation_of(member: object, field: str) -> Operation:
    """Add for true, remove for false. Raises InvalidEvent for all else: it is never guessed."""
    if not isinstance(member, bool):
        raise InvalidEvent(field, "must be true or false")
    return Operation.ADD if member else Operation.REMOVE


def moment_of(value: object, reading: Reading) -> int | None:
    """When it happened; a time that cannot be read is noted, and the time of arrival counts."""
    try:
        return parse_time(value)
    except InvalidEvent:
        reading.noted.append(UNREADABLE_TIME)
        return None


def name_of(value: object) -> str | None:
    """What an audience is called, if it is called anything."""
    return value.strip() if isinstance(value, str) and not is_absent(value) else None


def read_person(
    record: Mapping[str, object], field: str, dialect: Dialect, reading: Reading
) -> list[Identity]:
    """The identities in the object under ``field``; what is to be said of them into ``reading``."""
    values = record.get(field)
    if not isinstance(values, Mapping | None):
        raise InvalidEvent(field, "must be a JSON object")
    found = identities_in(values or {}, dialect, field)
    reading.faults += found.faults
    reading.noted += found.noted
    return found.identities


def add_event(
    reading: Reading,
    audience: Mention,
    operation: Operation,
    occurred_at_us: int | None,
    identities: Iterable[Identity],
) -> Reading:
    """The reading with the event of one person; a person without an identity is ignored.

    Raises InvalidEvent when the identities that were there cannot be used.
    """
    once = tuple(dict.fromkeys(identities))
    if not once:
        if reading.faults:
            raise InvalidEvent(*reading.faults[0])
        reading.ignored.append(NO_IDENTITY)
        return reading
    first = audience.references[0]
    reading.events.append(MembershipEvent(first, operation, once, occurred_at_us))
    if audience.name:
        reading.mentions[first] = audience
    return reading
