"""Rows of Segment's file export, as SFTP and S3 get it (event-formats, section 4.4).

A row is a mapping from column, in lower case, to text. ``audience_action`` says whether the person
is a member; ``context``, ``traits`` and ``properties`` hold JSON text. Identities are looked for in
the columns and in those objects, by the same names as in Segment's events; a hashed column is
known by its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from app.errors import InvalidEvent
from app.events import Fault, Operation
from app.formats.calls import message_id_of, object_or_fault
from app.formats.reading import PLAIN, Dialect, Mention, Reading, is_absent, read_reference
from app.formats.segment_identities import identities_of
from app.formats.single import add_event, moment_of, name_of

OBJECTS: Final = ("context", "traits", "properties")
OPERATIONS: Final = {"true": Operation.ADD, "false": Operation.REMOVE}


def read(row: object, dialect: Dialect = PLAIN) -> Reading:
    """Read one row. Raises InvalidEvent when it cannot be used at all."""
    if not isinstance(row, Mapping):
        raise InvalidEvent("row", "must be an object of columns")
    operation = _operation(row.get("audience_action"))
    named = row.get("audience_id")
    reference = read_reference(dialect.audience if is_absent(named) else named, "audience_id")
    reading = Reading(message_id=message_id_of({"messageId": row.get("message_id")}))
    context, traits, properties = (_object_in(row, column, reading) for column in OBJECTS)
    columns = {name: text for name, text in row.items() if name not in OBJECTS}
    given = {name: text for name, text in columns.items() if not is_absent(text)}
    # An identify row has traits, a track row properties; the row's own email goes before theirs.
    is_track = not traits and "email" not in given
    person = {**properties, **traits, **given}
    call = {"context": context, "properties" if is_track else "traits": person}
    identities = identities_of(call, dialect, reading, is_track=is_track)
    audience = Mention((reference,), name_of(row.get("audience_name")))
    at_us = moment_of(row.get("timestamp"), reading)
    return add_event(reading, audience, operation, at_us, identities)


def _operation(member: object) -> Operation:
    if is_absent(member):
        raise InvalidEvent("audience_action", "is empty: nothing says who entered or left")
    operation = OPERATIONS.get(member.strip()) if isinstance(member, str) else None
    if operation is None:
        raise InvalidEvent("audience_action", 'must be "true" or "false"')
    return operation


def _object_in(row: Mapping[str, object], column: str, reading: Reading) -> Mapping[str, object]:
    """The object whose JSON stands in a cell; one that cannot be read costs only itself."""
    text = row.get(column)
    if is_absent(text):
        return {}
    try:
        value = orjson.loads(text) if isinstance(text, str) else text
    except orjson.JSONDecodeError:
        reading.faults.append(Fault(column, "is not JSON"))
        return {}
    return object_or_fault({column: value}, column, "", reading.faults)
