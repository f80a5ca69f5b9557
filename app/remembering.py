"""Remembering: messages that come with an id of their own count once, however often they are sent.

Upstream systems send again what was not answered in time, so the id of a message is remembered for
a week, in the transaction that stages its events. Staging is tried first, without asking whether an
id is known: only when Postgres says so are the known ones looked up and left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import accumulate, chain
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.drafting import Rejection
from app.errors import Unavailable
from app.events import MembershipEvent
from app.staging import Intake, MessagesKnown, Remembered, stage
from app.tables import encryption_key, message_key

KEPT_DAYS = 7
MOST_TRIES = 20
SLICE = 50_000
SLICES_AT_ONCE = 100


class Message(NamedTuple):
    """What counts once: some events, with the sender's id where there is one."""

    events: Sequence[MembershipEvent]
    key: UUID | None = None
    contents: Sequence[bytes] = ()
    """Fingerprints of the body by each of our keys, where other content under the same key is a
    mistake."""
    answer: Callable[[Outcome], bytes] | None = None
    """Makes what is to be answered now, and whenever the message comes again."""
    refused: Mapping[str, int] = {}
    """What its format could not use of it, by reason."""
    noted: Mapping[str, int] = {}
    """What was ignored of it, or taken in doubt, by reason."""


class Outcome(NamedTuple):
    """What became of one message."""

    accepted: int = 0
    rejections: Sequence[Rejection] = ()
    """Their positions count from the message's first event."""
    duplicate: bool = False
    """It was committed before, or stands earlier in the same call; nothing was staged."""
    conflict: bool = False
    """Its key was used before, for other content; nothing was staged."""
    answer: bytes | None = None
    """What was answered when it was committed."""


class _Known(NamedTuple):
    content: bytes | None
    answer: bytes | None


def key_of(*parts: object) -> UUID:
    """What a message is known by, of any form, as 16 bytes; two share them as good as never."""
    text = "\n".join(map(repr, parts))
    return UUID(bytes=sha256(text.encode(errors="surrogatepass")).digest()[:16])


def stage_messages(
    intake: Intake,
    messages: Sequence[Message],
    *,
    unreadable: Mapping[str, int] | None = None,
) -> list[Outcome]:
    """Stage the events of those messages that were not staged before; an outcome for each.

    ``unreadable``: what came with them and was no message at all, by reason, for the receipt.
    All of it is one call: it is committed as a whole when this returns. Raises Unavailable and
    ConfigError as ``stage`` does; calling again with the same messages is safe for keyed ones.
    """
    known: dict[UUID, _Known] = {}
    for _ in range(MOST_TRIES):
        fresh = _fresh(messages, known)
        if not fresh and not unreadable:
            return _outcomes(messages, known, {})
        call = _Call([messages[position] for position in fresh])
        try:
            staged = stage(
                intake,
                call.events(),
                rejected_before=call.refused() + Counter(dict(unreadable or {})),
                noted=call.noted(),
                remembering=call.remembered if call.has_keys() else None,
            )
        except MessagesKnown:
            known |= _look_up(intake.deployment, intake.source, messages)
            continue
        found = call.outcomes(staged.rejections)
        return _outcomes(messages, known, dict(zip(fresh, found, strict=True)))
    raise Unavailable("the same messages are being staged elsewhere: send them again")


def _fresh(messages: Sequence[Message], known: Mapping[UUID, _Known]) -> list[int]:
    """The positions of messages that were not seen before, neither here nor earlier."""
    seen = set(known)
    fresh = []
    for position, message in enumerate(messages):
        if message.key is None or message.key not in seen:
            fresh.append(position)
        if message.key is not None:
            seen.add(message.key)
    return fresh


