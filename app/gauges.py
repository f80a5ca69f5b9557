"""Gauges: how everything stands right now, in a few numbers, for intake and for monitoring."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from app.books import SWEEP as BOOKS
from app.database import transaction
from app.deployment import Deployment
from app.due import SWEEP
from app.tables import audience, book_sum, connection, staged_chunk

_GAUGES = sa.text("""
SELECT
    (SELECT coalesce(sum(message_count), 0) FROM staged_chunk) AS waiting_messages,
    (SELECT coalesce(sum(message_count), 0) FROM held_chunk) AS set_aside_messages,
    (SELECT coalesce(sum(record_count), 0) FROM batch WHERE state = 'waiting') AS lane_records,
    (SELECT count(*) FROM audience WHERE state = 'active') AS active_audiences,
    (SELECT count(*) FROM customer_list WHERE held_reason IS NOT NULL) AS held_lists,
    (SELECT count(*) FROM connection
      WHERE held_reason IS NOT NULL AND removed_at IS NULL) AS held_connections,
    (SELECT coalesce(sum(charged), 0) FROM customer_list) AS charged_records,
    (SELECT coalesce(max(charged), 0) FROM customer_list WHERE current) AS fullest_list_records,
    (SELECT extract(epoch FROM clock_timestamp() - finished_at) FROM sweep WHERE name = :sweep)
        AS last_due_check_age_seconds,
    (SELECT found FROM sweep WHERE name = :books) AS unbalanced_lists,
    (SELECT extract(epoch FROM clock_timestamp() - finished_at) FROM sweep WHERE name = :books)
        AS last_books_check_age_seconds
""")
MEANINGS = {
    "waiting_messages": "messages staged and not uploaded yet",
    "set_aside_messages": "messages in chunks that could not be flushed",
    "lane_records": "records cut into batches and not sent yet",
    "active_audiences": "audiences that are forwarded",
    "held_lists": "customer lists that wait for a person or a condition",
    "held_connections": "connections that wait for a person or a condition",
    "charged_records": "records that count against the caps, of all lists",
    "fullest_list_records": "records that count against the cap of the fullest list",
    "last_due_check_age_seconds": "how long ago the last due check ended; absent: never",
    "unbalanced_lists": "lists whose books did not balance at the last look; absent: none yet",
    "last_books_check_age_seconds": "how long ago the books were last looked at; absent: never",
}


def read_gauges(deployment: Deployment) -> dict[str, float]:
    """The numbers of ``MEANINGS``; one that is not known is absent."""
    with transaction(deployment.engine) as tx:
        row = tx.execute(_GAUGES, {"sweep": SWEEP, "books": BOOKS}).one()
    found = {name: getattr(row, name) for name in MEANINGS}
    return {name: float(value) for name, value in found.items() if value is not None}


class BookSum(NamedTuple):
    """The books of a connection in sum, one item of them, as of the last look."""

    connection: str
    item: str
    identities: int


def read_book_sums(deployment: Deployment) -> list[BookSum]:
    query = (
        sa.select(connection.c.name, book_sum.c.item, book_sum.c.identities)
        .join(connection, connection.c.id == book_sum.c.connection_id)
        .where(connection.c.removed_at.is_(None))
        .order_by(connection.c.name, book_sum.c.item)
    )
    with transaction(deployment.engine) as tx:
        return [BookSum(*row) for row in tx.execute(query)]


def waiting_by_connection(deployment: Deployment) -> dict[int, int]:
    """Messages in staging, by connection. Reads one index entry a chunk."""
    waiting = (
        sa.select(staged_chunk.c.audience_id, sa.func.sum(staged_chunk.c.message_count).label("n"))
        .group_by(staged_chunk.c.audience_id)
        .subquery()
    )
    query = (
        sa.select(audience.c.connection_id, sa.func.sum(waiting.c.n))
        .join(waiting, waiting.c.audience_id == audience.c.id)
        .group_by(audience.c.connection_id)
    )
    with transaction(deployment.engine) as tx:
        return {connection_id: int(count) for connection_id, count in tx.execute(query)}
