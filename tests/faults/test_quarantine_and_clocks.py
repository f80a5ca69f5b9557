"""Clocks that jump back while a request may still be applied: row 17 with row 19 of the matrix."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.hands_of_time import let_pass, move_stored_times
from tests.workshop import REMOVE, Workshop, email_event

HOUR = 3_600.0
QUARANTINE = 900.0


@pytest.fixture
def workshop(open_with: Callable[..., Workshop]) -> Workshop:
    return open_with(quarantine=QUARANTINE)


@pytest.mark.parametrize("hours", [0.1, 2, 24])
def test_a_clock_that_goes_back_ends_no_quarantine_and_lengthens_it_by_no_more_than_itself(
    workshop: Workshop, hours: float
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.faults.script("drop_after", operation="patch")
    workshop.upload(audience_id, email_event(1))
    workshop.end_pauses()
    workshop.deliver_all()
    workshop.stage(email_event(1, REMOVE))
    assert workshop.flush(audience_id) is not None
    move_stored_times(workshop, hours * HOUR)
    workshop.end_pauses()
    workshop.deliver_all()
    assert workshop.patches() == [("ADD", 1)] * 2
    let_pass(workshop, QUARANTINE - 100)
    workshop.deliver_all()
    assert workshop.patches() == [("ADD", 1)] * 2
    let_pass(workshop, 200)
    workshop.deliver_all()
    assert workshop.patches() == [("ADD", 1), ("ADD", 1), ("REMOVE", 1)]
    assert workshop.members() == set()


def test_a_clock_that_goes_back_a_day_keeps_no_list_from_being_made(workshop: Workshop) -> None:
    workshop.connect(forward_device_id=False)
    workshop.activate()
    workshop.simulator.faults.script("drop_before", operation="create_list")
    workshop.deliver_all()
    move_stored_times(workshop, 24 * HOUR)
    workshop.end_pauses()
    workshop.deliver_all()
    assert workshop.value("SELECT pinterest_list_id FROM customer_list") is None
    let_pass(workshop, QUARANTINE + 100)
    workshop.deliver_all()
    assert len(workshop.simulator.books.lists()) == 1
    assert workshop.value("SELECT pinterest_list_id FROM customer_list") is not None
