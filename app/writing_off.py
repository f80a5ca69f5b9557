"""Writing off: book by name what waits and will never be sent (promise 1).

In the books it is not forwarded; an upload of its own says why, for what was still staged. Upstream
is asked to send it again, which it may do under the ids it has (``forget_ids``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.lease import NOW
from app.tables import batch, held_chunk, staged_chunk, upload

GIVEN_UP = "given up"
KEY_LOST = "key lost"
Which = Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]]
"""A condition on the sealed bodies of a table."""
SLICE = 200_000
"""Rows of one statement, so that each ends within the time that a statement may take."""


class WrittenOff(NamedTuple):
    """Messages of chunks, and identities of chunks and batches together."""

    messages: int
    identities: int


def everything(_body: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return sa.true()


def write_off(tx: sa.Connection, reason: str, which: Which = everything) -> WrittenOff:
    """Book chunks, staged or set aside, and waiting batches as not forwarded."""
    staged = [_write_off_chunks(tx, table, reason, which) for table in (staged_chunk, held_chunk)]
    messages = sum(each.messages for each in staged)
    identities = sum(each.identities for each in staged)
    return WrittenOff(messages, identities + write_off_batches(tx, ("waiting",), which))


def write_off_batches(tx: sa.Connection, states: tuple[str, ...], which: Which) -> int:
    """Book batches as not forwarded; returns how many records."""
    counts = tx.execute(
        sa.update(batch)
        .where(batch.c.state.in_(states), which(batch.c.payload))
        .values(state="not_forwarded", settled_at=sa.func.coalesce(batch.c.settled_at, NOW))
        .values(payload=None)
        .returning(batch.c.record_count)
    ).scalars()
    return sum(counts)


def forget_ids(tx: sa.Connection) -> None:
    """Let all that was accepted be sent again under the id, the key or the file it came with.

    Nothing says under which of the week's ids came what was written off, so all are forgotten. What
    is repeated without need counts again; what is taken for a duplicate would be lost. Receipts
    keep their counts, on which the books rest.
    """
    for forgetting in (_FORGET_MESSAGES, _FORGET_CALLS):
        while tx.execute(forgetting, {"most": SLICE}).rowcount == SLICE:
            pass


_FORGET_MESSAGES = sa.text("""
DELETE FROM message_key WHERE ctid = ANY (ARRAY(SELECT ctid FROM message_key LIMIT :most))
""")
_FORGET_CALLS = sa.text("""
UPDATE receipt SET dedupe_key = NULL, message_ids = NULL WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM receipt
     WHERE dedupe_key IS NOT NULL OR message_ids IS NOT NULL LIMIT :most))
""")


def _write_off_chunks(tx: sa.Connection, table: sa.Table, reason: str, which: Which) -> WrittenOff:
    c = table.c
    names = ("audience_id", "message_count", "email_count", "maid_count")
    gone = sa.delete(table).where(which(c.body)).returning(*(c[name] for name in names)).cte("gone")
    emails, maids = sa.func.sum(gone.c.email_count), sa.func.sum(gone.c.maid_count)
    messages, none = sa.func.sum(gone.c.message_count), sa.literal(0)
    values = {
        "audience_id": gone.c.audience_id,
        "reason": sa.literal(reason),
        "message_count": messages,
        "email_read": emails,
        "email_not_forwarded": emails,
        "email_folded": none,
        "maid_read": maids,
        "maid_not_forwarded": maids,
        "maid_folded": none,
    }
    sums = sa.select(*values.values()).group_by(gone.c.audience_id)
    rows = tx.execute(
        sa.insert(upload)
        .from_select(list(values), sums)
        .returning(upload.c.message_count, upload.c.email_read, upload.c.maid_read)
        .add_cte(gone)
    ).all()
    return WrittenOff(
        sum(row.message_count for row in rows), sum(row.email_read + row.maid_read for row in rows)
    )
