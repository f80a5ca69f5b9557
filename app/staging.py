"""Staging: check the events of one call, seal them, commit them with their receipt.

Every way in ends in ``stage``. It answers after the commit only, per event. One call becomes one
row per audience (a chunk), 30 times cheaper than a row per event, and one receipt, the side of
the books that is written here and nowhere else.

One transaction, sent as one query, does in this order: the shared gate of the audiences; their
states, so that nothing lands behind a deactivation; the receipt, whose key makes a second delivery
harmless; the chunks, whose ids are thus drawn inside the gate. Chunks are sealed one by one as they
are sent, so that Postgres works at the same time.
"""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa

from app import tables
from app.bodies import pack_chunk
from app.copying import array_text, copy_rows
from app.database import self_committing, transaction
from app.deployment import Deployment
from app.drafting import Draft, Rejection, audiences_of, draft_chunks, sort_events
from app.events import MembershipEvent, is_storable
from app.gate import GATE, gate_keys
from app.keyring import chunk_purpose
from app.processes import Presence

CALL_MESSAGES = 10_000
"""What callers should hand in at once; larger calls are accepted and make several chunks."""
FORGET_S = 60.0
DEACTIVATED = "is deactivated (pinfold audience activate starts it again)"

# field count; length and value of four integers; length of the body
_ROW = struct.Struct(">hiqihihihi")
_COLUMNS = ("audience_id", "message_count", "email_count", "maid_count", "body")
_RECEIVE = b"SELECT receive_call(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s);"
"""The shared gates, the states, the receipt: a function of the migrations."""
_REMEMBER = b"SELECT remember_messages(%s, %s::uuid[], %s::bytea[], %s::bytea[]);"
_DEACTIVATED, _RECEIVED_BEFORE, _MESSAGES_KNOWN = "PF001", "PF002", "PF003"
"""What they fail with: an audience takes no more events; the call's key, or a message's, was
committed before."""


@dataclass(frozen=True)
class Staged:
    """The answer of one call. ``accepted`` counts events; a duplicate call staged nothing."""

    accepted: int
    rejections: list[Rejection]
    duplicate: bool = False


class Remembered(NamedTuple):
    """Messages that count once, in parallel columns; no two have the same key."""

    keys: list[UUID]
    contents: list[bytes | None]
    """Digests of their bodies, where other content under the same key is a mistake."""
    answers: list[bytes | None]
    """What is to be answered when they come again."""


@dataclass
class Intake:
    """A way in: its source name, its connection where one is fixed, audiences looked up so far.

    What was found is kept until it turns out to be deactivated; several threads may share it.
    """

    deployment: Deployment
    source: str
    connection_id: int | None = None
    audience_ids: dict[str, int] = field(default_factory=dict)
    _forget_at: float = field(default_factory=lambda: time.monotonic() + FORGET_S)
    presence: Presence = field(init=False)
    """Tells others which keys this process holds; ``leave`` ends that early."""

    def __post_init__(self) -> None:
        self.presence = Presence(self.deployment, self.source)

    def forget_in_time(self) -> None:
        """Where no connection is fixed, another one may come to know an id as well."""
        if self.connection_id is None and time.monotonic() >= self._forget_at:
            self.audience_ids = {}
            self._forget_at = time.monotonic() + FORGET_S

    def forget(self, closed: Collection[int]) -> None:
        """Forget some audiences that were deactivated: another may have their upstream id."""
        known = self.audience_ids.copy()
        self.audience_ids = {name: each for name, each in known.items() if each not in closed}


def stage(
    intake: Intake,
    events: Sequence[MembershipEvent],
    *,
    dedupe_key: str | None = None,
    message_ids: bytes | None = None,
    rejected_before: Mapping[str, int] | None = None,
    noted: Mapping[str, int] | None = None,
    remembering: Callable[[list[Rejection]], Remembered] | None = None,
) -> Staged:
    """Accept what is good of one call's events, durably, and say of the rest why not.

    ``dedupe_key``: a call with a key that was used within the last week changes nothing.
    ``message_ids``: 8-byte ids of the broker messages behind the events, kept in the receipt.
    ``rejected_before``: what the caller's parser refused, by reason, for the receipt.
    ``noted``: what it ignored or took in doubt, by reason, for the receipt as well.
    ``remembering``: the messages to commit with the events, given what is rejected of these.

    Raises MessagesKnown when one of those was committed before. Raises Unavailable when Postgres
    cannot be reached; whether the call was committed is then unknown, and repeating it with the
    same key is safe. Raises ConfigError when the keys do not fit the database, or the one that
    would seal was dropped.
    """
    intake.presence.renew()
    parts = sort_events(events)
    audience_ids, unusable = _look_up(intake, audiences_of(parts))
    arrived_us = time.time_ns() // 1_000
    while True:
        drafts, rejections = draft_chunks(parts, audience_ids, unusable, arrived_us)
        accepted = sum(draft.messages for draft in drafts)
        reasons = Counter(dict(rejected_before or {}))
        reasons.update(rejection.reason for rejection in rejections)
        head = (intake.source, dedupe_key, accepted, orjson.dumps(reasons).decode())
        tail = (message_ids, orjson.dumps(noted).decode() if noted else None)
        remembered = remembering(rejections) if remembering else None
        try:
            _commit(intake.deployment, drafts, head, tail, remembered)
        except _AlreadyReceived:
            return Staged(0, [], duplicate=True)
        except _Deactivated as closed:  # since it was looked up
            intake.forget(closed.audience_ids)
            audience_ids, unusable = _look_up(intake, audiences_of(parts))
        else:
            intake.forget_in_time()
            return Staged(accepted, rejections)


