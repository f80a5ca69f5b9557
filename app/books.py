"""The books: for each list of each audience, in accepted identities (promise 4),

    received = waiting + not forwarded + folded + sent + over the cap + quarantined

Received comes from intake's receipts, the other side from chunks, uploads and batches, so the
balance can fail. The ledger beside it: charged = what the attempts that were not refused carried.
Both are one view of the database, ``books``, hence from one instant while everything runs, and
there for whoever asks in SQL. What was dropped in time stands in it as sums (``app.purging``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.sweeps import note_sweep
from app.tables import book_sum, receipt

log = logging.getLogger(__name__)
SWEEP = "books"
BOOKS_LOCK = 0x70696E62
ITEMS = (
    *("received", "waiting", "not_forwarded", "folded", "sent", "over_cap", "quarantined"),
    *("charged", "attempted"),
)
"""What is counted: received, the six that it must equal, and the two sides of the ledger."""

_LISTS = sa.text(f"""
SELECT audience_id, audience, upstream_id, connection, list_type, {", ".join(ITEMS)}
  FROM books ORDER BY connection, audience, audience_id, list_type
""")  # noqa: S608 names of columns
_SUMS = sa.text(f"""
SELECT connection_id, count(*) FILTER (WHERE NOT balanced) AS unbalanced,
       {", ".join(f"sum({item})::bigint AS {item}" for item in ITEMS)}
  FROM books GROUP BY connection_id
""")  # noqa: S608 names of columns


@dataclass(frozen=True)
class Book:
    """Counts of identities, and of records in the ledger."""

    received: int
    waiting: int
    not_forwarded: int
    folded: int
    sent: int
    over_cap: int
    quarantined: int
    charged: int
    attempted: int

    @property
    def difference(self) -> int:
        """What is missing (positive) or too much on the side of rows; 0 when the books balance."""
        booked = self.waiting + self.not_forwarded + self.folded + self.sent
        return self.received - booked - self.over_cap - self.quarantined

    @property
    def balanced(self) -> bool:
        return self.difference == 0 and self.charged == self.attempted

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"balanced": self.balanced}


@dataclass(frozen=True, kw_only=True)
class ListBook(Book):
    """One list of one audience, all its generations together."""

    audience_id: int
    audience: str
    upstream_id: str
    connection: str
    list_type: str


def read_books(deployment: Deployment) -> list[ListBook]:
    with transaction(deployment.engine) as tx:
        return [ListBook(**row._mapping) for row in tx.execute(_LISTS)]  # noqa: SLF001 SQLAlchemy's API


def in_sum(books: Iterable[Book]) -> Book:
    """All lists together. Differences of single lists can cancel out in it: look at these too."""
    rows = list(books)
    return Book(*(sum(getattr(row, item) for row in rows) for item in ITEMS))


def check_books_once(deployment: Deployment) -> int | None:
    """Keep the sums per connection for monitoring; returns how many lists do not balance.

    None when another process is at it.
    """
    with transaction(deployment.engine) as tx:
        if not tx.execute(sa.select(sa.func.pg_try_advisory_xact_lock(BOOKS_LOCK))).scalar():
            return None
        rows = tx.execute(_SUMS).all()
        tx.execute(sa.delete(book_sum))
        values = [
            {"connection_id": row.connection_id, "item": item, "identities": getattr(row, item)}
            for row in rows
            for item in ITEMS
        ]
        if values:
            tx.execute(sa.insert(book_sum), values)
        unbalanced: int = sum(row.unbalanced for row in rows)
        note_sweep(tx, SWEEP, unbalanced)
    if unbalanced:
        log.error("the books of %s lists do not balance: pinfold books --check", unbalanced)
    return unbalanced


def rejected_by_reason(deployment: Deployment) -> dict[str, int]:
    """What intake rejected within the time receipts are kept, beside the books."""
    return _by_reason(deployment, receipt.c.rejected)


def noted_by_reason(deployment: Deployment) -> dict[str, int]:
    """What intake ignored as no membership change, or took in spite of a doubt, likewise."""
    return _by_reason(deployment, receipt.c.noted)


def _by_reason(deployment: Deployment, column: sa.Column[Any]) -> dict[str, int]:
    each = sa.func.jsonb_each_text(column).table_valued("key", "value")
    count = sa.func.sum(sa.cast(each.c.value, sa.BigInteger))
    query = sa.select(each.c.key, count).select_from(receipt.join(each, sa.true()))
    with transaction(deployment.engine) as tx:
        rows = tx.execute(query.group_by(each.c.key).order_by(count.desc(), each.c.key))
        return {reason: int(found) for reason, found in rows}
