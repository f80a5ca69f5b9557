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
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any

import sqlalchemy as sa

from app.bodies import join_chunks, unpack_chunk
from app.copying import array_text, copy_rows, read_bodies
from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, LeaseLost, Unavailable, UnreadableBody
from app.folding import ChunkSize
from app.gate import GATES, GateBusy, close_gate
from app.keyring import KeyRing, chunk_purpose
from app.lease import NOW, Claim, has_passed, seconds
from app.runs import LARGE, class_ends, runs
from app.tables import audience, staged_chunk

log = logging.getLogger(__name__)
STEP_MESSAGES = 50_000
STEP_AUDIENCES = 200
"""Joined in one transaction: some MiB, some hundred milliseconds."""

_COLUMNS = ("id", "audience_id", "message_count", "email_count", "maid_count", "arrived_at", "body")
# field count; length and value of id, audience, three counts, arrival; length of the body
_ROW = struct.Struct(">hiqiqihihihiqi")
_READ = """
SELECT body FROM unnest(%s::bigint[], %s::bigint[]) WITH ORDINALITY AS given(audience_id, id, place)
  JOIN staged_chunk USING (audience_id, id) ORDER BY place
"""
# The arrival in microseconds since 2000, as Postgres keeps it.
_DELETE = """
WITH gone AS (
    DELETE FROM staged_chunk AS chunk
     USING unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS given(audience_id, id, oldest)
     WHERE chunk.audience_id = given.audience_id AND chunk.id = given.id
    RETURNING chunk.audience_id, oldest, message_count, email_count, maid_count, arrived_at
)
SELECT oldest, audience_id, sum(message_count), sum(email_count), sum(maid_count),
       (extract(epoch FROM min(arrived_at) - timestamptz '2000-01-01 UTC') * 1000000)::bigint,
       count(*) AS gone
  FROM gone GROUP BY oldest, audience_id
"""


@dataclass(frozen=True)
class Joined:
    """The sealed body that takes the place of a run of chunks, which are all there still."""

    audience_id: int
    ids: list[int]
    body: bytes


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
    """Messages in small chunks of the audiences with something to join, as the index tells it."""
    messages = staged_chunk.c.message_count
    of_all = sa.func.sum(messages)
    query = (
        sa.select(staged_chunk.c.audience_id, of_all)
        .where(messages < LARGE)
        .group_by(staged_chunk.c.audience_id)
        .having(
            sa.or_(*(of_all.filter(messages < end) >= end for end in class_ends())),
        )
    )
    with transaction(deployment.engine) as tx:
        return {audience_id: int(found) for audience_id, found in tx.execute(query)}


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
        _read_by_index(tx)
        rows = tx.execute(query).all()
    return [
        (audience_id, run)
        for audience_id, chunks in groupby(rows, lambda row: row.audience_id)
        for run in runs([ChunkSize(*row[1:]) for row in chunks])
    ]


def _join(deployment: Deployment, wanted: list[tuple[int, list[ChunkSize]]]) -> Iterator[Joined]:
    """Open the chunks of each run and seal them as one; a run with one that is bad stays."""
    ids = [(audience_id, [chunk.id for chunk in run]) for audience_id, run in wanted]
    with transaction(deployment.engine) as tx:
        _read_by_index(tx)
        bodies = read_bodies(tx, _READ, _columns(ids)[:2])
    if len(bodies) != sum(len(run) for _, run in ids):
        raise LeaseLost("chunks to be joined are gone: somebody else took them")
    unread = iter(bodies)
    for audience_id, run in ids:
        try:
            body = _joined(deployment.keyring, audience_id, [*islice(unread, len(run))])
        except (ConfigError, UnreadableBody) as problem:
            log.warning("chunks of audience %s are not joined: %s", audience_id, problem)
        else:
            yield Joined(audience_id, run, body)


def _joined(keyring: KeyRing, audience_id: int, bodies: list[bytes]) -> bytes:
    purpose = chunk_purpose(audience_id)
    return keyring.seal(
        join_chunks([unpack_chunk(keyring.open(body, purpose)) for body in bodies]), purpose
    )


def _replace(tx: sa.Connection, joined: list[Joined]) -> None:
    """Delete exactly what was read and put the joined chunks in its place."""
    _read_by_index(tx)
    ids = [(each.audience_id, each.ids) for each in joined]
    sums = {row.oldest: row for row in tx.exec_driver_sql(_DELETE, _columns(ids))}
    if sum(row.gone for row in sums.values()) != sum(len(each.ids) for each in joined):
        raise LeaseLost("chunks to be joined are gone: somebody else took them")
    with closing(tx.connection.cursor()) as cursor:
        rows = (_pack_row(sums[each.ids[0]], each.body) for each in joined)
        copy_rows(cursor, staged_chunk, _COLUMNS, rows)


def _pack_row(sums: sa.Row[Any], body: bytes) -> bytes:
    fields = zip((8, 8, 2, 2, 2, 8), map(int, sums[:6]), strict=True)
    return _ROW.pack(len(_COLUMNS), *chain.from_iterable(fields), len(body)) + body


def _columns(runs_of: list[tuple[int, list[int]]]) -> tuple[str, str, str]:
    """Audience, id and the id of the run's oldest, of each chunk, in parallel."""
    return (
        array_text(audience_id for audience_id, ids in runs_of for _ in ids),
        array_text(chunk_id for _, ids in runs_of for chunk_id in ids),
        array_text(ids[0] for _, ids in runs_of for _ in ids),
    )


def _read_by_index(tx: sa.Connection) -> None:
    """A backlog that just came has no statistics yet, and whole tables would be read for a few."""
    for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
        tx.exec_driver_sql(f"SET LOCAL enable_{way} = off")


def _release(tx: sa.Connection, claims: list[Claim]) -> int:
    """Give back the leases that are still ours; returns how many that are."""
    held = sa.tuple_(audience.c.id, audience.c.epoch).in_([tuple(claim) for claim in claims])
    return tx.execute(sa.update(audience).where(held).values(lease_until=None)).rowcount
