"""The books: for each list of each audience, in accepted identities (promise 4),

    received = waiting + not forwarded + folded + sent + over the cap + quarantined

Received comes from intake's receipts, the other side from chunks, uploads and batches, so the
balance can fail. The ledger beside it: charged = what the attempts that were not refused carried.
All is read by one statement, hence from one instant, while everything runs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment

RECEIPTS_KEPT_DAYS = 8
"""A dedupe key holds for a week; a day more, so that no clock cuts it short."""

_SQL = sa.text("""
WITH received AS (
    SELECT audience_id, sum(email)::bigint AS email, sum(maid)::bigint AS maid FROM (
        SELECT r.audience_id, r.email, r.maid
          FROM receipt, unnest(audience_ids, email_counts, maid_counts)
               AS r(audience_id, email, maid)
        UNION ALL SELECT audience_id, email_received, maid_received FROM carried
    ) AS sums GROUP BY audience_id
), staged AS (
    SELECT audience_id, sum(email_count)::bigint AS email, sum(maid_count)::bigint AS maid FROM (
        SELECT audience_id, email_count, maid_count FROM staged_chunk
        UNION ALL SELECT audience_id, email_count, maid_count FROM held_chunk
    ) AS chunks GROUP BY audience_id
), cut AS (
    SELECT audience_id,
           sum(email_not_forwarded)::bigint AS email_off, sum(email_folded)::bigint AS email_folded,
           sum(maid_not_forwarded)::bigint AS maid_off, sum(maid_folded)::bigint AS maid_folded
      FROM upload GROUP BY audience_id
), lanes AS (
    SELECT l.audience_id, l.list_type,
           coalesce(sum(record_count) FILTER (WHERE state = 'waiting'), 0)::bigint AS waiting,
           coalesce(sum(record_count) FILTER (WHERE state = 'sent'), 0)::bigint AS sent,
           coalesce(sum(record_count) FILTER (WHERE state = 'over_cap'), 0)::bigint AS over_cap,
           coalesce(sum(record_count) FILTER (WHERE state = 'not_forwarded'), 0)::bigint AS off,
           coalesce(sum(record_count) FILTER (WHERE state = 'quarantined'), 0)::bigint
               AS quarantined
      FROM batch JOIN customer_list l ON l.id = batch.customer_list_id
     GROUP BY l.audience_id, l.list_type
), ledger AS (
    SELECT l.audience_id, l.list_type, sum(l.charged)::bigint AS charged,
           coalesce(sum(a.records), 0)::bigint AS attempted
      FROM customer_list l LEFT JOIN (
           SELECT customer_list_id, sum(record_count) AS records
             FROM attempt WHERE state <> 'refused' GROUP BY customer_list_id
      ) a ON a.customer_list_id = l.id
     GROUP BY l.audience_id, l.list_type
)
SELECT a.id AS audience_id, a.name AS audience, a.upstream_id, c.name AS connection, t.list_type,
       coalesce(CASE t.list_type WHEN 'EMAIL' THEN r.email ELSE r.maid END, 0) AS received,
       coalesce(CASE t.list_type WHEN 'EMAIL' THEN s.email ELSE s.maid END, 0)
           + coalesce(n.waiting, 0) AS waiting,
       coalesce(CASE t.list_type WHEN 'EMAIL' THEN u.email_off ELSE u.maid_off END, 0)
           + coalesce(n.off, 0) AS not_forwarded,
       coalesce(CASE t.list_type WHEN 'EMAIL' THEN u.email_folded ELSE u.maid_folded END, 0)
           AS folded,
       coalesce(n.sent, 0) AS sent, coalesce(n.over_cap, 0) AS over_cap,
       coalesce(n.quarantined, 0) AS quarantined,
       coalesce(g.charged, 0) AS charged, coalesce(g.attempted, 0) AS attempted
  FROM audience a
  JOIN connection c ON c.id = a.connection_id
 CROSS JOIN (VALUES ('EMAIL'), ('MAID')) AS t(list_type)
  LEFT JOIN received r ON r.audience_id = a.id
  LEFT JOIN staged s ON s.audience_id = a.id
  LEFT JOIN cut u ON u.audience_id = a.id
  LEFT JOIN lanes n ON n.audience_id = a.id AND n.list_type = t.list_type
  LEFT JOIN ledger g ON g.audience_id = a.id AND g.list_type = t.list_type
 ORDER BY c.name, a.name, a.id, t.list_type
""")


_PURGE = sa.text("""
WITH old AS (
    DELETE FROM receipt WHERE received_at < clock_timestamp() - :days * interval '1 day'
    RETURNING audience_ids, message_counts, email_counts, maid_counts
), sums AS (
    INSERT INTO carried AS c (audience_id, message_count, email_received, maid_received)
    SELECT o.audience_id, sum(o.messages), sum(o.email), sum(o.maid)
      FROM old, unnest(audience_ids, message_counts, email_counts, maid_counts)
           AS o(audience_id, messages, email, maid)
     GROUP BY o.audience_id
    ON CONFLICT (audience_id) DO UPDATE
       SET message_count = c.message_count + excluded.message_count,
           email_received = c.email_received + excluded.email_received,
           maid_received = c.maid_received + excluded.maid_received
)
SELECT count(*) FROM old
""")


@dataclass(frozen=True)
class ListBook:
    """One list of one audience, all its generations together; counts are identities."""

    audience_id: int
    audience: str
    upstream_id: str
    connection: str
    list_type: str
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


def read_books(deployment: Deployment) -> list[ListBook]:
    with transaction(deployment.engine) as tx:
        return [ListBook(**row._mapping) for row in tx.execute(_SQL)]  # noqa: SLF001 SQLAlchemy's API


def rejected_by_reason(deployment: Deployment) -> dict[str, int]:
    """What intake rejected within the time receipts are kept, beside the books."""
    query = sa.text(
        "SELECT key AS reason, sum(value::bigint)::bigint AS events"
        "  FROM receipt, jsonb_each_text(rejected) GROUP BY key ORDER BY 2 DESC"
    )
    with transaction(deployment.engine) as tx:
        return {row.reason: row.events for row in tx.execute(query)}


def purge_receipts_once(deployment: Deployment) -> int:
    """Drop receipts past their use; their sums are carried in the same transaction."""
    with transaction(deployment.engine) as tx:
        return int(tx.execute(_PURGE, {"days": RECEIPTS_KEPT_DAYS}).scalar_one())
