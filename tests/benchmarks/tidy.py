"""The tidy version, the second yardstick: the textbook's table without its objects.

SQLAlchemy Core sends the rows of a call in as few INSERTs as it can (insertmanyvalues), a flush
reads the driver's own tuples, hashes in comprehensions and deletes with one statement, and requests
go over a connection that is kept. It gives exactly the requests' worth of digests that ours gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha1

import requests
import sqlalchemy as sa

from app.events import MembershipEvent
from tests.benchmarks.textbook import (
    KINDS,
    OPERATIONS,
    WAITING,
    EventRow,
    PinterestByTheBook,
    Post,
    post_all,
    utc,
)


def insert_rows(
    connection: sa.Connection, events: Iterable[MembershipEvent], audience_ids: Mapping[str, int]
) -> None:
    """Stage one call: a dictionary per event, one ``execute``, commit."""
    connection.execute(
        sa.insert(EventRow.__table__),
        [
            {
                "audience_id": audience_ids[audience],
                "occurred_at": utc(at),
                "operation": OPERATIONS[operation],
                "kind": KINDS[kind],
                "value": value,
            }
            for audience, operation, people, at in events
            for kind, value in people
        ],
    )
    connection.commit()


def flush_tuples(connection: sa.Connection, audience_id: int, per_request: int, post: Post) -> None:
    """Read tuples, hash and fold in comprehensions, post, delete in bulk, commit."""
    cursor = connection.connection.cursor()
    cursor.execute(
        "SELECT id, kind, operation, value FROM event_row WHERE audience_id = %s ORDER BY id",
        (audience_id,),
    )
    rows = cursor.fetchall()
    deciding = {sha1(row[3].strip().lower().encode()).hexdigest(): row for row in rows}
    for list_type, kinds in (("EMAIL", (0,)), ("MAID", (1, 2))):
        by_operation = {
            wanted: [
                digest
                for digest, (_, kind, operation, _) in deciding.items()
                if operation == wanted and kind in kinds
            ]
            for wanted in (0, 1)
        }
        post_all(post, audience_id, list_type, by_operation, per_request)
    cursor.execute(
        "DELETE FROM event_row WHERE audience_id = %s AND id <= %s", (audience_id, rows[-1][0])
    )
    cursor.close()
    connection.connection.commit()


def flush_what_is_due(
    connection: sa.Connection, threshold: int, per_request: int, post: Post
) -> None:
    """One due check, and a flush of each audience with enough waiting."""
    for audience_id, waiting in connection.execute(WAITING).all():
        if waiting >= threshold:
            flush_tuples(connection, audience_id, per_request, post)


class PinterestInASession(PinterestByTheBook):
    """The same requests with ``json=``, over one connection that is kept."""

    version = "tidy"

    def __init__(self, base_url: str, ad_account_id: str, token: str) -> None:
        super().__init__(base_url, ad_account_id, token)
        self.http = requests.Session()

    def close(self) -> None:
        self.http.close()
