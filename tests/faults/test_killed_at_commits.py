"""Workers killed by SIGKILL right before and right after every commit, and in mid-request.

Rows 1 to 6 and 31 of the fault matrix. Each test leaves the dead worker's lease to run out (its
time is moved, nobody waits), lets another worker go on, and asks Pinterest who is a member.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from app.connections import change_settings
from app.runs import GROWTH
from tests.faults.doomed import COMMITS_OF, Instant, die_in
from tests.workshop import Workshop, digests, email_event, emails

SIDES = ("before", "after")
BATCH = 2


def instants(step: str) -> list[Instant]:
    return list(itertools.product(COMMITS_OF[step], SIDES))


@pytest.fixture
def workshop(open_with: Callable[..., Workshop]) -> Workshop:
    return open_with(records_per_request=BATCH)


@pytest.fixture
def audience_id(workshop: Workshop) -> int:
    return workshop.amid_changes()


def assert_nothing_is_lost_or_unpaid(workshop: Workshop) -> None:
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


def assert_another_worker_completes_it(workshop: Workshop, audience_id: int) -> None:
    assert_nothing_is_lost_or_unpaid(workshop)
    workshop.end_leases()
    workshop.end_pauses()
    workshop.flush(audience_id)
    workshop.deliver_all()
    assert workshop.book(audience_id).waiting == 0
    assert workshop.members() == digests(range(2, 9))
    assert_nothing_is_lost_or_unpaid(workshop)


@pytest.mark.parametrize("instant", instants("flush"), ids=" ".join)
def test_a_worker_killed_at_a_commit_of_a_flush_charges_nothing_and_loses_nothing(
    workshop: Workshop, audience_id: int, instant: Instant
) -> None:
    charged = workshop.list_row(audience_id).charged
    workshop.execute("UPDATE audience SET flush_requested_at = now()")
    die_in(workshop.deployment.settings, "flush", audience_id, instant)
    assert workshop.list_row(audience_id).charged == charged
    chunks = workshop.value("SELECT count(*) FROM staged_chunk")
    assert chunks == (0 if instant == ("_commit", "after") else 1)  # all of it or nothing
    assert_another_worker_completes_it(workshop, audience_id)
    assert workshop.list_row(audience_id).charged == charged + 5


# What stands of the charge when the worker dies, and what is charged beyond five in the end.
CHARGES = {
    ("send", "before"): (0, 0),
    ("send", "after"): (BATCH, BATCH),
    ("request", "half sent"): (BATCH, BATCH),
    ("request", "unanswered"): (BATCH, BATCH),
    ("_post", "before"): (BATCH, BATCH),
    ("_post", "after"): (BATCH, 0),
}
IN_MID_REQUEST: list[Instant] = [("request", "half sent"), ("request", "unanswered")]


@pytest.mark.parametrize("instant", [*instants("deliver"), *IN_MID_REQUEST], ids=" ".join)
def test_a_worker_killed_at_an_instant_of_a_delivery_overstates_the_charge_by_one_batch_at_most(
    workshop: Workshop, audience_id: int, instant: Instant
) -> None:
    assert workshop.flush(audience_id) is not None
    before = workshop.list_row(audience_id).charged
    requests = len(workshop.patches())
    die_in(workshop.deployment.settings, "deliver", workshop.list_id(audience_id), instant)
    charged = workshop.list_row(audience_id).charged - before
    if instant in CHARGES:
        assert charged == CHARGES[instant][0]
    if not charged:
        assert len(workshop.patches()) == requests
    in_doubt = CHARGES.get(instant, (0, 0))[1]
    assert_another_worker_completes_it(workshop, audience_id)
    assert workshop.list_row(audience_id).charged == before + 5 + in_doubt
    unknown = [
        records for _, records, state in workshop.attempts(audience_id) if state == "unknown"
    ]
    assert sum(unknown) == in_doubt


@pytest.mark.parametrize("room", [0, 1, 3, 4])
@pytest.mark.parametrize("instant", [("send", "after"), ("_post", "before"), *IN_MID_REQUEST])
def test_a_worker_killed_where_the_cap_is_in_sight_never_passes_it(
    workshop: Workshop, audience_id: int, instant: Instant, room: int
) -> None:
    assert workshop.flush(audience_id) is not None
    cap = workshop.list_row(audience_id).charged + BATCH + room  # five are to be sent
    change_settings(workshop.deployment, "main", record_cap=cap)
    workshop.simulator.faults.script("drop_after", operation="patch", skip=1)
    die_in(workshop.deployment.settings, "deliver", workshop.list_id(audience_id), instant)
    for _ in range(3):
        assert_nothing_is_lost_or_unpaid(workshop)
        workshop.end_leases()
        workshop.end_pauses()
        workshop.deliver_all()
    row, book = workshop.list_row(audience_id), workshop.book(audience_id)
    assert row.charged <= cap
    assert book.waiting == 0
    assert book.over_cap > 0
    assert_nothing_is_lost_or_unpaid(workshop)
    listed = workshop.simulator.books.list_named("VIP-EMAIL")
    assert listed["records_seen"] <= cap


@pytest.mark.parametrize("instant", [*instants("create"), *IN_MID_REQUEST], ids=" ".join)
def test_a_worker_killed_while_it_makes_a_list_makes_no_second_one(
    workshop: Workshop, instant: Instant
) -> None:
    workshop.connect(forward_device_id=False)
    audience_id = workshop.activate()
    die_in(workshop.deployment.settings, "create", workshop.list_id(audience_id), instant)
    workshop.end_leases()
    workshop.end_quarantine()
    workshop.deliver_all()
    workshop.end_quarantine()
    workshop.deliver_all()
    assert len(workshop.simulator.books.lists()) == 1
    assert len(workshop.simulator.books.audiences()) == 1
    workshop.upload(audience_id, *emails(range(2, 9)))
    assert workshop.members() == digests(range(2, 9))
    assert_nothing_is_lost_or_unpaid(workshop)


@pytest.mark.parametrize("instant", instants("compact"), ids=" ".join)
def test_a_worker_killed_while_it_joins_chunks_has_joined_all_of_a_step_or_nothing(
    workshop: Workshop, audience_id: int, instant: Instant
) -> None:
    for number in range(9, 9 + GROWTH):
        workshop.stage(email_event(number))
    before = workshop.value("SELECT count(*) FROM staged_chunk")
    die_in(workshop.deployment.settings, "compact", audience_id, instant)
    after = workshop.value("SELECT count(*) FROM staged_chunk")
    assert (after < before) == (instant == ("_compact", "after"))
    workshop.assert_books_balance()
    workshop.end_leases()
    workshop.upload(audience_id)
    assert workshop.members() == digests(range(2, 9 + GROWTH))
    assert_nothing_is_lost_or_unpaid(workshop)


def test_no_commit_is_left_out(workshop: Workshop) -> None:
    settings = workshop.deployment.settings
    workshop.connect(forward_device_id=False)
    audience_id = workshop.activate()
    list_id = workshop.list_id(audience_id)
    assert set(die_in(settings, "create", list_id, None)) == set(COMMITS_OF["create"])
    workshop.stage(*emails(range(3)))
    workshop.execute("UPDATE audience SET flush_requested_at = now()")
    for number in range(GROWTH):
        workshop.stage(email_event(number))
    assert set(die_in(settings, "compact", audience_id, None)) == set(COMMITS_OF["compact"])
    assert set(die_in(settings, "flush", audience_id, None)) == set(COMMITS_OF["flush"])
    assert set(die_in(settings, "deliver", list_id, None)) == set(COMMITS_OF["deliver"])
    workshop.assert_books_balance()
