"""A clock of Postgres that is set back, told by what it must not stop: row 17 of the matrix."""

from __future__ import annotations

from tests.faults.hands_of_time import let_pass, move_stored_times
from tests.workshop import Workshop, emails

HOUR = 3_600.0


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
