"""From broker messages to the events of one batch, with what was no event told apart.

Parsing is the same as everywhere (``app.events``). A message that the broker delivers again and
that stands in a receipt is left out; it is only acknowledged.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from kombu import Message

from app.errors import InvalidEvent
from app.events import MembershipEvent, parse_message
from app.receipts import MESSAGE_ID_BYTES, received_before
from app.staging import Intake

LONGEST_MESSAGE = 8 << 20


@dataclass
class Batch:
    """Messages taken from the broker and not yet acknowledged, and the events in them."""

    messages: list[Message] = field(default_factory=list)
    events: list[MembershipEvent] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    ids: set[bytes] = field(default_factory=set)
    dead: list[tuple[bytes, str]] = field(default_factory=list)
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    """One key for all tries to commit this batch: a commit whose reply was lost counts once."""


def read_batch(intake: Intake, messages: list[Message]) -> Batch:
    """Parse the messages; leave out those that were staged by an earlier delivery."""
    batch = Batch(messages)
    again = {_id(message) for message in messages if message.delivery_info.get("redelivered")}
    known = (
        received_before(intake.deployment, intake.source, again - {b""}) if again - {b""} else set()
    )
    for message in messages:
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
    return sha256(str(name).encode()).digest()[:MESSAGE_ID_BYTES] if name else b""


def _read_message(batch: Batch, message: Message) -> None:
    body = _bytes(message.body)
    try:
        if len(body) > LONGEST_MESSAGE:
            raise InvalidEvent("message", f"is longer than {LONGEST_MESSAGE:,} bytes")
        items = _items(body)
        good, rejected = [], Counter[str]()
        for item in items:
            try:
                event, faults = parse_message(item)
            except InvalidEvent as problem:
                rejected[f"{problem.field}: {problem.reason}"] += 1
            else:
                good.append(event)
                rejected.update(fault.reason for fault in faults)
        if not good:
            raise InvalidEvent("message", next(iter(rejected), "holds no event"))
    except InvalidEvent as problem:
        batch.dead.append((body, str(problem)))
        batch.rejected[problem.reason] += 1
    else:
        batch.events += good
        batch.rejected += rejected


def _items(body: bytes) -> list[Any]:
    """The events of a message: one object, an array, or an object a line."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return [orjson.loads(line) for line in body.splitlines() if line.strip()]
        except orjson.JSONDecodeError:
            raise InvalidEvent("message", "is not JSON") from None
    return value if isinstance(value, list) else [value]


def _bytes(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode("utf-8", "surrogateescape")
    return bytes(body) if isinstance(body, bytes | bytearray | memoryview) else b""
