"""Dropping rows past their use. Their sums are carried in the same transaction: the books balance.

    receipts    after 8 days: their keys hold for a week
    uploads     with their batches, once all are settled and HISTORY_DAYS old; not while a record
                of them is in quarantine
    attempts    accepted or refused ones of HISTORY_DAYS; unknown ones, creations and the newest of
                each list stay: they are evidence

Each goes in bounded steps, each step in one transaction, and one process at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment

RECEIPTS_KEPT_DAYS = 8
"""A dedupe key holds for a week; a day more, so that no clock cuts it short."""
PURGE_LOCK = 0x70696E67
STEP_RECEIPTS = 20_000
STEP_UPLOADS = 200
STEP_ATTEMPTS = 20_000

_CARRY = """
ON CONFLICT (audience_id, list_type) DO UPDATE SET
    received = c.received + excluded.received,
    not_forwarded = c.not_forwarded + excluded.not_forwarded,
    folded = c.folded + excluded.folded,
    sent = c.sent + excluded.sent,
    over_cap = c.over_cap + excluded.over_cap
"""
_RECEIPTS = sa.text(f"""
WITH old AS (
    DELETE FROM receipt WHERE id IN (
        SELECT id FROM receipt
         WHERE received_at < clock_timestamp() - :days * interval '1 day' LIMIT :most
    ) RETURNING audience_ids, email_counts, maid_counts
), sums AS (
    INSERT INTO carried_sum AS c (audience_id, list_type, received)
    SELECT o.audience_id, t.list_type, sum(CASE t.list_type WHEN 'EMAIL' THEN email ELSE maid END)
      FROM old, unnest(audience_ids, email_counts, maid_counts) AS o(audience_id, email, maid),
           (VALUES ('EMAIL'), ('MAID')) AS t(list_type)
     GROUP BY 1, 2
    {_CARRY}
)
SELECT count(*) FROM old
""")  # noqa: S608 our own text
_UPLOADS = sa.text(f"""
WITH old AS (
    SELECT id, audience_id, email_not_forwarded, email_folded, maid_not_forwarded, maid_folded
      FROM upload
     WHERE cut_at < clock_timestamp() - :days * interval '1 day'
       AND NOT EXISTS (
           SELECT 1 FROM batch WHERE batch.upload_id = upload.id
              AND (batch.state IN ('waiting', 'quarantined')
                   OR batch.settled_at >= clock_timestamp() - :days * interval '1 day'))
     ORDER BY id LIMIT :most
), batches AS (
    DELETE FROM batch USING old WHERE batch.upload_id = old.id
    RETURNING batch.customer_list_id, batch.state, batch.record_count
), of_batches AS (
    SELECT l.audience_id, l.list_type,
           sum(b.record_count) FILTER (WHERE b.state = 'not_forwarded') AS not_forwarded,
           sum(b.record_count) FILTER (WHERE b.state = 'sent') AS sent,
           sum(b.record_count) FILTER (WHERE b.state = 'over_cap') AS over_cap
      FROM batches b JOIN customer_list l ON l.id = b.customer_list_id GROUP BY 1, 2
), of_uploads AS (
    SELECT o.audience_id, t.list_type,
           CASE t.list_type WHEN 'EMAIL' THEN sum(email_not_forwarded)
                ELSE sum(maid_not_forwarded) END AS not_forwarded,
           CASE t.list_type WHEN 'EMAIL' THEN sum(email_folded) ELSE sum(maid_folded) END AS folded
      FROM old o, (VALUES ('EMAIL'), ('MAID')) AS t(list_type) GROUP BY 1, 2
), sums AS (
    INSERT INTO carried_sum AS c (audience_id, list_type, not_forwarded, folded, sent, over_cap)
    SELECT u.audience_id, u.list_type, u.not_forwarded + coalesce(b.not_forwarded, 0), u.folded,
           coalesce(b.sent, 0), coalesce(b.over_cap, 0)
      FROM of_uploads u LEFT JOIN of_batches b USING (audience_id, list_type)
    {_CARRY}
)
SELECT id FROM old
""")  # noqa: S608 our own text
_EMPTY_UPLOADS = sa.text("DELETE FROM upload WHERE id = ANY(:ids)")
_ATTEMPTS = sa.text("""
WITH old AS (
    DELETE FROM attempt WHERE id IN (
        SELECT a.id FROM attempt a
         WHERE a.started_at < clock_timestamp() - :days * interval '1 day'
           AND a.settled_at < clock_timestamp() - :days * interval '1 day'
           AND a.state IN ('sent', 'refused') AND a.purpose IN ('ADD', 'REMOVE', 'PROBE')
           AND EXISTS (SELECT 1 FROM attempt later
                        WHERE later.customer_list_id = a.customer_list_id AND later.id > a.id)
         ORDER BY a.id LIMIT :most
    ) RETURNING id, customer_list_id, purpose, state, record_count
), accepted AS (
    SELECT old.*, old.id > coalesce((
               SELECT max(r.id) FROM attempt r
                WHERE r.customer_list_id = old.customer_list_id AND r.purpose = 'RECOVERY'
           ), 0) AS since_recovery
      FROM old WHERE state = 'sent'
), sums AS (
    INSERT INTO carried_list AS c (customer_list_id, attempted, requests, added, removed)
    SELECT customer_list_id, sum(record_count), count(*) FILTER (WHERE since_recovery),
           coalesce(sum(record_count) FILTER (WHERE since_recovery AND purpose <> 'REMOVE'), 0),
           coalesce(sum(record_count) FILTER (WHERE since_recovery AND purpose = 'REMOVE'), 0)
      FROM accepted GROUP BY 1
    ON CONFLICT (customer_list_id) DO UPDATE
       SET attempted = c.attempted + excluded.attempted,
           requests = c.requests + excluded.requests, added = c.added + excluded.added,
           removed = c.removed + excluded.removed
)
SELECT count(*) FROM old
""")


def purge_receipts_once(deployment: Deployment) -> int:
    """Drop receipts past their use; returns how many went."""
    return _in_steps(
        deployment,
        STEP_RECEIPTS,
        lambda tx: int(
            tx.execute(_RECEIPTS, {"days": RECEIPTS_KEPT_DAYS, "most": STEP_RECEIPTS}).scalar_one()
        ),
    )


def purge_history_once(deployment: Deployment) -> tuple[int, int]:
    """Drop uploads with their batches, and attempts, past their time; returns how many went."""
    days = deployment.settings.history_days

    def uploads(tx: sa.Connection) -> int:
        ids = list(tx.execute(_UPLOADS, {"days": days, "most": STEP_UPLOADS}).scalars())
        tx.execute(_EMPTY_UPLOADS, {"ids": ids})
        return len(ids)

    def attempts(tx: sa.Connection) -> int:
        return int(tx.execute(_ATTEMPTS, {"days": days, "most": STEP_ATTEMPTS}).scalar_one())

    return (
        _in_steps(deployment, STEP_UPLOADS, uploads),
        _in_steps(deployment, STEP_ATTEMPTS, attempts),
    )


def _in_steps(deployment: Deployment, most: int, step: Callable[[sa.Connection], int]) -> int:
    """Repeat a step, each time in a transaction, until it finds less than it may take."""
    gone = 0
    while True:
        with transaction(deployment.engine) as tx:
            if not tx.execute(sa.select(sa.func.pg_try_advisory_xact_lock(PURGE_LOCK))).scalar():
                return gone  # another process is at it
            found = step(tx)
        gone += found
        if found < most:
            return gone
