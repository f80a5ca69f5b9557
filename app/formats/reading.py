"""What every format gives: the events of one message, and what is to be said of the rest.

A format is one module with one pure function, ``read(message, dialect) -> Reading``. It gets one
decoded JSON value, knows nothing of HTTP, files or the database, and judges no identity: that is
done once for all ways in, by ``app.drafting``. It raises InvalidEvent when the message as a whole
cannot be used. What it says names fields and places, never a value (event-formats, section 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from app.errors import InvalidEvent
from app.events import Fault, Kind, MembershipEvent, is_reference

DEVICE: Final = "device"
"""An advertising id that may be an IDFA or a GAID (``MADID``, ``device_id``)."""
IdentifierKind = Kind | Literal["device"]
MOST_IDENTITIES: Final = 250_000
"""In the events of one call: people times audiences may not multiply without end."""
MOST_VALUES: Final = 1_000
"""In one list of a person's identities."""
TOO_MANY: Final = f"holds more than {MOST_VALUES:,} values: those are no one person's"
MOST_FAULTS: Final = 1_000
"""That are told apart in one message: a body of nothing but junk has millions of them."""


class Mention(NamedTuple):
    """How a message speaks of an audience. Its events carry the first of the references."""

    references: tuple[str, ...]
    """The upstream ids it may have been activated under, the surest first."""
    name: str | None
    """What it is called, where the message says so: for activating it."""


@dataclass(frozen=True)
class Dialect:
    """What a source was told of its messages, because they do not say it themselves."""

    audience: str | None = None
    """The upstream id of the audience of messages that name none."""
    audience_key: str | None = None
    """The name of the boolean that says membership, where the message does not name it."""
    identifiers: Mapping[str, IdentifierKind] = field(default_factory=dict)
    """Further names of identifiers, in lower case, beside the format's own."""


PLAIN = Dialect()


@dataclass
class Reading:
    """What one message says."""

    events: list[MembershipEvent] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    """Parts of it that cannot be used; the rest is in ``events``."""
    ignored: list[str] = field(default_factory=list)
    """Parts that are no membership change, or are not to be forwarded: a reason for each."""
    noted: list[str] = field(default_factory=list)
    """Doubts in spite of which something was taken."""
    mentions: dict[str, Mention] = field(default_factory=dict)
    """Audiences in ``events`` that have a name or further references, by their first one."""
    message_id: str | None = None
    """The sender's id of the message, the same when it is sent again."""


class MessageFault(NamedTuple):
    """What could not be used of a message: the whole of it, or a part that ``field`` names."""

    position: int
    """Index of the message in the call."""
    field: str
    reason: str
    whole: bool


MOST_TOLD: Final = 10_000
"""Faults of one call that are listed; all are counted."""


def refuse_too_many(identities: int) -> None:
    """Raise InvalidEvent when the events of a call have more identities than one may have."""
    if identities > MOST_IDENTITIES:
        raise InvalidEvent(
            "message", f"holds more than {MOST_IDENTITIES:,} identities, counted for each audience"
        )


def note_fault(faults: list[Fault], field_name: str, reason: str) -> None:
    """Add a fault; from the thousandth on they are one that says so."""
    if len(faults) < MOST_FAULTS:
        faults.append(Fault(field_name, reason))
    elif len(faults) == MOST_FAULTS:
        faults.append(Fault("message", "holds further faults, which are not told apart"))


def guess_device_kind(value: str) -> Kind:
    """The likely kind of an advertising id that came without one; to be noted as a guess.

    IDFAs are customarily written in upper case, GAIDs in lower case (event-formats, section 4.3).
    """
    return Kind.IDFA if value.isupper() else Kind.GAID


GUESSED = "the kind of an advertising id was guessed from its letters"


def values_of(field_name: str, value: object) -> Iterable[tuple[str, object]]:
    """The values under one field, each with the name of its place; blanks and nulls are absent."""
    if isinstance(value, list):
        for position, entry in enumerate(value):
            if not is_absent(entry):
                yield f"{field_name}[{position}]", entry
    elif not is_absent(value):
        yield field_name, value


def is_absent(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def read_reference(value: object, field_name: str) -> str:
    """An audience's upstream id: text, or an integer of any size.

    Raises InvalidEvent for anything else, and for what cannot be stored.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise InvalidEvent(field_name, "the upstream id of the audience is needed, as text")
    if not is_reference(value):
        raise InvalidEvent(field_name, "is not an id (too long, or no text that can be stored)")
    return value.strip()
