"""Ids beyond 2^31 and counts near the cap: row 40 of the fault matrix."""

from __future__ import annotations

from app.books import read_books
from app.database import transaction
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import Fleet, happens
from tests.faults.aftermath import assert_all_is_right, make_busy, stage_both

EDGE = 2**31
SENT_BEFORE = 299_000_000
IDENTITIES = """
    SELECT table_name, column_name FROM information_schema.columns
     WHERE table_schema = current_schema() AND is_identity = 'YES'
"""
SENT_LONG_AGO = """
    WITH l AS (UPDATE customer_list SET charged = charged + :n RETURNING id)
    INSERT INTO attempt (customer_list_id, purpose, record_count, epoch, state, settled_at)
    SELECT id, 'ADD', :n, 0, 'sent', now() FROM l RETURNING id
"""


def let_ids_begin_at(fleet: Fleet, first: int) -> list[str]:
    """Every id of every table is given out from here on; returns the tables."""
    tables = fleet.ask(IDENTITIES)
    with transaction(fleet.deployment.engine) as tx:
        for table, column in tables:
            tx.exec_driver_sql(f"ALTER TABLE {table} ALTER {column} RESTART WITH {first}")
    return [table for table, _ in tables]


def test_everything_goes_on_across_the_edge_of_32_bits_and_near_the_cap(make: FleetMaker) -> None:
    fleet = make(PINFOLD_RECORDS_PER_REQUEST="150")
    tables = let_ids_begin_at(fleet, EDGE - 1)
    assert {"audience", "customer_list", "staged_chunk", "upload", "batch", "attempt"} <= {*tables}
    make_busy(fleet, seconds=0.0)
    fleet.worker()
    fleet.beat()
    lists_made = "SELECT count(*) FROM customer_list WHERE pinterest_list_id IS NOT NULL"
    happens(lambda: fleet.count(lists_made) == 4)
    fleet.ask(SENT_LONG_AGO, n=SENT_BEFORE)
    stage_both(fleet, 2_000)
    assert_all_is_right(fleet)
    for table in ("customer_list", "upload", "batch", "attempt"):
        assert fleet.count(f"SELECT min(id) FROM {table}") < EDGE
        assert fleet.count(f"SELECT max(id) FROM {table}") >= EDGE
    for book in read_books(fleet.deployment):
        assert book.charged > SENT_BEFORE
        assert book.over_cap == 0
    assert "299,0" in fleet.pinfold("status").stdout
