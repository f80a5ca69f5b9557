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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from app import tables
from app.bodies import pack_chunk
from app.copying import array_text, copy_rows
from app.database import transaction
from app.deployment import Deployment
from app.drafting import Draft, Rejection, draft_chunks
from app.events import MembershipEvent, is_storable
from app.gate import GATE, gate_keys
from app.keyring import chunk_purpose

CALL_MESSAGES = 10_000
"""What callers should hand in at once; larger calls are accepted and make several chunks."""

# field count; length and value of four integers; length of the body
_ROW = struct.Struct(">hiqihihihi")
_COLUMNS = ("audience_id", "message_count", "email_count", "maid_count", "body")
_AT_THE_GATE = """
    SELECT pg_advisory_xact_lock_shared(%s, gate) FROM unnest(%s::int[]) AS gate;
    WITH kept AS (
        INSERT INTO receipt (source, dedupe_key, accepted, rejected,
                             audience_ids, message_counts, email_counts, maid_counts, message_ids)
        VALUES (%s, %s, %s, %s::jsonb, %s::bigint[], %s::int[], %s::int[], %s::int[], %s)
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT (SELECT count(*) FROM kept) AS receipts,
           (SELECT array_agg(id) FROM audience
             WHERE id = ANY(%s::bigint[]) AND state = 'deactivated') AS closed
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
    unusable = _look_up(intake, {event.audience for event in events})
    arrived_us = time.time_ns() // 1_000
    while True:
        drafts, rejections = draft_chunks(events, intake.audience_ids, unusable, arrived_us)
        sealed = [_seal(intake.deployment, draft) for draft in drafts]
        accepted = sum(chunk.messages for chunk in sealed)
        reasons = Counter(dict(rejected_before or {}))
        reasons.update(rejection.reason for rejection in rejections)
        head = (intake.source, dedupe_key, accepted, orjson.dumps(reasons).decode())
        try:
            with transaction(intake.deployment.engine) as tx:
                if not _pass_gate(tx, head, sealed, message_ids):
                    return Staged(0, [], duplicate=True)
                copy_rows(tx, tables.staged_chunk, _COLUMNS, map(_pack_row, sealed))
        except _Deactivated as closed:  # since it was looked up: its events are rejected
            reason = "is deactivated (pinfold audience activate starts it again)"
            found = intake.audience_ids.items()
            unusable |= {name: reason for name, number in found if number in closed.audience_ids}
        else:
            return Staged(accepted, rejections)


class _Deactivated(Exception):
    def __init__(self, audience_ids: list[int]) -> None:
        super().__init__(audience_ids)
        self.audience_ids = audience_ids


def _look_up(intake: Intake, references: set[str]) -> dict[str, str]:
    """Learn the ids of audiences not seen before; returns the reason for each unusable one."""
    missing = references - intake.audience_ids.keys()
    if not missing:
        return {}
    audience = tables.audience.c
    query = sa.select(audience.upstream_id, audience.id).where(
        audience.upstream_id.in_([name for name in missing if is_storable(name)])
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
    audience_id, messages, email, maid = draft
    sealed = deployment.keyring.seal(pack_chunk(email, maid), chunk_purpose(audience_id))
    return _Sealed(audience_id, len(messages), len(email.values), len(maid.values), sealed)


def _pass_gate(
    tx: sa.Connection,
    head: tuple[str, str | None, int, str],
    chunks: list[_Sealed],
    message_ids: bytes | None,
) -> bool:
    """Take the shared gates, then write the receipt; False when its key was committed before.

    Two statements in one round trip: the second sees what was committed before the gates opened.
    Raises _Deactivated when an audience takes no more events.
    """
    row = tx.exec_driver_sql(
        _AT_THE_GATE,
        (
            *(GATE, array_text(gate_keys(chunk.audience_id for chunk in chunks))),
            *head,
            array_text(chunk.audience_id for chunk in chunks),
            array_text(chunk.messages for chunk in chunks),
            array_text(chunk.emails for chunk in chunks),
            array_text(chunk.maids for chunk in chunks),
            message_ids,
            array_text({chunk.audience_id for chunk in chunks}),
        ),
    ).one()
    if row.closed:
        raise _Deactivated(row.closed)
    return bool(row.receipts)


def _pack_row(chunk: _Sealed) -> bytes:
    return (
        _ROW.pack(
            5,
            *(8, chunk.audience_id),
            *(2, chunk.messages),
            *(2, chunk.emails),
            *(2, chunk.maids),
            len(chunk.body),
        )
        + chunk.body
    )
