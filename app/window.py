"""The window of an upload: which chunks it takes, and what their identities fold to.

The ids are fixed under the gate, so the window is a prefix of the order of arrival; bodies are
read afterwards, a few MiB at a time. A window is bounded, so memory stays flat however much waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from app.bodies import unpack_chunk
from app.copying import array_text, read_bodies
from app.database import transaction
from app.deployment import Deployment
from app.events import ListType
from app.folding import ChunkSize, Folded, Folder, prefix
from app.gate import close_gate
from app.keyring import chunk_purpose
from app.lease import Claim
from app.tables import staged_chunk

READ_IDENTITIES = 60_000
"""Bodies read and hashed at once: some ten MiB with all that comes of them, whatever the size of
the chunks. A third of it took a tenth longer."""

# put together once, as every flush asks them
_OF_AUDIENCE = staged_chunk.c.audience_id == sa.bindparam("of_audience")
_NEWEST = sa.select(sa.func.max(staged_chunk.c.id)).where(_OF_AUDIENCE)
_OLDEST_FIRST = (
    sa.select(
        staged_chunk.c.id,
        staged_chunk.c.message_count,
        staged_chunk.c.email_count + staged_chunk.c.maid_count,
    )
    .where(_OF_AUDIENCE)
    .order_by(staged_chunk.c.id)
    .execution_options(yield_per=1_000)
)


@dataclass(frozen=True)
class Plan:
    """What was decided when the lease was taken."""

    claim: Claim
    reason: str
    failures: int
    """Flushes in a row, with this one, that did not come to their end."""
    one_chunk: bool
    asked_at: datetime | None
    records_per_request: int
    forward: dict[ListType, bool]
    forward_other_digests: bool
    case: str
    list_ids: dict[ListType, int]


@dataclass(frozen=True)
class Window:
    chunks: list[ChunkSize]
    drain_to: int | None
    """The highest waiting id when chunks are left behind, so that they follow at once."""


def fix_window(deployment: Deployment, plan: Plan) -> Window:
    """Read the ids of the upload's chunks while no intake of this audience is half committed."""
    s = deployment.settings
    audience_id = plan.claim.id
    with transaction(deployment.engine) as tx:
        close_gate(tx, audience_id)
        chunks = prefix(_sizes(tx, audience_id), s.window_messages, s.window_identities)
        newest = tx.execute(_NEWEST, {"of_audience": audience_id}).scalar()
    if plan.one_chunk:
        chunks = chunks[:1]
    drain_to = newest if chunks and newest != chunks[-1].id else None
    return Window(chunks, drain_to)


def _sizes(tx: sa.Connection, audience_id: int) -> Iterator[ChunkSize]:
    with tx.execute(_OLDEST_FIRST, {"of_audience": audience_id}) as rows:
        yield from map(ChunkSize._make, rows)


def read_and_fold(deployment: Deployment, plan: Plan, window: Window) -> dict[ListType, Folded]:
    if plan.reason == "deactivated":
        return _book_unread(deployment, plan, window)
    folder = Folder(
        forward=plan.forward, forward_other_digests=plan.forward_other_digests, case=plan.case
    )
    purpose = chunk_purpose(plan.claim.id)
    for ids in _slices(window.chunks):
        bodies = _bodies(deployment, plan.claim.id, ids)
        folder.take([unpack_chunk(deployment.keyring.open(body, purpose)) for body in bodies])
    return folder.fold()


def _slices(chunks: list[ChunkSize]) -> Iterator[list[int]]:
    ids: list[int] = []
    identities = 0
    for chunk in chunks:
        ids.append(chunk.id)
        identities += chunk.identities
        if identities >= READ_IDENTITIES:
            yield ids
            ids, identities = [], 0
    if ids:
        yield ids


def _bodies(deployment: Deployment, audience_id: int, ids: list[int]) -> list[bytes]:
    with transaction(deployment.engine) as tx:
        return read_bodies(
            tx,
            "SELECT body FROM staged_chunk"
            " WHERE audience_id = %s AND id = ANY(%s::bigint[]) ORDER BY id",
            (audience_id, array_text(ids)),
        )


def _book_unread(deployment: Deployment, plan: Plan, window: Window) -> dict[ListType, Folded]:
    """Everything of a deactivated audience is not forwarded; the counts tell how much it is."""
    with transaction(deployment.engine) as tx:
        row = tx.exec_driver_sql(
            "SELECT coalesce(sum(email_count), 0) AS emails, coalesce(sum(maid_count), 0) AS maids"
            " FROM staged_chunk WHERE audience_id = %s AND id = ANY(%s::bigint[])",
            (plan.claim.id, array_text(chunk.id for chunk in window.chunks)),
        ).one()
    return {
        ListType.EMAIL: Folded(row.emails, row.emails, 0, [], []),
        ListType.MAID: Folded(row.maids, row.maids, 0, [], []),
    }