class _Call:
    """Some messages in one call of ``stage``: their events, one after another."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._starts = [0, *accumulate(len(message.events) for message in messages)]

    def events(self) -> Sequence[MembershipEvent]:
        if len(self._messages) == 1:
            return self._messages[0].events
        return list(chain.from_iterable(message.events for message in self._messages))

    def refused(self) -> Counter[str]:
        return sum(
            (Counter(dict(each.refused)) for each in self._messages if each.refused), Counter()
        )

    def noted(self) -> Counter[str]:
        return sum((Counter(dict(each.noted)) for each in self._messages if each.noted), Counter())

    def has_keys(self) -> bool:
        return any(message.key is not None for message in self._messages)

    def remembered(self, rejections: Iterable[Rejection]) -> Remembered:
        """The messages that count from now on: not those of which nothing could be accepted.

        Such a one may be sent again when its cause is gone, unless an answer was promised.
        """
        remembered = Remembered([], [], [])
        for message, outcome in zip(self._messages, self.outcomes(rejections), strict=True):
            lost = bool(outcome.rejections) and not outcome.accepted
            if message.key is not None and (outcome.answer is not None or not lost):
                remembered.keys.append(message.key)
                remembered.contents.append(message.contents[0] if message.contents else None)
                remembered.answers.append(outcome.answer)
        return remembered

    def outcomes(self, rejections: Iterable[Rejection]) -> list[Outcome]:
        mine: list[list[Rejection]] = [[] for _ in self._messages]
        for rejection in rejections:
            at = bisect_right(self._starts, rejection.position) - 1
            mine[at].append(rejection._replace(position=rejection.position - self._starts[at]))
        return [
            _answered(message, len(message.events) - sum(r.whole for r in refused), refused)
            for message, refused in zip(self._messages, mine, strict=True)
        ]


def _answered(message: Message, accepted: int, rejections: list[Rejection]) -> Outcome:
    outcome = Outcome(accepted, rejections)
    return outcome._replace(answer=message.answer(outcome)) if message.answer else outcome


def _outcomes(
    messages: Sequence[Message], known: Mapping[UUID, _Known], staged: Mapping[int, Outcome]
) -> list[Outcome]:
    """Every message's outcome, given those of the ones that were staged now."""
    earlier: dict[UUID | None, _Known] = dict(known.items())
    outcomes = []
    for position, message in enumerate(messages):
        if position in staged:
            outcome = staged[position]
            content = message.contents[0] if message.contents else None
            earlier[message.key] = _Known(content, outcome.answer)
        else:
            before = earlier[message.key]
            same = before.content is None or before.content in message.contents
            outcome = Outcome(duplicate=same, conflict=not same, answer=before.answer)
        outcomes.append(outcome)
    return outcomes


def _look_up(
    deployment: Deployment, source: str, messages: Iterable[Message]
) -> dict[UUID, _Known]:
    keys = [message.key for message in messages if message.key is not None]
    query = sa.select(message_key.c.key, _comparable(), message_key.c.answer).where(
        message_key.c.source == source, message_key.c.key.in_(keys)
    )
    with transaction(deployment.engine) as tx:
        return {row.key: _Known(row.content, row.answer) for row in tx.execute(query)}


def _comparable() -> sa.ColumnElement[Any]:
    """The fingerprint of a message; NULL where it may be by a key that was given up since.

    Nobody can make such a one again, so the message's key alone says that it is the same.
    """
    dropped_at = sa.select(sa.func.max(encryption_key.c.dropped_at)).scalar_subquery()
    by_no_dropped_key = sa.or_(dropped_at.is_(None), message_key.c.received_at > dropped_at)
    return sa.case((by_no_dropped_key, message_key.c.content)).label("content")


def forget_messages_once(deployment: Deployment) -> int:
    """Drop what was remembered for a week, a slice a transaction; returns how many messages."""
    forgotten = 0
    for _ in range(SLICES_AT_ONCE):
        with transaction(deployment.engine) as tx:
            dropped = tx.execute(_FORGET, {"days": KEPT_DAYS, "most": SLICE}).rowcount
        forgotten += dropped
        if dropped < SLICE:
            break
    return forgotten


_FORGET = sa.text("""
DELETE FROM message_key WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM message_key
     WHERE received_at < clock_timestamp() - :days * interval '1 day' LIMIT :most))
""")
