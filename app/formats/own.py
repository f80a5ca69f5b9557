"""Pinfold's own form:

    {"audience": "31001", "operation": "add", "occurred_at": "2026-02-03T08:15:30Z",
     "email": "ana.ruiz@example.org", "idfa": ["3F1C..."], "gaid": null}

Each identity is a value or a list of values, plain or hashed already; ``occurred_at`` is optional.
One bad identity never costs the event (event-formats, section 1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.errors import InvalidEvent
from app.events import (
    OPERATIONS,
    Fault,
    Identity,
    Kind,
    MembershipEvent,
    Operation,
    parse_time,
)
from app.formats.reading import (
    MOST_TOLD,
    MOST_VALUES,
    PLAIN,
    TOO_MANY,
    Dialect,
    MessageFault,
    Reading,
    is_absent,
    read_reference,
    refuse_too_many,
    values_of,
)


@dataclass
class EventsRead:
    """The events of many messages in our own form, and what could not be used."""

    events: Sequence[MembershipEvent] = ()
    positions: Sequence[int] = ()
    """Of the message that each event stood in."""
    faults: list[MessageFault] = field(default_factory=list)
    """As many as are told to people."""
    refused: Counter[str] = field(default_factory=Counter)
    """All of them, by reason."""
    rejected: int = 0
    """Messages that could not be used at all."""

    def add(self, fault: MessageFault) -> None:
        self.refused[fault.reason] += 1
        self.rejected += fault.whole
        if len(self.faults) < MOST_TOLD:
            self.faults.append(fault)


def read_events(messages: Sequence[object], dialect: Dialect = PLAIN) -> EventsRead:
    """Read many messages in our own form; one that cannot be used spoils no other.

    Raises InvalidEvent when the call as a whole holds too much.
    """
    events: list[MembershipEvent] = []
    found, positions = EventsRead(), list[int]()
    identities = 0
    for position, message in enumerate(messages):
        try:
            reading = read(message, dialect)
        except InvalidEvent as problem:
            found.add(MessageFault(position, problem.field, problem.reason, whole=True))
            continue
        identities += sum(len(each.identities) for each in reading.events)
        refuse_too_many(identities)
        events += reading.events
        positions.append(position)
        for fault in reading.faults:
            found.add(MessageFault(position, *fault, whole=False))
    found.events, found.positions = events, positions
    return found


def read(message: object, dialect: Dialect = PLAIN) -> Reading:
    """Read one message in our own form. Raises InvalidEvent when it cannot be used at all."""
    if not isinstance(message, Mapping):
        raise InvalidEvent("message", "must be a JSON object")
    named = message.get("audience")
    audience = read_reference(dialect.audience if is_absent(named) else named, "audience")
    operation = _operation(message.get("operation"))
    occurred_at_us = parse_time(message.get("occurred_at"))
    identities: list[Identity] = []
    faults: list[Fault] = []
    for kind in Kind:
        given = message.get(kind.value)
        if isinstance(given, list) and len(given) > MOST_VALUES:
            faults.append(Fault(kind.value, TOO_MANY))
            continue
        for place, value in values_of(kind.value, given):
            if isinstance(value, str):
                identities.append(Identity(kind, value))
            else:
                faults.append(Fault(place, "must be text"))
    if not identities:
        raise InvalidEvent(
            faults[0].field if faults else "email, idfa, gaid",
            faults[0].reason if faults else "at least one identity is needed",
        )
    event = MembershipEvent(audience, operation, tuple(identities), occurred_at_us)
    return Reading([event], faults)


def _operation(value: object) -> Operation:
    operation = OPERATIONS.get(value.strip().lower()) if isinstance(value, str) else None
    if operation is None:
        raise InvalidEvent("operation", 'must be "add" or "remove"')
    return operation
