"""Segment (Twilio Engage): a track or identify event of a person who entered or left an audience.

Which of the two is decided by the rule of event-formats, section 4.2, and never guessed: a boolean
under the audience's key, and only without one the default names of the events.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from app.errors import InvalidEvent
from app.events import Fault, MembershipEvent, Operation
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
from app.formats.reading import PLAIN, Dialect, Mention, Reading, is_absent, read_reference
from app.formats.segment_identities import identities_of
from app.formats.single import moment_of

AUDIENCE: Final = "audience"
JOURNEY_STEP: Final = "journey_step"
EVENT_NAMES: Final = {"Audience Entered": Operation.ADD, "Audience Exited": Operation.REMOVE}
BOOLEANS: Final = {"true": True, "false": False}
"""Segment's page on Journeys prints them as text; no other text is a boolean."""
OTHER_COMPUTATION: Final = "a computation that is no audience and no journey step"
CONTRADICTION: Final = "the event's name contradicts its boolean: the boolean was taken"
UNDETERMINED: Final = "no boolean under the audience's key says whether the person entered or left"


class _Event(NamedTuple):
    call: Object
    is_track: bool
    record: Object
    """The properties of a track event, the traits of an identify event."""
    personas: Object

    @property
    def audience_key(self) -> object:
        return self.record.get("audience_key") if self.is_track else None


class _Statement(NamedTuple):
    operation: Operation
    under_configured_key: bool = False
    """Said under the key that the source was told, not under one that the event names."""


def read(message: object, dialect: Dialect = PLAIN) -> Reading:
    """Read one event. Raises InvalidEvent when it does not say who entered or left what."""
    call, kind = call_and_type(message)
    reading = Reading(message_id=message_id_of(call))
    if kind not in ("track", "identify"):
        reading.ignored.append(OTHER_TYPE)
        return reading
    personas = object_in(object_in(call, "context"), "personas", "context.")
    computation = personas.get("computation_class")
    if not is_absent(computation) and computation not in (AUDIENCE, JOURNEY_STEP):
        reading.ignored.append(OTHER_COMPUTATION)
        return reading
    is_track = kind == "track"
    record = object_in(call, "properties" if is_track else "traits")
    event = _Event(call, is_track, record, personas)
    said = _statement(event, dialect, reading.noted)
    mention = _audience(event, said, dialect, reading.faults)
    identities = identities_of(call, dialect, reading, is_track=is_track)
    if not identities:
        reading.ignored.append(NO_IDENTITY)
        return reading
    moment = moment_of(call.get("timestamp"), reading)
    audience = mention.references[0]
    reading.events.append(MembershipEvent(audience, said.operation, identities, moment))
    if mention.name or mention.references[1:]:
        reading.mentions[audience] = mention
    return reading


def _statement(event: _Event, dialect: Dialect, noted: list[str]) -> _Statement:
    """Whether the person entered or left, by the four steps of the rule."""
    keys = (event.personas.get("computation_key"), event.audience_key)
    by_name = _operation_by_name(event)
    member, configured = _boolean(event.record, keys[0]), False
    if member is None:
        member = _boolean(event.record, keys[1])
    if member is None and is_absent(keys[0]):
        member, configured = _configured_boolean(event, dialect), True
    if member is not None:
        operation = Operation.ADD if member else Operation.REMOVE
        if by_name not in (None, operation):
            noted.append(CONTRADICTION)
        return _Statement(operation, configured)
    # A journey's step that says no boolean is never left again (event-formats, section 4.2), and
    # a value that is there without being a boolean may contradict the name.
    is_step = event.personas.get("computation_class") == JOURNEY_STEP
    if by_name is None or is_step or any(_is_given(event.record, key) for key in keys):
        raise InvalidEvent("properties" if event.is_track else "traits", UNDETERMINED)
    return _Statement(by_name)


def _boolean(record: Object, key: object) -> bool | None:
    if not isinstance(key, str) or is_absent(key):
        return None
    value = record.get(key)
    if isinstance(value, str):
        return BOOLEANS.get(value)
    return value if isinstance(value, bool) else None


def _is_given(record: Object, key: object) -> bool:
    return isinstance(key, str) and not is_absent(key) and not is_absent(record.get(key))


def _configured_boolean(event: _Event, dialect: Dialect) -> bool | None:
    """The boolean under the source's own key, of an event that names none."""
    member = _boolean(event.record, dialect.audience_key)
    if member is None and not event.is_track:  # RudderStack's libraries put the traits there
        traits = object_or_fault(object_in(event.call, "context"), "traits", "context.", [])
        member = _boolean(traits, dialect.audience_key)
    return member


def _operation_by_name(event: _Event) -> Operation | None:
    name = event.call.get("event")
    return EVENT_NAMES.get(name) if event.is_track and isinstance(name, str) else None


def _audience(event: _Event, said: _Statement, dialect: Dialect, faults: list[Fault]) -> Mention:
    """The audience with all its ids, the surest first. Raises InvalidEvent where it has none."""
    ids = [
        _reference(event.personas, field, "context.personas", faults)
        for field in ("external_audience_id", "computation_id", "computation_key")
    ]
    name = ids[-1]
    if said.under_configured_key:
        name = dialect.audience_key
    elif name is None and event.is_track:
        name = _reference(event.record, "audience_key", "properties", faults)
        ids.append(name)
    references = tuple(dict.fromkeys(filter(None, ids))) or tuple(
        filter(None, [dialect.audience or name])
    )
    if not references:
        raise InvalidEvent("context.personas", NO_AUDIENCE)
    return Mention(references, name)


def _reference(holder: Object, field: str, place: str, faults: list[Fault]) -> str | None:
    value = holder.get(field)
    if is_absent(value):
        return None
    try:
        return read_reference(value, f"{place}.{field}")
    except InvalidEvent as problem:
        faults.append(Fault(problem.field, problem.reason))
        return None
