"""The view `books`, as revisions 0003 and later make it. A changed view is a new module.

Promise 4, a row per list of an audience with all its generations, in accepted identities:

    received = waiting + not_forwarded + folded + sent + over_cap + quarantined

Received is intake's side (receipts); chunks, uploads and batches are the other. The ledger beside
it: charged = what the attempts that were not refused carried.
"""

FROM_OLDER_VERSIONS = """(
               SELECT CASE t.list_type WHEN 'EMAIL' THEN email_received ELSE maid_received END
                 FROM carried WHERE carried.audience_id = a.id)"""
"""What versions before 0003 carried of receipts that they dropped."""
BOOKS = """
CREATE OR REPLACE VIEW books AS
WITH received AS (
    SELECT r.audience_id, sum(r.email) AS email, sum(r.maid) AS maid
      FROM receipt, unnest(audience_ids, email_counts, maid_counts) AS r(audience_id, email, maid)
     GROUP BY r.audience_id
), staged AS (
    SELECT audience_id, sum(email_count) AS email, sum(maid_count) AS maid FROM (
        SELECT audience_id, email_count, maid_count FROM staged_chunk
        UNION ALL SELECT audience_id, email_count, maid_count FROM held_chunk
    ) AS chunks GROUP BY audience_id
), cut AS (
    SELECT audience_id, sum(email_not_forwarded) AS email_off, sum(email_folded) AS email_folded,
           sum(maid_not_forwarded) AS maid_off, sum(maid_folded) AS maid_folded
      FROM upload GROUP BY audience_id
), kind AS (
    SELECT a.id AS audience_id, t.list_type,
           CASE t.list_type WHEN 'EMAIL' THEN r.email ELSE r.maid END AS received,
           CASE t.list_type WHEN 'EMAIL' THEN s.email ELSE s.maid END AS staged,
           CASE t.list_type WHEN 'EMAIL' THEN u.email_off ELSE u.maid_off END AS off,
           CASE t.list_type WHEN 'EMAIL' THEN u.email_folded ELSE u.maid_folded END AS folded,
           {once_received} AS once_received
      FROM audience a CROSS JOIN (VALUES ('EMAIL'), ('MAID')) AS t(list_type)
      LEFT JOIN received r ON r.audience_id = a.id
      LEFT JOIN staged s ON s.audience_id = a.id
      LEFT JOIN cut u ON u.audience_id = a.id
), lane AS (
    SELECT l.audience_id, l.list_type,
           sum(record_count) FILTER (WHERE state = 'waiting') AS waiting,
           sum(record_count) FILTER (WHERE state = 'sent') AS sent,
           sum(record_count) FILTER (WHERE state = 'over_cap') AS over_cap,
           sum(record_count) FILTER (WHERE state = 'not_forwarded') AS off,
           sum(record_count) FILTER (WHERE state = 'quarantined') AS quarantined
      FROM batch JOIN customer_list l ON l.id = batch.customer_list_id
     GROUP BY l.audience_id, l.list_type
), ledger AS (
    SELECT l.audience_id, l.list_type, sum(l.charged) AS charged,
           sum(coalesce(a.records, 0) + coalesce(c.attempted, 0)) AS attempted
      FROM customer_list l
      LEFT JOIN (SELECT customer_list_id, sum(record_count) AS records
                   FROM attempt WHERE state <> 'refused' GROUP BY customer_list_id
                ) a ON a.customer_list_id = l.id
      LEFT JOIN carried_list c ON c.customer_list_id = l.id
     GROUP BY l.audience_id, l.list_type
), counted AS (
    SELECT k.audience_id, k.list_type,
           (coalesce(k.received, 0) + coalesce(k.once_received, 0)
               + coalesce(c.received, 0))::bigint AS received,
           (coalesce(k.staged, 0) + coalesce(n.waiting, 0))::bigint AS waiting,
           (coalesce(k.off, 0) + coalesce(n.off, 0) + coalesce(c.not_forwarded, 0))::bigint
               AS not_forwarded,
           (coalesce(k.folded, 0) + coalesce(c.folded, 0))::bigint AS folded,
           (coalesce(n.sent, 0) + coalesce(c.sent, 0))::bigint AS sent,
           (coalesce(n.over_cap, 0) + coalesce(c.over_cap, 0))::bigint AS over_cap,
           coalesce(n.quarantined, 0)::bigint AS quarantined,
           coalesce(g.charged, 0)::bigint AS charged,
           coalesce(g.attempted, 0)::bigint AS attempted
      FROM kind k
      LEFT JOIN lane n ON n.audience_id = k.audience_id AND n.list_type = k.list_type
      LEFT JOIN ledger g ON g.audience_id = k.audience_id AND g.list_type = k.list_type
      LEFT JOIN carried_sum c ON c.audience_id = k.audience_id AND c.list_type = k.list_type
), booked AS (
    SELECT *, waiting + not_forwarded + folded + sent + over_cap + quarantined AS booked
      FROM counted
)
SELECT a.id AS audience_id, a.name AS audience, a.upstream_id, a.connection_id,
       c.name AS connection, b.list_type, b.received, b.waiting, b.not_forwarded, b.folded, b.sent,
       b.over_cap, b.quarantined, b.booked, b.charged, b.attempted,
       b.received = b.booked AND b.charged = b.attempted AS balanced
  FROM booked b JOIN audience a ON a.id = b.audience_id JOIN connection c ON c.id = a.connection_id
"""
