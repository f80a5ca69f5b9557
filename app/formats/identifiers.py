"""Names of identifiers in flat objects: traits, properties, rows of a mapped table.

A name tells the kind of an identifier and nothing more: ``EMAIL_SHA256`` may hold a plain address
(event-formats, section 1), so whether a value is a digest is left to its shape, in
``app.identities``. Names are taken from event-formats, sections 3, 4.3 and 5.3, in any case and
with ``_``, ``.``, ``-`` or a blank between their words, or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from app.events import Fault, Identity, Kind
from app.formats.reading import (
    DEVICE,
    GUESSED,
    MOST_VALUES,
    TOO_MANY,
    Dialect,
    IdentifierKind,
    guess_device_kind,
    values_of,
)

_WORDS: Final[dict[IdentifierKind, tuple[str, ...]]] = {
    Kind.EMAIL: ("email", "email address"),
    Kind.IDFA: (
        "idfa",
        "ios idfa",
        "ios advertising id",
        "ios advertising identifier",
        "apple advertising id",
        "apple advertising identifier",
    ),
    Kind.GAID: (
        "gaid",
        "aaid",
        "googleaid",
        "android idfa",  # Segment's name for the Google id, in spite of what it says
        "google advertising id",
        "google advertising identifier",
        "android advertising id",
        "android advertising identifier",
    ),
    DEVICE: ("madid", "maid", "advertising id", "mobile advertising id"),
}
_LOOSE_WORDS: Final = ("mobile id", "daid", "device id")


def _spelled(words: Mapping[IdentifierKind, tuple[str, ...]]) -> dict[str, IdentifierKind]:
    return {
        name.replace(" ", between): kind
        for kind, names in words.items()
        for name in names
        for between in ("_", "")
    }


CERTAIN_NAMES: Final[Mapping[str, IdentifierKind]] = _spelled(_WORDS)
"""Names that mean an identifier wherever they stand, also among a person's many traits."""
NAMES: Final[Mapping[str, IdentifierKind]] = {
    **CERTAIN_NAMES,
    **_spelled({DEVICE: _LOOSE_WORDS}),
}
"""Beside those, names that mean an advertising id only in a list of mapped identifiers."""
LONGEST_NAME: Final = 64
_UNHASHED = re.compile(
    r"(?:(?:hashed|sha_?256|sha_?1|md5)_?)?(.+?)(?:_?(?:hashed|hash|sha_?256|sha_?1|md5))?"
)
_BETWEEN_WORDS = str.maketrans(".- ", "___")


class Found(NamedTuple):
    """The identities of one person, what of them could not be used, and the doubts."""

    identities: list[Identity]
    faults: list[Fault]
    noted: list[str]

    def take(self, kind: IdentifierKind, field: str, value: object) -> None:
        """Take a text or a list of texts; blanks and nulls are absent, the rest is a fault."""
        if isinstance(value, list) and len(value) > MOST_VALUES:
            self.faults.append(Fault(field, TOO_MANY))
            return
        for place, entry in values_of(field, value):
            if not isinstance(entry, str):
                self.faults.append(Fault(place, "must be text"))
            elif kind == DEVICE:
                self.identities.append(Identity(guess_device_kind(entry), entry))
                self.noted.append(GUESSED)
            else:
                self.identities.append(Identity(Kind(kind), entry))


def identities_in(
    record: Mapping[str, object],
    dialect: Dialect,
    place: str,
    names: Mapping[str, IdentifierKind] = NAMES,
) -> Found:
    """The identities among the fields of a flat object, in its order; other fields are passed over.

    ``place`` is where the object stands in its message, for the faults; "" for the message itself.
    """
    found = Found([], [], [])
    for name, value in record.items():
        kind = kind_of_name(name, dialect, names)
        if kind is not None:
            found.take(kind, f"{place}.{name}" if place else name, value)
    return found


def kind_of_name(
    name: str, dialect: Dialect, names: Mapping[str, IdentifierKind] = NAMES
) -> IdentifierKind | None:
    """What a name stands for; the source's own names go before the known ones.

    >>> from app.formats.reading import PLAIN
    >>> str(kind_of_name("Android.IDFA", PLAIN)), kind_of_name("country", PLAIN)
    ('gaid', None)
    """
    if len(name) > LONGEST_NAME:
        return None
    return dialect.identifiers.get(name.strip().lower()) or names.get(_plain_name(name))


@lru_cache(maxsize=1_024)
def _plain_name(name: str) -> str:
    """The name without case, separators of its kind, and what it claims of hashing."""
    spelled = name.strip().lower().translate(_BETWEEN_WORDS)
    match = _UNHASHED.fullmatch(spelled)
    return match[1] if match else spelled
