"""The formats that upstream systems speak, each one module with one pure function.

    own          our own form, for everything without a form of its own
    mparticle    mParticle's partner protocol, 1.x to 3.x
    segment      Segment's track and identify events of audiences
    rudderstack  RudderStack's audiencelist and record, and boolean traits

``read_all`` reads every message of one call, whichever way it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from app.errors import InvalidEvent
from app.events import MembershipEvent
from app.formats import mparticle, own, rudderstack, segment
from app.formats.reading import (
    MOST_TOLD,
    PLAIN,
    Dialect,
    Mention,
    MessageFault,
    Reading,
    refuse_too_many,
)

Read = Callable[[object, Dialect], Reading]
FORMATS: dict[str, Read] = {
    "events": own.read,
    "mparticle": mparticle.read,
    "segment": segment.read,
    "rudderstack": rudderstack.read,
}


class MessageRead(NamedTuple):
    """A message that could be used, with its place in the call."""

    position: int
    events: list[MembershipEvent]
    message_id: str | None
    refused: Counter[str]
    """Parts of it that could not be used, by reason."""
    noted: Counter[str]
    """What of it was ignored, or taken in doubt, by reason."""


@dataclass
class CallRead:
    """What all messages of one call say."""

    messages: list[MessageRead] = field(default_factory=list)
    unreadable: Counter[str] = field(default_factory=Counter)
    """Messages that could not be used at all, by reason."""
    faults: list[MessageFault] = field(default_factory=list)
    """Each of the former and of the parts of others, as many as are told to people."""
    ignored: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    mentions: dict[str, Mention] = field(default_factory=dict)

    def add(self, position: int, reading: Reading) -> None:
        refused = Counter(fault.reason for fault in reading.faults)
        noted = Counter(reading.ignored + reading.noted)
        self.messages.append(
            MessageRead(position, reading.events, reading.message_id, refused, noted)
        )
        for fault in reading.faults[: MOST_TOLD - len(self.faults)]:
            self.faults.append(MessageFault(position, *fault, whole=False))
        self.ignored.update(reading.ignored)
        self.noted.update(reading.noted)
        self.mentions |= reading.mentions

    def add_unreadable(self, position: int, problem: InvalidEvent) -> None:
        self.unreadable[problem.reason] += 1
        if len(self.faults) < MOST_TOLD:
            self.faults.append(MessageFault(position, problem.field, problem.reason, whole=True))


def messages_of(value: object) -> list[object]:
    """The messages in a decoded body: an array, RudderStack's ``batch``, or a single one."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and not value.keys() & {"type", "audience"}:
        batch = value.get("batch")
        return batch if isinstance(batch, list) else [value]
    return [value]


def read_all(read: Read, messages: Iterable[object], dialect: Dialect = PLAIN) -> CallRead:
    """Read every message; one that cannot be used spoils no other.

    Raises InvalidEvent when the call as a whole holds too much.
    """
    call = CallRead()
    identities = 0
    for position, message in enumerate(messages):
        try:
            reading = read(message, dialect)
        except InvalidEvent as problem:
            call.add_unreadable(position, problem)
            continue
        identities += sum(len(event.identities) for event in reading.events)
        refuse_too_many(identities)
        call.add(position, reading)
    return call
