"""The order of what was sent, by our attempts and by Pinterest's own account."""

from __future__ import annotations

from tests.workshop import Workshop

_OVERLAPS = """
SELECT count(*) FROM attempt AS one JOIN attempt AS next USING (customer_list_id)
 WHERE next.id > one.id AND next.started_at < one.settled_at
"""
_STEPS_BACK = """
SELECT count(*) FROM (
    SELECT upload_id < lag(upload_id) OVER (PARTITION BY customer_list_id ORDER BY id) AS back
      FROM attempt WHERE batch_id IS NOT NULL
) AS step WHERE back
"""
_SENT = """
SELECT purpose, record_count FROM attempt
 WHERE customer_list_id = :id AND state = 'sent' AND purpose IN ('ADD', 'REMOVE') ORDER BY id
"""


def assert_each_list_was_sent_to_in_order(workshop: Workshop) -> None:
    """One request after another, never one of an earlier upload, and Pinterest says so as well."""
    assert workshop.value(_OVERLAPS) == 0
    assert workshop.value(_STEPS_BACK) == 0
    for row in workshop.rows("SELECT id, pinterest_list_id FROM customer_list"):
        applied = [
            write
            for write in workshop.simulator.books.writes(row.pinterest_list_id)
            if write.operation == "patch" and write.applied
        ]
        applied.sort(key=lambda write: write.applied_sequence or 0)
        told = [(write.operation_type, write.record_count) for write in applied]
        sent = [(row.purpose, row.record_count) for row in workshop.rows(_SENT, id=row.id)]
        assert told == sent, f"list {row.id}: {len(told)} were applied, {len(sent)} sent"
