"""Staging: check the events of one call, seal them, commit them with their receipt.

Every way in ends in ``stage``. It answers after the commit only, per event. One call becomes one
row per audience (a chunk), 30 times cheaper than a row per event, and one receipt, the side of
the books that is written here and nowhere else. Bodies are sealed before the transaction begins.

In the transaction, in this order: the shared gate of the audiences; their states, so that nothing
lands behind a deactivation; the receipt, whose key makes a second delivery harmless; the chunks,
whose ids are thus drawn inside the gate.
"""

from __future__ import annotations

import struct
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from app import tables
from app.bodies import Column, pack_chunk
from app.copying import array_text, copy_rows
from app.database import transaction
from app.deployment import Deployment
from app.drafting import Draft, Rejection, draft_chunks
from app.events import MembershipEvent
from app.gate import GATE, gate_keys
from app.keyring import chunk_purpose

CALL_MESSAGES = 10_000
"""What callers should hand in at once; larger calls are accepted and make several chunks."""

_ROW = struct.Struct(">hiqiiiiiii")  # field count; then length and value of four ints; body length
_COLUMNS = ("audience_id", "message_count", "email_count", "maid_count", "body")
_INSERT_RECEIPT = """
    INSERT INTO receipt (source, dedupe_key, accepted, rejected,
                         audience_ids, message_counts, email_counts, maid_counts, message_ids)
    VALUES (%s, %s, %s, %s::jsonb, %s::bigint[], %s::int[], %s::int[], %s::int[], %s)
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class Staged:
    """The answer of one call. ``accepted`` counts events; a duplicate call staged nothing."""

    accepted: int
    rejections: list[Rejection]
    duplicate: bool = False


@dataclass
class Intake:
    """A way in: its source name, its connection where one is fixed, audiences looked up so far.

    An upstream id never changes its audience, so what was found once is kept.
    """

    deployment: Deployment
    source: str
    connection_id: int | None = None
    audience_ids: dict[str, int] = field(default_factory=dict)


class _Sealed(NamedTuple):
    audience_id: int
    messages: int
    emails: int
    maids: int
    body: bytes


def stage(
    intake: Intake,
    events: Sequence[MembershipEvent],
    *,
    dedupe_key: str | None = None,
    message_ids: bytes | None = None,
    rejected_before: Mapping[str, int] | None = None,
) -> Staged:
    """Accept what is good of one call's events, durably, and say of the rest why not.

    ``dedupe_key``: a call with a key that was used within the last week changes nothing.
    ``message_ids``: 8-byte ids of the broker messages behind the events, kept in the receipt.
    ``rejected_before``: what the caller's parser refused, by reason, for the receipt.

    Raises Unavailable when Postgres cannot be reached; whether the call was committed is then
    unknown, and repeating it with the same key is safe.
    """
    unknown = _look_up(intake, {event.audience for event in events})
    arrived_us = time.time_ns() // 1_000
    drafts, rejections = draft_chunks(events, intake.audience_ids, unknown, arrived_us)
    sealed = [_seal(intake.deployment, draft) for draft in drafts]
    accepted = sum(chunk.messages for chunk in sealed)
    with transaction(intake.deployment.engine) as connection:
        closed = _deactivated_behind_gate(connection, {chunk.audience_id for chunk in sealed})
        if closed:
            accepted -= sum(chunk.messages for chunk in sealed if chunk.audience_id in closed)
            sealed = [chunk for chunk in sealed if chunk.audience_id not in closed]
            rejections = _reject_closed(intake, events, closed, rejections)
        reasons = Counter(dict(rejected_before or {}))
        reasons.update(rejection.reason for rejection in rejections)
        head = (intake.source, dedupe_key, accepted, orjson.dumps(reasons).decode())
        if not _write_receipt(connection, head, sealed, message_ids):
            return Staged(0, [], duplicate=True)
        copy_rows(connection, tables.staged_chunk, _COLUMNS, map(_pack_row, sealed))
    return Staged(accepted, rejections)


def _look_up(intake: Intake, references: set[str]) -> dict[str, str]:
    """Learn the ids of audiences not seen before; returns the reason for each unusable one."""
    missing = references - intake.audience_ids.keys()
    if not missing:
        return {}
    audience = tables.audience.c
    query = sa.select(audience.upstream_id, audience.id).where(
        audience.upstream_id.in_([ref for ref in missing if "\x00" not in ref])
    )
    if intake.connection_id is not None:
        query = query.where(audience.connection_id == intake.connection_id)
    with transaction(intake.deployment.engine) as connection:
        rows = connection.execute(query).all()
    times_found = Counter(row.upstream_id for row in rows)
    intake.audience_ids |= {
        row.upstream_id: row.id for row in rows if times_found[row.upstream_id] == 1
    }
    return {ref: _why_unknown(times_found[ref]) for ref in missing if times_found[ref] != 1}


def _why_unknown(times_found: int) -> str:
    if times_found:
        return "is known to several connections: name the connection"
    return "is not activated (pinfold audience activate NAME --id UPSTREAM_ID)"


def _seal(deployment: Deployment, draft: Draft) -> _Sealed:
    audience_id, messages, e_flags, e_times, e_values, m_flags, m_times, m_values = draft
    body = pack_chunk(
        Column(bytes(e_flags), array("q", e_times), e_values),
        Column(bytes(m_flags), array("q", m_times), m_values),
    )
    sealed = deployment.keyring.seal(body, chunk_purpose(audience_id))
    return _Sealed(audience_id, len(messages), len(e_values), len(m_values), sealed)


def _deactivated_behind_gate(connection: sa.Connection, audience_ids: set[int]) -> set[int]:
    """Take the shared gates, then read which of the audiences no longer take events.

    Two statements in one round trip: the second sees what was committed before the gate opened.
    """
    if not audience_ids:
        return set()
    rows = connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock_shared(%s, gate) FROM unnest(%s::int[]) AS gate;"
        "SELECT id FROM audience WHERE id = ANY(%s::bigint[]) AND state = 'deactivated'",
        (GATE, array_text(gate_keys(audience_ids)), array_text(audience_ids)),
    )
    return {row.id for row in rows}


def _reject_closed(
    intake: Intake,
    events: Sequence[MembershipEvent],
    closed: set[int],
    rejections: list[Rejection],
) -> list[Rejection]:
    """The events of audiences that were deactivated, now rejected whole."""
    reason = "is deactivated (pinfold audience activate starts it again)"
    shut = {
        index
        for index, event in enumerate(events)
        if intake.audience_ids.get(event.audience) in closed
    }
    kept = [rejection for rejection in rejections if rejection.position not in shut]
    kept += [Rejection(index, "audience", reason, whole=True) for index in shut]
    return sorted(kept, key=lambda rejection: rejection.position)


def _write_receipt(
    connection: sa.Connection,
    head: tuple[str, str | None, int, str],
    chunks: list[_Sealed],
    message_ids: bytes | None,
) -> bool:
    """Note what this call brought; False when a call with this key was already committed."""
    row = (
        *head,
        array_text(chunk.audience_id for chunk in chunks),
        array_text(chunk.messages for chunk in chunks),
        array_text(chunk.emails for chunk in chunks),
        array_text(chunk.maids for chunk in chunks),
        message_ids,
    )
    return connection.exec_driver_sql(_INSERT_RECEIPT, row).rowcount == 1


def _pack_row(chunk: _Sealed) -> bytes:
    return (
        _ROW.pack(
            5,
            *(8, chunk.audience_id),
            *(4, chunk.messages),
            *(4, chunk.emails),
            *(4, chunk.maids),
            len(chunk.body),
        )
        + chunk.body
    )