class MessagesKnown(Exception):
    """Some of the messages to be remembered were committed before; nothing was changed."""


class _AlreadyReceived(Exception):
    pass


class _Deactivated(Exception):
    def __init__(self, audience_ids: list[int]) -> None:
        super().__init__(audience_ids)
        self.audience_ids = audience_ids


def _look_up(intake: Intake, references: set[str]) -> tuple[dict[str, int], dict[str, str]]:
    """The audiences of some upstream ids, and the reason for each that cannot be used.

    Several threads may stage over one intake, so what is found is handed on and not only kept.
    """
    known = intake.audience_ids
    found = {name: known[name] for name in references if name in known}
    missing = references - found.keys()
    if not missing:
        return found, {}
    rows = _rows_of(intake, missing)
    times_found = Counter(row.upstream_id for row in rows)
    unusable = {ref: _why_unknown(times_found[ref]) for ref in missing if times_found[ref] != 1}
    for row in rows:
        if row.upstream_id in unusable:
            continue
        if row.state == "deactivated":
            unusable[row.upstream_id] = DEACTIVATED
        else:
            found[row.upstream_id] = known[row.upstream_id] = row.id
    return found, unusable


def _rows_of(intake: Intake, references: set[str]) -> list[sa.Row[Any]]:
    audience = tables.audience.c
    query = (
        sa.select(audience.upstream_id, audience.id, audience.state)
        .join(tables.connection, tables.connection.c.id == audience.connection_id)
        .where(
            audience.upstream_id.in_([name for name in references if is_storable(name)]),
            tables.connection.c.removed_at.is_(None),
        )
    )
    if intake.connection_id is not None:
        query = query.where(audience.connection_id == intake.connection_id)
    with transaction(intake.deployment.engine) as connection:
        return list(connection.execute(query))


def _why_unknown(times_found: int) -> str:
    if times_found:
        return "is known to several connections: name the connection"
    return "is not activated (pinfold audience activate NAME --id UPSTREAM_ID)"


def _commit(
    deployment: Deployment,
    drafts: list[Draft],
    head: tuple[str, str | None, int, str],
    tail: tuple[bytes | None, str | None],
    remembered: Remembered | None,
) -> None:
    """Pass the gate, write receipt and chunks, commit: two round trips to Postgres in all.

    Raises _AlreadyReceived when the key was committed before, MessagesKnown when a message was,
    _Deactivated when an audience takes no more events; nothing is changed then.
    """
    ids = [draft.audience_id for draft in drafts]
    audience_ids, gates = array_text(ids), array_text(gate_keys(ids))
    emails = [draft.emails for draft in drafts]
    maids = [len(draft.values) - email for draft, email in zip(drafts, emails, strict=True)]
    counts = ([draft.messages for draft in drafts], emails, maids)
    keyring = deployment.keyring  # a wrong key is refused here, before anything is sent
    plain = (pack_chunk(each.flags, each.times, each.values, each.ordered) for each in drafts)
    bodies = keyring.seal_each(plain, [*map(chunk_purpose, ids)])
    rows = (
        _ROW.pack(5, 8, audience_id, 2, messages, 2, email, 2, maid, len(body)) + body
        for audience_id, messages, email, maid, body in zip(ids, *counts, bodies, strict=True)
    )
    with self_committing(deployment.engine) as cursor:
        receipt = (*head, audience_ids, *map(array_text, counts), *tail)
        receiving = cursor.mogrify(_RECEIVE, (GATE, gates, *receipt))
        if remembered and remembered.keys:
            keys = [str(key) for key in remembered.keys]
            columns = (head[0], keys, remembered.contents, remembered.answers)
            receiving += cursor.mogrify(_REMEMBER, columns)
        try:
            copy_rows(cursor, tables.staged_chunk, _COLUMNS, rows, first=receiving)
        except deployment.engine.dialect.loaded_dbapi.DatabaseError as problem:
            if problem.pgcode == _RECEIVED_BEFORE:
                raise _AlreadyReceived from None
            if problem.pgcode == _MESSAGES_KNOWN:
                raise MessagesKnown from None
            if problem.pgcode == _DEACTIVATED:
                raise _Deactivated([*map(int, problem.diag.message_detail.split(","))]) from None
            raise
