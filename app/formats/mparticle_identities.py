"""The identities of a person in mParticle's messages: ours, by what they are declared to be.

What is declared can be wrong, and where the value tells more surely, the value counts. Only for an
advertising id without hyphens, which looks like an MD5, does the declaration (event-formats,
sections 1 and 2.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from app.errors import InvalidEvent
from app.events import Identity, Kind
from app.formats.reading import MOST_FAULTS, Reading, note_fault

ADDRESS_DECLARED_DIGEST: Final = "an email declared as a digest is an address: taken as one"
DIGEST_DECLARED_RAW: Final = "an identity declared raw is a digest: taken as one"

_KINDS: Final = {
    "user_identities": {"email": Kind.EMAIL},
    "device_identities": {"ios_advertising_id": Kind.IDFA, "google_advertising_id": Kind.GAID},
}
_HEX_DIGITS: Final = {"raw": 0, "none": 0, "md5": 32, "sha1": 40, "sha256": 64}
"""How many a value of each encoding has; 0 for a value that is no digest."""
_QUOTES_BLANKS_HYPHENS = re.compile(r"[\s\"'-]+")
_digest = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}").fullmatch

Object = Mapping[str, object]


def objects_of(entries: object, place: str, reading: Reading) -> Iterator[tuple[str, Object]]:
    """The objects of an array, each with its place; what is none becomes a fault."""
    if entries is None:
        return
    if not isinstance(entries, list):
        note_fault(reading.faults, place, "must be an array")
        return
    for position, entry in enumerate(entries):
        if isinstance(entry, dict):
            yield f"{place}[{position}]", entry
        elif len(reading.faults) <= MOST_FAULTS:
            note_fault(reading.faults, f"{place}[{position}]", "must be an object")


def read_identities(profile: Object, place: str, reading: Reading) -> Iterator[Identity]:
    """The identities that are ours, in the order of the message."""
    for field, kinds in _KINDS.items():
        for where, entry in objects_of(profile.get(field), f"{place}.{field}", reading):
            try:
                kind = kinds.get(_text(entry, "type", where))
                if kind is not None:
                    yield _identity(kind, entry, where, reading)
            except InvalidEvent as problem:
                note_fault(reading.faults, problem.field, problem.reason)


def _identity(kind: Kind, entry: Object, place: str, reading: Reading) -> Identity:
    """An identity by its declared encoding, or by its value where that tells more surely."""
    value = _text(entry, "value", place)
    declared = _hex_digits(entry.get("encoding"), place)
    bare = value.strip()
    found = len(bare) if _digest(bare) else 0
    if found == declared:
        return Identity(kind, value)
    if not declared:
        if found == 32 and kind is not Kind.EMAIL:
            return Identity(kind, _hyphenated(bare))
        reading.noted.append(DIGEST_DECLARED_RAW)
        return Identity(kind, value)
    if kind is Kind.EMAIL and "@" in value:
        reading.noted.append(ADDRESS_DECLARED_DIGEST)
        return Identity(kind, value)
    raise InvalidEvent(f"{place}.value", "is no digest of the encoding that is declared")


def _text(entry: Object, field: str, place: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str):
        raise InvalidEvent(f"{place}.{field}", "must be text")
    return value


def _hex_digits(encoding: object, place: str) -> int:
    """How many hex digits the declared encoding has; it comes as ``"SHA-256"`` too, quoted."""
    if isinstance(encoding, str):
        word = encoding if encoding in _HEX_DIGITS else _QUOTES_BLANKS_HYPHENS.sub("", encoding)
        if word.lower() in _HEX_DIGITS:
            return _HEX_DIGITS[word.lower()]
    raise InvalidEvent(f"{place}.encoding", "must be raw, md5, sha1 or sha256")


def _hyphenated(uuid: str) -> str:
    """A raw advertising id of 32 hex digits as a UUID, or it would be taken for an MD5."""
    return f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"
