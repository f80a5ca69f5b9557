"""mParticle's partner protocol: who entered and who left which audience.

    {"type": "audience_membership_change_request", "id": "...", "timestamp_ms": 1767265200123,
     "user_profiles": [{"user_identities": [{"type": "email", "encoding": "raw", "value": "..."}],
                        "audiences": [{"audience_id": 31001, "action": "add"}]}]}

Versions 1.x (``added_audiences``, ``removed_audiences``), 2.x and 3.x, and another vendor's
dialect of them (event-formats, sections 2.3, 2.4 and 2.7). The protocol never repeats what was
answered with 4xx, so nothing smaller than the message ever costs the message.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from app.errors import InvalidEvent
from app.events import (
    LONGEST_TEXT,
    Identity,
    Kind,
    MembershipEvent,
    Operation,
    is_storable,
    parse_time,
)
from app.formats.mparticle_identities import Object, objects_of, read_identities
from app.formats.reading import (
    MOST_IDENTITIES,
    PLAIN,
    Dialect,
    Mention,
    Reading,
    is_absent,
    note_fault,
    read_reference,
)

MEMBERSHIP: Final = "audience_membership_change_request"
LONGEST_MESSAGE_ID: Final = 200

NO_IDENTITY: Final = "a profile without an email or advertising id"
ATTRIBUTES_ONLY: Final = "an attribute_update is no membership change"
SWITCHED_OFF: Final = {
    Kind.EMAIL: "an email was not taken: forwardEmail is false",
    Kind.IDFA: "an advertising id was not taken: forwardDeviceId is false",
    Kind.GAID: "an advertising id was not taken: forwardDeviceId is false",
}
UNREADABLE_SETTING: Final = (
    "forwardEmail or forwardDeviceId is neither true nor false: treated as not set"
)
UNREADABLE_TIME: Final = "timestamp_ms is no usable time: the time of arrival was taken"
UNREADABLE_NAME: Final = "audience_name is no usable text: the audience was taken without it"
ADDED_AND_REMOVED: Final = (
    "a person was both added to and removed from an audience: the later in the message counts"
)
_SWITCHES: Final = {
    "forwardEmail": frozenset({Kind.EMAIL}),
    "forwardDeviceId": frozenset({Kind.IDFA, Kind.GAID}),
}
_OPERATION_OF_ACTION: Final = {"add": Operation.ADD, "delete": Operation.REMOVE}
_OPERATION_OF_ARRAY: Final = {
    "audiences": None,  # each says its action
    "added_audiences": Operation.ADD,
    "removed_audiences": Operation.REMOVE,
}
_integer = re.compile(r"-?[0-9]+").fullmatch


class _Change(NamedTuple):
    audience: str
    name: str | None
    operation: Operation
    switched_off: frozenset[Kind]


def read(message: object, dialect: Dialect = PLAIN) -> Reading:
    """Read one membership message; without profiles it only verifies the way, and changes nothing.

    An event for each profile and audience, in the order of the arrays. Raises InvalidEvent for a
    message of another type, for profiles that are no array, and for too much in one message.
    """
    if not isinstance(message, dict):
        raise InvalidEvent("message", "must be a JSON object")
    if message.get("type") != MEMBERSHIP:
        raise InvalidEvent("type", f"must be {MEMBERSHIP}")
    profiles = message.get("user_profiles")
    if not isinstance(profiles, list | None):
        raise InvalidEvent("user_profiles", "must be an array")
    reading = Reading(message_id=_message_id(message.get("id")))
    if profiles:
        _read_profiles(message, profiles, reading)
    return reading


def _read_profiles(message: Object, profiles: list[object], reading: Reading) -> None:
    occurred_at_us = _occurred_at(message.get("timestamp_ms"), reading)
    switched_off = _account_switches(message.get("account"), reading)
    total = 0
    for place, profile in objects_of(profiles, "user_profiles", reading):
        identities = tuple(read_identities(profile, place, reading))
        changes = _changes(profile, place, reading)
        total += len(identities) * len(changes)
        if total > MOST_IDENTITIES:
            raise InvalidEvent("user_profiles", f"more than {MOST_IDENTITIES:,} changes")
        if changes and not identities:
            reading.ignored.append(NO_IDENTITY)
            continue
        for audience, name, operation, narrower in changes:
            taken = _narrowed(identities, switched_off | narrower, reading)
            if taken:
                event = MembershipEvent(audience, operation, taken, occurred_at_us)
                reading.events.append(event)
                if name:
                    reading.mentions[audience] = Mention((audience,), name)


def _changes(profile: Object, place: str, reading: Reading) -> list[_Change]:
    """What changed for one person, in the order of the message."""
    changes: list[_Change] = []
    for field, operation in _OPERATION_OF_ARRAY.items():
        for where, entry in objects_of(profile.get(field), f"{place}.{field}", reading):
            try:
                decided = operation or _operation(entry.get("action"), where)
                if decided:
                    changes.append(_change(entry, decided, where, reading))
                else:
                    reading.ignored.append(ATTRIBUTES_ONLY)
            except InvalidEvent as problem:
                note_fault(reading.faults, problem.field, problem.reason)
    added, removed = ({it.audience for it in changes if it.operation is op} for op in Operation)
    if added & removed:
        reading.noted.append(ADDED_AND_REMOVED)
    return changes


def _operation(action: object, place: str) -> Operation | None:
    """None for attribute_update. ``remove`` is of subscriptions, and here as wrong as any other."""
    word = action.strip().lower() if isinstance(action, str) else None
    if word == "attribute_update":
        return None
    if word not in _OPERATION_OF_ACTION:
        raise InvalidEvent(f"{place}.action", "must be add, delete or attribute_update")
    return _OPERATION_OF_ACTION[word]


def _change(entry: Object, operation: Operation, place: str, reading: Reading) -> _Change:
    audience = read_audience_id(entry.get("audience_id"), f"{place}.audience_id")
    name = read_audience_name(entry.get("audience_name"))
    if name is None and not is_absent(entry.get("audience_name")):
        reading.noted.append(UNREADABLE_NAME)
    narrower = _switched_off(entry.get("audience_subscription_settings"), reading)
    return _Change(audience, name, operation, narrower)


def read_audience_id(value: object, field: str) -> str:
    """An integer of any size, as a number or as its digits. Raises InvalidEvent for others."""
    audience = read_reference(value, field)
    if not _integer(audience):
        raise InvalidEvent(field, "must be an integer, or its digits as text")
    return audience


def read_audience_name(value: object) -> str | None:
    """The name of an audience; None where there is none that can be used."""
    if not isinstance(value, str) or is_absent(value):
        return None
    return value.strip() if len(value) <= LONGEST_TEXT and is_storable(value) else None


def _account_switches(account: object, reading: Reading) -> frozenset[Kind]:
    settings = account.get("account_settings") if isinstance(account, dict) else account
    return _switched_off(settings, reading)


def _switched_off(settings: object, reading: Reading) -> frozenset[Kind]:
    """The kinds that settings forbid; they are text, and ``"false"`` is true in Python."""
    switched_off: frozenset[Kind] = frozenset()
    if settings is None:
        return switched_off
    if not isinstance(settings, dict):
        reading.noted.append(UNREADABLE_SETTING)
        return switched_off
    for name, kinds in _SWITCHES.items():
        value = settings.get(name)
        word = str(value).strip().lower() if isinstance(value, str | bool) else None
        if word == "false":
            switched_off |= kinds
        elif word != "true" and not is_absent(value):
            reading.noted.append(UNREADABLE_SETTING)
    return switched_off


def _narrowed(
    identities: tuple[Identity, ...], switched_off: frozenset[Kind], reading: Reading
) -> tuple[Identity, ...]:
    """The identities that settings allow; a profile's events share one tuple where all are."""
    if not switched_off:
        return identities
    dropped = [kind for kind, _ in identities if kind in switched_off]
    reading.ignored += [SWITCHED_OFF[kind] for kind in dropped]
    if not dropped:
        return identities
    return tuple(identity for identity in identities if identity.kind not in switched_off)


def _occurred_at(value: object, reading: Reading) -> int | None:
    try:
        return parse_time(value, "timestamp_ms")
    except InvalidEvent:
        reading.noted.append(UNREADABLE_TIME)
        return None


def _message_id(value: object) -> str | None:
    """The sender's id of the message, of whatever form; what cannot be stored is none."""
    if not isinstance(value, str) or is_absent(value):
        return None
    return value if len(value) <= LONGEST_MESSAGE_ID and is_storable(value) else None
