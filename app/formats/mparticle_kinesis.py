"""mParticle's audience records in Amazon Kinesis (event-formats, section 3).

    {"DeliveryStreamName": "...", "Record": {"Data": "<base64 of the object below>"}}

    {"MembershipChangedTimestamp": "1767265200", "AudienceId": 31001, "AudienceName": "VIP",
     "IsMember": true, "UserIdentities": {"Email": "ana.ruiz@example.org", "CustomerId": "C-99"}}

The object may also stand alone, as consumers of a stream write it down. ``IsMember`` true is an
add, false a remove. The message that tells of a deleted audience has no known form: whatever lacks
``IsMember`` is refused, never guessed.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping

import orjson

from app.errors import InvalidEvent
from app.formats.reading import PLAIN, Dialect, Mention, Reading, read_reference
from app.formats.single import add_event, moment_of, name_of, operation_of, read_person


def read(message: object, dialect: Dialect = PLAIN) -> Reading:
    """Read one record, packed or not. Raises InvalidEvent when it cannot be used at all."""
    record = _unpacked(message)
    operation = operation_of(record.get("IsMember"), "IsMember")
    reference = read_reference(record.get("AudienceId", dialect.audience), "AudienceId")
    audience = Mention((reference,), name_of(record.get("AudienceName")))
    reading = Reading()
    at_us = moment_of(record.get("MembershipChangedTimestamp"), reading)
    identities = read_person(record, "UserIdentities", dialect, reading)
    return add_event(reading, audience, operation, at_us, identities)


def _unpacked(message: object) -> Mapping[str, object]:
    """The membership object, out of its record where it has one."""
    if not isinstance(message, Mapping):
        raise InvalidEvent("message", "must be a JSON object")
    record = message.get("Record", message)
    if not isinstance(record, Mapping):
        raise InvalidEvent("Record", "must be a JSON object")
    if "Data" not in record:
        if record is not message:
            raise InvalidEvent("Record.Data", "is missing")
        return message
    return _decoded(record["Data"])


def _decoded(data: object) -> Mapping[str, object]:
    if not isinstance(data, str):
        raise InvalidEvent("Data", "must be text in base64")
    try:
        unpacked = orjson.loads(b64decode("".join(data.split()), validate=True))
    except orjson.JSONDecodeError:
        raise InvalidEvent("Data", "holds no JSON") from None
    except (binascii.Error, ValueError):
        raise InvalidEvent("Data", "is not base64") from None
    if not isinstance(unpacked, Mapping):
        raise InvalidEvent("Data", "must hold a JSON object")
    return unpacked
