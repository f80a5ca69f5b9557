"""Joining: runs of an audience's chunks are opened, sealed as one each, and replaced by it.

    read the bodies -> open, join, seal -> delete what was read, insert what takes its place

A joined chunk has the id of its oldest and the time at which that arrived, so order stands and
what a drain still has to reach stays within reach. What is deleted is named by id and counted:
where any of it is gone, somebody else took it, and nothing is replaced.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa

from app.bodies import join_chunks, unpack_chunk
from app.copying import array_text, read_bodies
from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, LeaseLost, UnreadableBody
from app.folding import ChunkSize
from app.keyring import KeyRing, chunk_purpose

log = logging.getLogger(__name__)

_READ = """
SELECT body FROM unnest(%s::bigint[], %s::bigint[]) WITH ORDINALITY AS given(audience_id, id, place)
  JOIN staged_chunk USING (audience_id, id) ORDER BY place
"""
_DELETE = """
WITH gone AS (
    DELETE FROM staged_chunk AS chunk
     USING unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS given(audience_id, id, oldest)
     WHERE chunk.audience_id = given.audience_id AND chunk.id = given.id
    RETURNING chunk.audience_id, oldest, message_count, email_count, maid_count, arrived_at
)
SELECT oldest, audience_id, sum(message_count)::integer, sum(email_count)::integer,
       sum(maid_count)::integer, min(arrived_at), count(*) AS gone
  FROM gone GROUP BY oldest, audience_id
"""
# In one piece: a process that stands still while Postgres waits for the rows of a COPY would hold
# the audiences for as long, as no timeout counts then.
_INSERT = """
INSERT INTO staged_chunk (id, audience_id, message_count, email_count, maid_count, arrived_at, body)
OVERRIDING SYSTEM VALUE
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::smallint[], %s::smallint[], %s::smallint[],
                     %s::timestamptz[], %s::bytea[])
"""


@dataclass(frozen=True)
class Joined:
    """The sealed body that takes the place of a run of chunks, which are all there still."""

    audience_id: int
    ids: list[int]
    body: bytes


def join_runs(deployment: Deployment, wanted: list[tuple[int, list[ChunkSize]]]) -> list[Joined]:
    """Open the chunks of each audience's run and seal them as one; nothing is replaced yet.

    A run with a chunk that is bad is left out, and the log says so. Raises LeaseLost when any chunk
    is gone, and ConfigError when the keys do not fit the database.
    """
    ids = [(audience_id, [chunk.id for chunk in run]) for audience_id, run in wanted]
    keyring = deployment.keyring  # a wrong key ends it here, and is not taken for a bad chunk
    with transaction(deployment.engine) as tx:
        read_by_index(tx)
        bodies = read_bodies(tx, _READ, _columns(ids)[:2])
    if len(bodies) != sum(len(run) for _, run in wanted):
        raise LeaseLost("chunks to be joined are gone: somebody else took them")
    unread = iter(bodies)
    joined, bad = [], []
    for (audience_id, run), (_, run_ids) in zip(wanted, ids, strict=True):
        sealed = [*islice(unread, len(run))]
        try:
            body = _joined(keyring, audience_id, run, sealed)
            joined.append(Joined(audience_id, run_ids, body))
        except (ConfigError, UnreadableBody) as problem:
            bad.append(f"of audience {audience_id}: {problem}")
    if bad:
        log.warning("%s runs of chunks are not joined, the first %s", len(bad), bad[0])
    return joined


def _joined(keyring: KeyRing, audience_id: int, run: list[ChunkSize], bodies: list[bytes]) -> bytes:
    purpose = chunk_purpose(audience_id)
    opened = [unpack_chunk(keyring.open(body, purpose)) for body in bodies]
    if [len(chunk.flags) for chunk in opened] != [chunk.identities for chunk in run]:
        raise UnreadableBody("a staged chunk does not hold what its row says")
    return keyring.seal(join_chunks(opened), purpose)


def replace_runs(tx: sa.Connection, joined: list[Joined]) -> None:
    """Delete exactly what was read and put the joined chunks in its place.

    Raises LeaseLost when any of it is gone; the transaction is then to be undone.
    """
    read_by_index(tx)
    ids = [(each.audience_id, each.ids) for each in joined]
    sums = {row.oldest: row for row in tx.exec_driver_sql(_DELETE, _columns(ids))}
    if sum(row.gone for row in sums.values()) != sum(len(each.ids) for each in joined):
        raise LeaseLost("chunks to be joined are gone: somebody else took them")
    rows = [(*sums[each.ids[0]][:6], each.body) for each in joined]
    tx.exec_driver_sql(_INSERT, tuple(map(list, zip(*rows, strict=True))))


def _columns(runs_of: list[tuple[int, list[int]]]) -> tuple[str, str, str]:
    """Audience, id and the id of the run's oldest, of each chunk, in parallel."""
    return (
        array_text(audience_id for audience_id, ids in runs_of for _ in ids),
        array_text(chunk_id for _, ids in runs_of for chunk_id in ids),
        array_text(ids[0] for _, ids in runs_of for _ in ids),
    )


def read_by_index(tx: sa.Connection) -> None:
    """Let the rest of a transaction find chunks by their index only.

    A backlog that just came has no statistics yet, and whole tables would be read for a few.
    """
    for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
        tx.exec_driver_sql(f"SET LOCAL enable_{way} = off")
