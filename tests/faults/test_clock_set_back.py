"""A clock of Postgres that is set back, told by what it must not stop: row 17 of the matrix."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from app.audiences import activate
from app.due import check_due_once
from app.ending_rests import RESTS, end_stretched_rests
from app.tables import metadata
from tests.faults.hands_of_time import let_pass, move_stored_times
from tests.workshop import Workshop, emails

HOUR = 3_600.0


@pytest.mark.parametrize("hours", [0.5, 2])
def test_a_rest_lasts_no_longer_because_the_clock_was_set_back(
    workshop: Workshop, hours: float
) -> None:
    """After a 429 that asks for ten minutes, and a failure that the list alone rests for."""
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.faults.script("rate_limited", operation="patch", reset=600)
    workshop.stage(*emails(range(5)))
    assert workshop.flush(audience_id) is not None
    check_due_once(workshop.deployment)
    workshop.deliver_all()
    assert workshop.book(audience_id).waiting == 5
    move_stored_times(workshop, hours * HOUR)
    found = check_due_once(workshop.deployment)
    assert found is not None
    assert found.list_ids == [workshop.list_id(audience_id)]
    workshop.deliver_all()
    assert workshop.book(audience_id).waiting == 0
    workshop.assert_books_balance()


def test_a_rest_goes_on_where_the_clock_was_not_set_back(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.faults.script("rate_limited", operation="patch", reset=600)
    workshop.stage(*emails(range(5)))
    assert workshop.flush(audience_id) is not None
    workshop.deliver_all()
    for _ in range(3):
        check_due_once(workshop.deployment)
        let_pass(workshop, 15)
        workshop.deliver_all()
    assert workshop.book(audience_id).waiting == 5
    let_pass(workshop, 600)
    workshop.deliver_all()
    assert workshop.book(audience_id).waiting == 0


def test_every_rest_in_the_tables_is_one_that_ends() -> None:
    rests = {
        column
        for table in metadata.sorted_tables
        for column in table.columns
        if column.name.endswith("not_before")
    }
    assert set(RESTS) == rests


@pytest.mark.parametrize("rest", RESTS, ids=str)
def test_rests_end_beside_somebody_who_locks_the_same_rows_in_another_order(
    workshop: Workshop, rest: sa.Column[Any]
) -> None:
    for name in ("main", "second"):
        workshop.connect(name)
        activate(workshop.deployment, "VIP", "31001", name)
    workshop.execute(
        "INSERT INTO budget (connection_id, category) SELECT id, 'ads_read' FROM login"
    )
    workshop.execute(f"UPDATE {rest.table} SET {rest.name} = now() + interval '10 min'")
    lock = f"SELECT 1 FROM {rest.table} ORDER BY ctid {{}} LIMIT 1 FOR UPDATE"
    with ThreadPoolExecutor(1) as pool:
        with workshop.transaction() as other:
            other.execute(sa.text(lock.format("DESC")))
            ending = pool.submit(end_stretched_rests, workshop.deployment, timedelta(hours=1))
            workshop.wait_until_blocked()
            other.execute(sa.text(lock.format("ASC")))
        ending.result()
    assert workshop.value(f"SELECT count(*) FROM {rest.table} WHERE {rest.name} > now()") == 0


def test_a_pause_that_is_over_does_not_come_alive_again(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.faults.script("rate_limited", operation="patch", reset=1)
    workshop.stage(*emails(range(5)))
    assert workshop.flush(audience_id) is not None
    workshop.deliver_all()
    let_pass(workshop, 5)
    workshop.deliver_all()
    assert workshop.book(audience_id).waiting == 0
    move_stored_times(workshop, 2 * HOUR)  # the clock is set back by as much
    workshop.stage(*emails(range(5, 8)))
    assert workshop.flush(audience_id) is not None
    workshop.deliver_all()
    assert workshop.book(audience_id).waiting == 0
    workshop.assert_books_balance()
