"""RudderStack: lists of people (``audiencelist``), rows of a table (``record``), boolean traits.

Facts: event-formats, section 5. Identify and track calls say membership by a boolean, and are read
by Segment's rule with the key that the source was told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from app.errors import InvalidEvent
from app.events import Fault, Identity, MembershipEvent, Operation
from app.formats import segment
from app.formats.calls import (
    NO_AUDIENCE,
    NO_IDENTITY,
    OTHER_TYPE,
    Object,
    call_and_type,
    message_id_of,
    object_in,
    object_or_fault,
)
from app.formats.identifiers import identities_in
from app.formats.reading import (
    MOST_IDENTITIES,
    PLAIN,
    Dialect,
    Reading,
    is_absent,
    read_reference,
    values_of,
)
from app.formats.single import moment_of

NO_TRAIT: Final = "a call that says nothing of the audience"
DESTINATION: Final = re.compile(r"[A-Z][A-Z0-9_]*")
ACTIONS: Final = {
    "insert": Operation.ADD,
    "update": Operation.ADD,
    "delete": Operation.REMOVE,
}


def read(message: object, dialect: Dialect = PLAIN) -> Reading:
    """Read one message. Raises InvalidEvent when it cannot be used as a whole."""
    call, kind = call_and_type(message)
    says_nothing = dialect.audience_key is not None and not _names(call, kind, dialect.audience_key)
    if kind in ("identify", "track") and not says_nothing:
        return segment.read(message, dialect)
    reading = Reading(message_id=message_id_of(call))
    if kind in ("identify", "track"):
        reading.ignored.append(NO_TRAIT)
    elif kind == "audiencelist":
        _read_list(call, dialect, reading)
    elif kind == "record":
        _read_record(call, dialect, reading)
    else:
        reading.ignored.append(OTHER_TYPE)
    return reading


def _names(call: Object, kind: str, key: str) -> bool:
    """Whether a call says anything of the audience; a source forwards all calls of its people.

    The traits that libraries put beside every track call are no news of that moment.
    """
    context = object_in(call, "context")
    places = [object_in(call, name) for name in ("traits", "properties")]
    if kind == "identify":
        places.append(object_in(context, "traits", "context."))
    return any(key in place for place in places) or not is_absent(context.get("personas"))


def _read_list(call: Object, dialect: Dialect, reading: Reading) -> None:
    """Removals first, then additions, all of one time.

    Who stands in both ends as a member (event-formats, section 5.1): the latest change of a person
    counts, and among those of one time the one that arrived last.
    """
    place = "properties.listData"
    lists = object_in(call, "properties").get("listData")
    if not isinstance(lists, Mapping):
        raise InvalidEvent(place, 'is needed, with "add" or "remove"')
    if not lists.keys() <= {"add", "remove"}:
        raise InvalidEvent(place, 'may hold "add" and "remove" only')
    audience = _audience(call, dialect)
    moment = moment_of(call.get("timestamp"), reading)
    count = 0
    for operation in (Operation.REMOVE, Operation.ADD):
        for identities in _people(lists, operation.value, dialect, reading):
            count += len(identities)
            if count + len(reading.faults) + len(reading.ignored) > MOST_IDENTITIES:
                raise InvalidEvent(place, f"holds more than {MOST_IDENTITIES:,} identities")
            if identities:
                reading.events.append(MembershipEvent(audience, operation, identities, moment))


def _people(
    lists: Object, name: str, dialect: Dialect, reading: Reading
) -> Iterator[tuple[Identity, ...]]:
    people = lists.get(name)
    place = f"properties.listData.{name}"
    if not is_absent(people) and not isinstance(people, list):
        raise InvalidEvent(place, "must be a list")
    for where, person in values_of(place, people):
        if isinstance(person, Mapping):
            yield _identities(dialect, reading, {where: person})
        else:
            reading.faults.append(Fault(where, "must be an object"))
            yield ()


def _read_record(call: Object, dialect: Dialect, reading: Reading) -> None:
    action = call.get("action")
    operation = ACTIONS.get(action.strip().lower()) if isinstance(action, str) else None
    if operation is None:
        raise InvalidEvent("action", 'must be "insert", "update" or "delete"')
    audience = _audience(call, dialect)
    moment = moment_of(call.get("timestamp"), reading)
    places = ("identifiers", "fields")
    columns = {place: object_or_fault(call, place, "", reading.faults) for place in places}
    identities = _identities(dialect, reading, columns)
    if identities:
        reading.events.append(MembershipEvent(audience, operation, identities, moment))


def _identities(
    dialect: Dialect, reading: Reading, records: Mapping[str, Object]
) -> tuple[Identity, ...]:
    """The identities of one person, each once; nothing but nulls is nothing to send."""
    identities: dict[Identity, None] = {}
    for place, record in records.items():
        found = identities_in(record, dialect, place)
        identities |= dict.fromkeys(found.identities)
        reading.faults += found.faults
        reading.noted += found.noted
    if not identities:
        reading.ignored.append(NO_IDENTITY)
    return tuple(identities)


def _audience(call: Object, dialect: Dialect) -> str:
    """The audience's id: the message's own, else the one that the source was told.

    A type of ``context.externalId`` is "<DESTINATION>-<id>", and the id may hold hyphens too. Other
    ids of a person stand there as well, under types of anybody's choice ("customer-id").
    """
    for place, entry in values_of(
        "context.externalId", object_in(call, "context").get("externalId")
    ):
        mapped = entry.get("type") if isinstance(entry, Mapping) else None
        if isinstance(mapped, str):
            destination, _, audience = mapped.partition("-")
            if DESTINATION.fullmatch(destination.strip()) and audience.strip():
                return read_reference(audience, f"{place}.type")
    if dialect.audience is None:
        raise InvalidEvent("context.externalId", NO_AUDIENCE)
    return dialect.audience
