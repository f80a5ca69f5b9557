"""What the calls of Segment and of RudderStack have in common: type, parts and id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.errors import InvalidEvent
from app.events import Fault, is_storable
from app.formats.reading import is_absent

Object = Mapping[str, object]
OTHER_TYPE: Final = "a call of a type that carries no membership"
NO_IDENTITY: Final = "a person without an email or advertising id"
UNREADABLE_TIME: Final = "a timestamp could not be read: the time of arrival was taken"
NO_AUDIENCE: Final = "the message names no audience: the source needs --audience"
LONGEST_MESSAGE_ID: Final = 200


def call_and_type(message: object) -> tuple[Object, str]:
    """A call and its type in lower case. Raises InvalidEvent for what is no call."""
    if not isinstance(message, Mapping):
        raise InvalidEvent("message", "must be a JSON object")
    kind = message.get("type")
    if not isinstance(kind, str) or not kind.strip():
        raise InvalidEvent("type", "must be text")
    return message, kind.strip().lower()


def object_in(parent: Object, name: str, place: str = "") -> Object:
    """The object under ``name``; absent, null and the empty list (as PHP writes it) are empty.

    Raises InvalidEvent for anything else.
    """
    value = parent.get(name)
    if is_absent(value) or value == []:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidEvent(f"{place}{name}", "must be an object")
    return value


def object_or_fault(parent: Object, name: str, place: str, faults: list[Fault]) -> Object:
    """The same, for an object that the message can do without."""
    try:
        return object_in(parent, name, place)
    except InvalidEvent as problem:
        faults.append(Fault(problem.field, problem.reason))
        return {}


def message_id_of(call: Object) -> str | None:
    """The sender's id of the call, opaque; what cannot be one counts as absent."""
    value = call.get("messageId")
    if not isinstance(value, str) or len(value) > LONGEST_MESSAGE_ID or not is_storable(value):
        return None
    return value.strip() or None
