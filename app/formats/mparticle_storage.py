"""mParticle's audience files in Google Cloud Storage (event-formats, section 3).

    {"MembershipChangedTimestamp": 1767265200123, "IsAddRequest": true,
     "IdentityValues": {"email": "ana.ruiz@example.org", "ios_advertising_id": "3F1C9A52-..."}}

A file is a delta since the last upload. Its audience stands in the file's name alone, so it comes
with the dialect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.errors import InvalidEvent
from app.formats.reading import PLAIN, Dialect, Mention, Reading
from app.formats.single import add_event, moment_of, operation_of, read_person

VALIDATION = "mparticle-validation-"
"""What the names of empty files begin with that mParticle writes to try the access."""
_NAME = re.compile(
    r"(?P<name>.+)_(?P<id>-?[0-9]{1,20})_[0-9][^_]*_[0-9][^_]*"
    r"_[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\.txt(?:\.gz)?",
    re.IGNORECASE,
)


def audience_in(file_name: str) -> Mention | None:
    """The audience in ``<Name>_<id>_<date>_<time>_<guid>.txt``; None where the name has none.

    mParticle writes hyphens for the spaces of a name, so the name is not quite the audience's.
    """
    found = _NAME.fullmatch(file_name)
    return Mention((found["id"],), found["name"]) if found else None


def read(message: object, dialect: Dialect = PLAIN) -> Reading:
    """Read one line of a file. Raises InvalidEvent when it cannot be used at all."""
    if not isinstance(message, Mapping):
        raise InvalidEvent("message", "must be a JSON object")
    if dialect.audience is None:
        raise InvalidEvent("audience", "stands in the file's name only: give it with --audience")
    operation = operation_of(message.get("IsAddRequest"), "IsAddRequest")
    reading = Reading()
    at_us = moment_of(message.get("MembershipChangedTimestamp"), reading)
    identities = read_person(message, "IdentityValues", dialect, reading)
    return add_event(reading, Mention((dialect.audience,), None), operation, at_us, identities)
