"""A whole body in our own form at once: decoded into rows of one type, then read column by column.

Nearly all messages are plain: our fields only, each of its type, nothing to be refused. msgspec
decodes such a body as it checks it, and looking at one field of all of them at a time is several
times as fast as looking at all fields of one. A body with anything else in it is left as a whole to
``app.formats.own.read``, which judges one message and says what is wrong. Both take the same
messages for the same events, which a test holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, cast

import msgspec

from app.errors import InvalidEvent
from app.events import (
    EPOCH,
    MICROSECOND,
    OPERATIONS,
    Identity,
    Kind,
    MembershipEvent,
    parse_time,
)
from app.formats.reading import MOST_VALUES, read_reference, refuse_too_many
from app.plain_events import RAW_FLAGS, PlainEvents

_Values = str | list[str] | None


class _Plain(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    audience: str
    operation: Literal["add", "remove"]
    email: _Values = None
    idfa: _Values = None
    gaid: _Values = None
    occurred_at: datetime | int | None = None


_ARRAY = msgspec.json.Decoder(list[_Plain])
_LINE = msgspec.json.Decoder(_Plain)
_FLAG_OF_EMAIL, _FLAG_OF_IDFA, _FLAG_OF_GAID = (
    {word: RAW_FLAGS[OPERATIONS[word]][kind] for word in ("add", "remove")} for kind in Kind
)


class _NotPlain(Exception):
    """One of the messages is to be looked at by itself."""


def read_whole(body: bytes) -> Sequence[MembershipEvent] | None:
    """The events of a body (an array, one message, or one a line), one for each message in order.

    None where not all of it is plain; nothing need be wrong with it.
    """
    try:
        if body.lstrip()[:1] == b"[":
            messages = _ARRAY.decode(body)
        else:
            messages = _LINE.decode_lines(body)
            if not _one_a_line(body, len(messages)):
                return None
        return _events(messages) if messages else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidEvent, _NotPlain):
        return None


def _one_a_line(body: bytes, count: int) -> bool:
    """Whether each of so many messages has a line to itself; the decoder takes others, too."""
    text = body.strip()
    return text.count(b"\n") == text.count(b"}\n") == count - 1


def _events(messages: list[_Plain]) -> Sequence[MembershipEvent]:
    audiences = _audiences([message.audience for message in messages])
    moments = _moments([message.occurred_at for message in messages])
    emails = [message.email for message in messages]
    idfas = [message.idfa for message in messages]
    gaids = [message.gaid for message in messages]
    if emails.count(None) + idfas.count(None) + gaids.count(None) != 2 * len(messages):
        return _several_each(messages, audiences, moments)
    values: list[Any] = [
        email if email is not None else idfa if idfa is not None else gaid
        for email, idfa, gaid in zip(emails, idfas, gaids, strict=True)
    ]
    try:
        blank = not all(map(str.strip, values))
    except TypeError:  # one of them is a list, or None
        return _several_each(messages, audiences, moments)
    if blank:
        raise _NotPlain
    flags = [
        _FLAG_OF_EMAIL[message.operation]
        if message.email is not None
        else _FLAG_OF_IDFA[message.operation]
        if message.idfa is not None
        else _FLAG_OF_GAID[message.operation]
        for message in messages
    ]
    return PlainEvents(audiences, moments, flags, values)


def _several_each(
    messages: list[_Plain], audiences: Iterable[str], moments: Iterable[int | None]
) -> list[MembershipEvent]:
    """The events of messages of which some have several identities. Raises _NotPlain for none."""
    identities = [tuple(_identities(message)) for message in messages]
    if not all(identities):
        raise _NotPlain
    refuse_too_many(sum(map(len, identities)))
    operations = [OPERATIONS[message.operation] for message in messages]
    return [*map(MembershipEvent, audiences, operations, identities, moments)]


def _identities(message: _Plain) -> Iterable[Identity]:
    for kind, given in zip(Kind, (message.email, message.idfa, message.gaid), strict=True):
        if isinstance(given, list) and len(given) > MOST_VALUES:
            raise _NotPlain
        for value in [given] if isinstance(given, str) else given or ():
            if value.strip():
                yield Identity(kind, value)


def _moments(times: list[Any]) -> list[int | None]:
    """Microseconds; where all are times with an offset, from their (small) distances to one."""
    with suppress(TypeError):
        first = (times[0] - EPOCH) // MICROSECOND
        moments = [first + (time - times[0]) // MICROSECOND for time in times]
        if min(moments) >= 0:
            return cast("list[int | None]", moments)
    return [*map(parse_time, times)]


def _audiences(names: list[str]) -> list[str]:
    read = {name: read_reference(name, "audience") for name in {*names}}
    if all(name == reference for name, reference in read.items()):
        return names
    return [*map(read.__getitem__, names)]
