"""The identities of a person in a Segment event (event-formats, section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.events import Fault, Identity, Kind
from app.formats.calls import Object, object_in, object_or_fault
from app.formats.identifiers import (
    CERTAIN_NAMES,
    Found,
    identities_in,
    kind_of_name,
)
from app.formats.reading import (
    DEVICE,
    MOST_VALUES,
    TOO_MANY,
    Dialect,
    IdentifierKind,
    Reading,
    values_of,
)

DEVICE_TYPES: Final[dict[str, IdentifierKind]] = {"ios": Kind.IDFA, "android": Kind.GAID}
TRACKING_REFUSED: Final = "an advertising id of a person who refused tracking"


def identities_of(
    call: Object, dialect: Dialect, reading: Reading, *, is_track: bool
) -> tuple[Identity, ...]:
    """All identities of the event's person, each once; what is to be said of them into ``reading``.

    A track event's ``context.traits`` go before its ``properties``, an identify event's ``traits``
    before the context's; emails are taken from the first of the two that has any.
    """
    context = object_in(call, "context")
    of_context = object_or_fault(context, "traits", "context.", reading.faults)
    found = Found([], [], [])
    if is_track:
        _add_traits(found, of_context, "context.traits", dialect)
        _add_traits(found, object_in(call, "properties"), "properties", dialect)
    else:
        _add_traits(found, object_in(call, "traits"), "traits", dialect)
        _add_traits(found, of_context, "context.traits", dialect)
    refused = _add_device(found, object_or_fault(context, "device", "context.", reading.faults))
    _add_external_ids(found, context.get("externalIds"), dialect)
    reading.faults += found.faults
    reading.noted += found.noted
    reading.ignored += [TRACKING_REFUSED] * bool(refused)
    return tuple(
        identity
        for identity in dict.fromkeys(found.identities)
        if _bare(identity.value) not in refused
    )


def _add_traits(found: Found, traits: Object, place: str, dialect: Dialect) -> None:
    there = identities_in(traits, dialect, place, CERTAIN_NAMES)
    has_email = any(identity.kind is Kind.EMAIL for identity in found.identities)
    found.identities.extend(
        identity
        for identity in there.identities
        if identity.kind is not Kind.EMAIL or not has_email
    )
    found.faults.extend(there.faults)
    found.noted.extend(there.noted)


def _add_device(found: Found, device: Object) -> set[str]:
    """Add the device's advertising id; where its person refused tracking, give it back instead.

    The same id may stand among the traits too, and is not to be used from there either.
    """
    value = device.get("advertisingId")
    tracked = device.get("adTrackingEnabled")
    if isinstance(tracked, str | int) and str(tracked).strip().lower() in ("false", "0"):
        given = values_of("context.device.advertisingId", value)
        return {_bare(entry) for _, entry in given if isinstance(entry, str)}
    kind = device.get("type")
    kind = DEVICE_TYPES.get(kind.strip().lower(), DEVICE) if isinstance(kind, str) else DEVICE
    found.take(kind, "context.device.advertisingId", value)
    return set()


def _bare(device_id: str) -> str:
    """An id without what spellings differ in."""
    return device_id.strip().lower().replace("-", "")


def _add_external_ids(found: Found, external_ids: object, dialect: Dialect) -> None:
    """Add the ids whose type is one of ours; their ``encoding`` is left to the value's shape."""
    if isinstance(external_ids, list) and len(external_ids) > MOST_VALUES:
        found.faults.append(Fault("context.externalIds", TOO_MANY))
        return
    for place, entry in values_of("context.externalIds", external_ids):
        if not isinstance(entry, Mapping):
            found.faults.append(Fault(place, "must be an object"))
            continue
        name = entry.get("type")
        kind = kind_of_name(name, dialect, CERTAIN_NAMES) if isinstance(name, str) else None
        if kind is not None:
            found.take(kind, f"{place}.id", entry.get("id"))
