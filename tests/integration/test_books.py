"""The books balance after anything that may happen, and notice when they should not."""

import random
from collections.abc import Callable

import pytest

from app.audiences import deactivate
from app.books import purge_receipts_once, read_books, rejected_by_reason
from app.connections import change_settings
from app.status import read_status
from tests.workshop import (
    ADD,
    REMOVE,
    Workshop,
    address,
    device_event,
    email_event,
    emails,
    sha1_hex,
)


def a_mixed_day(workshop: Workshop) -> int:
    """Something of everything: folded, sent, refused, over the cap, switched off, waiting."""
    audience_id = workshop.ready(record_cap=30)
    workshop.simulator.faults.script("refuse_records", times=None, records=[sha1_hex(address(5))])
    workshop.upload(audience_id, *emails(range(8)), *emails(range(8)), *emails(range(3), REMOVE))
    workshop.upload(audience_id, *[device_event(number % 4) for number in range(12)])
    workshop.upload(audience_id, *emails(range(10, 60)))
    change_settings(workshop.deployment, "main", forward_device_id=False)
    workshop.upload(audience_id, device_event(9), email_event(99))
    workshop.stage(email_event(1), email_event("junk"), device_event(1), email_event(1))
    return audience_id


def test_the_books_balance_after_a_mixed_day(workshop: Workshop) -> None:
    audience_id = a_mixed_day(workshop)
    workshop.assert_books_balance()
    book = workshop.book(audience_id)
    assert book.received == 8 + 8 + 3 + 50 + 1 + 2
    assert (book.folded, book.quarantined, book.waiting) == (11, 1, 2)
    assert book.sent + book.over_cap == 7 + 50 + 1
    maid = workshop.book(audience_id, "MAID")
    assert (maid.received, maid.folded, maid.sent, maid.not_forwarded) == (14, 8, 4, 1)
    assert maid.waiting == 1
    workshop.assert_charges_cover_what_was_sent()


def test_what_was_rejected_stands_beside_the_books_by_reason(workshop: Workshop) -> None:
    a_mixed_day(workshop)
    workshop.stage(email_event("junk"), email_event(1, audience="nowhere"))
    rejected = rejected_by_reason(workshop.deployment)
    assert sum(rejected.values()) == 3
    assert len(rejected) == 2


TAMPERING = [
    "DELETE FROM staged_chunk",
    "UPDATE staged_chunk SET email_count = email_count + 1",
    "DELETE FROM receipt WHERE id = (SELECT min(id) FROM receipt)",
    "UPDATE upload SET email_folded = 0",
    "UPDATE upload SET maid_not_forwarded = maid_not_forwarded - 1 WHERE maid_not_forwarded > 0",
    "DELETE FROM batch WHERE state = 'sent'",
    "DELETE FROM batch WHERE state = 'quarantined'",
    "UPDATE batch SET record_count = record_count + 1 WHERE state = 'over_cap'",
    "UPDATE batch SET state = 'split' WHERE state = 'sent'",
    "UPDATE customer_list SET charged = charged - 1",
    "UPDATE attempt SET state = 'refused' WHERE state = 'sent'",
]


@pytest.mark.parametrize("change", TAMPERING)
def test_the_books_notice_when_a_row_is_tampered_with(workshop: Workshop, change: str) -> None:
    a_mixed_day(workshop)
    assert workshop.execute(change) > 0
    assert not all(book.balanced for book in read_books(workshop.deployment))


def test_receipts_past_their_use_go_and_the_books_still_balance(workshop: Workshop) -> None:
    audience_id = a_mixed_day(workshop)
    before = workshop.book(audience_id)
    workshop.execute(
        "UPDATE receipt SET received_at = now() - interval '9 days'"
        " WHERE id <> (SELECT max(id) FROM receipt)"
    )
    assert purge_receipts_once(workshop.deployment) == 4
    assert workshop.book(audience_id) == before
    workshop.execute("UPDATE receipt SET received_at = now() - interval '9 days'")
    assert purge_receipts_once(workshop.deployment) == 1
    assert purge_receipts_once(workshop.deployment) == 0
    assert workshop.book(audience_id) == before
    workshop.assert_books_balance()


def test_a_receipt_within_its_week_still_makes_a_second_delivery_harmless(
    workshop: Workshop,
) -> None:
    workshop.connect()
    workshop.activate()
    workshop.stage(email_event(1), key="m")
    workshop.execute("UPDATE receipt SET received_at = now() - interval '7 days'")
    assert purge_receipts_once(workshop.deployment) == 0
    assert workshop.stage(email_event(1), key="m").duplicate


def test_a_new_audience_stands_in_the_books_with_nothing(workshop: Workshop) -> None:
    workshop.connect()
    workshop.activate()
    for book in read_books(workshop.deployment):
        assert (book.received, book.charged, book.difference, book.balanced) == (0, 0, 0, True)
        assert book.as_json()["balanced"] is True


def test_the_status_and_the_books_agree(workshop: Workshop) -> None:
    audience_id = a_mixed_day(workshop)
    (shown,) = read_status(workshop.deployment).audiences
    sent = {each.list_type: each.sent for each in shown.lists}
    assert sent["EMAIL"] == workshop.book(audience_id).charged
    assert shown.waiting == 3


FAULTS = {
    "server_error": 0.1,
    "server_error_after": 0.1,
    "drop_before": 0.1,
    "drop_after": 0.1,
    "rate_limited": 0.1,
    "too_large": 0.05,
    "transient_400": 0.05,
}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_on_bad_days_nothing_is_lost_the_cap_holds_and_order_is_kept(
    open_with: Callable[..., Workshop], seed: int
) -> None:
    workshop = open_with(records_per_request=5, record_cap=400)
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.faults.probability(FAULTS, seed=seed)
    dice = random.Random(seed)
    wanted: dict[int, bool] = {}
    for _ in range(6):
        for _ in range(3):
            chosen = [(dice.randrange(12), dice.random() < 0.6) for _ in range(5)]
            wanted |= dict(chosen)
            workshop.stage(*(email_event(n, ADD if add else REMOVE) for n, add in chosen))
        workshop.flush(audience_id)
        for _ in range(60):
            workshop.deliver_all()
            if not workshop.book(audience_id).waiting:
                break
            workshop.end_quarantine()
        workshop.assert_books_balance()
        workshop.assert_charges_cover_what_was_sent()
        assert workshop.list_row(audience_id).charged <= 400
    workshop.simulator.faults.clear()
    workshop.end_quarantine()
    workshop.flush(audience_id)
    workshop.deliver_all()
    assert workshop.book(audience_id).over_cap == 0
    assert workshop.members() == {sha1_hex(address(n)) for n, member in wanted.items() if member}


def test_deactivating_in_the_middle_balances(workshop: Workshop) -> None:
    audience_id = a_mixed_day(workshop)
    deactivate(workshop.deployment, audience_id)
    workshop.deliver_all()
    workshop.assert_books_balance()
