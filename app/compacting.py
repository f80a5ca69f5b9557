"""Compacting: join small chunks of an audience, so that a long backlog stays cheap to look at.

An upstream that sends single events makes a chunk of each, and every due check reads an index entry
a chunk. Beat therefore has neighbours joined, small ones with small ones: a chunk is joined only
into one that is several times as large, so an event is packed anew four times at most, and what
stays is a few dozen chunks an audience, however many events wait.

    find the crowded -> lease -> fix the runs under the gate -> open, join, seal -> commit

Order stands: runs are neighbours in the order of arrival, fixed while no intake is half committed,
and the joined chunk has the id of its oldest. The commit names the leases and deletes exactly what
was read, so a cut and this never both take a chunk. A crash before it changes nothing.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from app.bodies import join_chunks, unpack_chunk
from app.copying import array_text, copy_rows
from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, LeaseLost, Unavailable, UnreadableBody
from app.folding import ChunkSize
from app.gate import GATES, GateBusy, close_gate
from app.keyring import KeyRing, chunk_purpose
from app.lease import NOW, Claim, has_passed, seconds
from app.tables import audience, staged_chunk

log = logging.getLogger(__name__)
LARGE = 4_096
"""A chunk of so many identities is not joined any more."""
GROWTH = 8
STEP_MESSAGES = 50_000
STEP_AUDIENCES = 200
"""Joined in one transaction: some MiB, some hundred milliseconds."""

_COLUMNS = ("id", "audience_id", "message_count", "email_count", "maid_count", "arrived_at", "body")
# field count; length and value of id, audience, three counts, arrival; length of the body
_ROW = struct.Struct(">hiqiqihihihiqi")
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_CROWDED = sa.text("""
SELECT audience_id, id, message_count FROM staged_chunk WHERE audience_id IN (
    SELECT audience_id FROM staged_chunk WHERE message_count < :large
     GROUP BY audience_id HAVING count(*) >= :growth
) ORDER BY audience_id, id
""")
_GIVEN = "unnest(%s::bigint[], %s::bigint[]) AS given(audience_id, id)"
_READ = f"""
SELECT audience_id, id, message_count, email_count, maid_count, arrived_at, body
  FROM staged_chunk JOIN {_GIVEN} USING (audience_id, id) ORDER BY audience_id, id
"""  # noqa: S608 our own text
_DELETE = f"""
DELETE FROM staged_chunk AS chunk USING {_GIVEN}
 WHERE chunk.audience_id = given.audience_id AND chunk.id = given.id
