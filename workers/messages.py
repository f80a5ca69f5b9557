"""From broker messages to the events of one batch, with what was no event told apart.

Parsing is the same as everywhere (``app.formats``); the headers of a message say which format it
speaks. A message that the broker delivers again and that stands in a receipt is left out; it is
only acknowledged.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import orjson
from kombu import Message

from app.errors import InvalidEvent
from app.events import MembershipEvent
from app.formats import FORMATS, Read, messages_of, own, read_all
from app.formats.reading import Dialect, Mention, is_absent, read_reference
from app.receipts import MESSAGE_ID_BYTES, received_before
from app.staging import Intake

LONGEST_MESSAGE = 8 << 20
BATCH_EVENTS = 50_000
"""A batch takes no further messages after so many events: one message may hold thousands."""


@dataclass
class Batch:
    """Messages taken from the broker and not yet acknowledged, and the events in them."""

    messages: list[Message] = field(default_factory=list)
    events: list[MembershipEvent] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    """What was ignored, or taken in doubt, by reason."""
    mentions: dict[str, Mention] = field(default_factory=dict)
    ids: set[bytes] = field(default_factory=set)
    dead: list[tuple[bytes, str]] = field(default_factory=list)
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    """One key for all tries to commit this batch: a commit whose reply was lost counts once."""


def read_batch(intake: Intake, messages: Sequence[Message]) -> Batch:
    """Parse messages, as many as make a batch; leave out what an earlier delivery staged."""
    batch = Batch()
    again = {_id(message) for message in messages if message.delivery_info.get("redelivered")}
    known = (
        received_before(intake.deployment, intake.source, again - {b""}) if again - {b""} else set()
    )
    for message in messages:
        if len(batch.events) >= BATCH_EVENTS:
            break
        batch.messages.append(message)
        message_id = _id(message)
        if message_id and (message_id in known or message_id in batch.ids):
            continue
        _read_message(batch, message)
        if message_id:
            batch.ids.add(message_id)
    return batch


def _id(message: Message) -> bytes:
    """Eight bytes for a message's id, none where the publisher gave none."""
    name = message.properties.get("message_id")
    return (
        sha256(str(name).encode(errors="surrogatepass")).digest()[:MESSAGE_ID_BYTES]
        if name
        else b""
    )


def _read_message(batch: Batch, message: Message) -> None:
    body = _bytes(message.body)
    try:
        read, dialect = _format(message.headers or {})
        call = read_all(read, _items(body), dialect)
    except InvalidEvent as problem:
        batch.dead.append((body, str(problem)))
        batch.rejected[problem.reason] += 1
        return
    events = [event for item in call.messages for event in item.events]
    if call.faults and not events:
        first = call.faults[0]
        batch.dead.append((body, f"message: {first.field}: {first.reason}"))
    batch.events += events
    batch.rejected += sum((item.refused for item in call.messages), call.unreadable)
    batch.noted += call.ignored + call.noted
    batch.mentions |= call.mentions


def _format(headers: Mapping[str, object]) -> tuple[Read, Dialect]:
    """What the headers say of a message's form; without any, it is our own."""
    name, audience, key = (headers.get(header) for header in ("format", "audience", "audience_key"))
    if name is None:
        read: Read | None = own.read
    else:
        read = FORMATS.get(name) if isinstance(name, str) else None
    if read is None:
        raise InvalidEvent("header format", f"must be one of {', '.join(FORMATS)}")
    if not isinstance(key, str | None):
        raise InvalidEvent("header audience_key", "must be text")
    reference = None if is_absent(audience) else read_reference(audience, "header audience")
    return read, Dialect(reference, key)


def _items(body: bytes) -> list[object]:
    """The messages in a body: one object, an array, or either of them a line."""
    if len(body) > LONGEST_MESSAGE:
        raise InvalidEvent("message", f"is longer than {LONGEST_MESSAGE:,} bytes")
    try:
        values = [orjson.loads(body)]
    except orjson.JSONDecodeError:
        values = _lines(body)
    items = [item for value in values for item in messages_of(value)]
    if not items:
        raise InvalidEvent("message", "holds no event")
    return items


def _lines(body: bytes) -> list[object]:
    try:
        return [orjson.loads(line) for line in body.splitlines() if line.strip()]
    except orjson.JSONDecodeError:
        raise InvalidEvent("message", "is not JSON") from None


def _bytes(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    return bytes(body) if isinstance(body, bytes | bytearray | memoryview) else b""