"""  # noqa: S608 our own text


def runs(chunks: Sequence[ChunkSize], enough: int = LARGE) -> Iterator[list[ChunkSize]]:
    """The runs of neighbours to be joined, each into a chunk of a larger class. Pure.

    A class ends at 8, 64, 512 and 4,096 identities. A run holds chunks below the end of a class
    only, and reaches it together, so every chunk in it rises by a class at least.
    """
    for is_small, neighbours in groupby(chunks, lambda chunk: chunk.identities < enough):
        if not is_small:
            continue
        rest: list[ChunkSize] = []
        total = 0
        for chunk in neighbours:
            rest.append(chunk)
            total += chunk.identities
            if total >= enough:
                yield rest
                rest, total = [], 0
        if enough > GROWTH:
            yield from runs(rest, enough // GROWTH)


@dataclass(frozen=True)
class Joined:
    """A chunk to take the place of others, which are all there still."""

    audience_id: int
    ids: list[int]
    row: bytes


def compact_once(deployment: Deployment, stopping: Callable[[], bool] = lambda: False) -> int:
    """Join small chunks wherever many stand; returns how many chunks there are less.

    Audiences that somebody else is at are passed over until the next time, and those whose last
    flush failed, lest one bad chunk is joined with good ones.
    """
    fewer = 0
    for audience_ids in _steps(_crowded(deployment)):
        if stopping():
            break
        with suppress(GateBusy, LeaseLost):
            fewer += _compact(deployment, audience_ids)
    return fewer


def _crowded(deployment: Deployment) -> dict[int, int]:
    """Messages of the audiences with something to join, as far as the index alone can tell."""
    found: dict[int, int] = {}
    values = {"large": LARGE, "growth": GROWTH}
    with (
        transaction(deployment.engine) as tx,
        tx.execution_options(yield_per=10_000).execute(_CROWDED, values) as rows,
    ):
        for audience_id, chunks in groupby(rows, lambda row: row.audience_id):
            sizes = [ChunkSize(row.id, row.message_count, row.message_count) for row in chunks]
            if messages := sum(chunk.messages for run in runs(sizes) for chunk in run):
                found[audience_id] = messages
    return found


def _steps(messages: dict[int, int]) -> Iterator[list[int]]:
    """Audiences that share a gate, as many as fit into one transaction."""
    for _, sharing in groupby(sorted(messages, key=lambda each: each % GATES), lambda e: e % GATES):
        step: list[int] = []
        for audience_id in sharing:
            step.append(audience_id)
            if sum(map(messages.__getitem__, step)) >= STEP_MESSAGES or len(step) == STEP_AUDIENCES:
                yield step
                step = []
        if step:
            yield step


def _compact(deployment: Deployment, audience_ids: list[int]) -> int:
    claims = _claim(deployment, audience_ids)
    if not claims:
        return 0
    try:
        wanted = _fix_runs(deployment, claims)
        joined = [*_join(deployment, wanted)]
        with transaction(deployment.engine) as tx:
            if _release(tx, claims) != len(claims):
                raise LeaseLost("an audience whose chunks are being joined was taken over")
            _replace(tx, joined)
    except Exception:
        with suppress(Unavailable), transaction(deployment.engine) as tx:
            _release(tx, claims)
        raise
    return sum(len(each.ids) - 1 for each in joined)


def _claim(deployment: Deployment, audience_ids: list[int]) -> list[Claim]:
    """The leases of those audiences that are free and well; nobody is waited for."""
    s = deployment.settings
    free = (
        sa.select(audience.c.id)
        .where(
            audience.c.id.in_(audience_ids),
            audience.c.state != "deactivated",
            audience.c.flush_failures == 0,
            has_passed(audience.c.lease_until, s.lease),
        )
        .with_for_update(skip_locked=True)
    )
    taking = (
        sa.update(audience)
        .where(audience.c.id.in_(free))
        .values(epoch=audience.c.epoch + 1, lease_until=NOW + seconds(s.lease))
        .returning(audience.c.id, audience.c.epoch)
    )
    with transaction(deployment.engine) as tx:
        return [Claim(*row) for row in tx.execute(taking)]


def _fix_runs(deployment: Deployment, claims: list[Claim]) -> list[tuple[int, list[ChunkSize]]]:
    """Read the sizes while no intake of these audiences is half committed: one gate is theirs."""
    ids = [claim.id for claim in claims]
    query = (
        sa.select(
            staged_chunk.c.audience_id,
            staged_chunk.c.id,
            staged_chunk.c.message_count,
            staged_chunk.c.email_count + staged_chunk.c.maid_count,
        )
        .where(staged_chunk.c.audience_id.in_(ids))
        .order_by(staged_chunk.c.audience_id, staged_chunk.c.id)
    )
    with transaction(deployment.engine) as tx:
        close_gate(tx, ids[0])
        rows = tx.execute(query).all()
    return [
        (audience_id, run)
        for audience_id, chunks in groupby(rows, lambda row: row.audience_id)
        for run in runs([ChunkSize(*row[1:]) for row in chunks])
    ]


def _join(deployment: Deployment, wanted: list[tuple[int, list[ChunkSize]]]) -> Iterator[Joined]:
    """Open the chunks of each run and seal them as one; a run with one that is bad stays."""
    with transaction(deployment.engine) as tx:
        ids = [(audience_id, [chunk.id for chunk in run]) for audience_id, run in wanted]
        rows = tx.exec_driver_sql(_READ, _columns(ids)).all()
    read = {(row.audience_id, row.id): row for row in rows}
    for audience_id, run in wanted:
        chunks = [read[audience_id, chunk.id] for chunk in run if (audience_id, chunk.id) in read]
        if len(chunks) < len(run):
            raise LeaseLost(f"chunks of audience {audience_id} are gone: somebody else took them")
        try:
            yield _joined(deployment.keyring, audience_id, chunks)
        except (ConfigError, UnreadableBody) as problem:
            log.warning("chunks of audience %s are not joined: %s", audience_id, problem)


def _joined(keyring: KeyRing, audience_id: int, chunks: list[sa.Row[Any]]) -> Joined:
    purpose = chunk_purpose(audience_id)
    opened = [unpack_chunk(keyring.open(bytes(chunk.body), purpose)) for chunk in chunks]
    body = keyring.seal(join_chunks(opened), purpose)
    counts = [sum(getattr(chunk, name) for chunk in chunks) for name in _COLUMNS[2:5]]
    arrived = min(chunk.arrived_at for chunk in chunks) - _POSTGRES_EPOCH
    at = arrived // timedelta(microseconds=1)
    numbers = [8, chunks[0].id, 8, audience_id, 2, counts[0], 2, counts[1], 2, counts[2], 8, at]
    row = _ROW.pack(len(_COLUMNS), *numbers, len(body)) + body
    return Joined(audience_id, [chunk.id for chunk in chunks], row)


def _replace(tx: sa.Connection, joined: list[Joined]) -> None:
    """Delete exactly what was read and put the joined chunks in its place."""
    gone = [(each.audience_id, each.ids) for each in joined]
    deleted = tx.exec_driver_sql(_DELETE, _columns(gone)).rowcount
    if deleted != sum(len(ids) for _, ids in gone):
        raise LeaseLost("chunks to be joined are gone: somebody else took them")
    with closing(tx.connection.cursor()) as cursor:
        copy_rows(cursor, staged_chunk, _COLUMNS, (each.row for each in joined))


def _columns(chunks: list[tuple[int, list[int]]]) -> tuple[str, str]:
    """Audience and id of each chunk, in parallel."""
    return (
        array_text(audience_id for audience_id, ids in chunks for _ in ids),
        array_text(chunk_id for _, ids in chunks for chunk_id in ids),
    )


def _release(tx: sa.Connection, claims: list[Claim]) -> int:
    """Give back the leases that are still ours; returns how many that are."""
    held = sa.tuple_(audience.c.id, audience.c.epoch).in_([tuple(claim) for claim in claims])
    return tx.execute(sa.update(audience).where(held).values(lease_until=None)).rowcount
