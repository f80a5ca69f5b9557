"""The books balance after anything that may happen, and notice when they should not."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from app.audiences import deactivate
from app.books import check_books_once, in_sum, read_books, rejected_by_reason
from app.connections import change_settings
from app.evidence import read_ledger
from app.gauges import read_book_sums, read_gauges
from app.purging import purge_history_once, purge_receipts_once
from app.status import read_status
from tests.faults.hands_of_time import let_pass
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

DAY = 86_400.0


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


HISTORY = ("upload", "batch", "attempt")


def rows_of(workshop: Workshop) -> dict[str, int]:
    return {name: workshop.value(f"SELECT count(*) FROM {name}") for name in HISTORY}


def test_uploads_past_their_time_go_and_the_books_still_balance(workshop: Workshop) -> None:
    audience_id = a_mixed_day(workshop)
    kinds = ("EMAIL", "MAID")
    before = [workshop.book(audience_id, kind) for kind in kinds]
    assert purge_history_once(workshop.deployment) == (0, 0), "it is of today"
    had = rows_of(workshop)
    let_pass(workshop, 31 * DAY)
    uploads, attempts = purge_history_once(workshop.deployment)
    left = rows_of(workshop)
    assert (had["upload"] - uploads, had["attempt"] - attempts) == (left["upload"], left["attempt"])
    assert uploads == 3, "one has a record in quarantine"
    assert attempts > 3
    assert left["batch"] < had["batch"]
    assert [workshop.book(audience_id, kind) for kind in kinds] == before
    workshop.assert_books_balance()
    workshop.upload(audience_id, email_event(70))
    let_pass(workshop, 31 * DAY)
    purge_history_once(workshop.deployment)
    workshop.assert_books_balance()
    assert workshop.book(audience_id, "MAID").received == before[1].received


def test_after_a_purge_the_counters_are_still_what_was_sent(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.upload(audience_id, *emails(range(5)))
    workshop.upload(audience_id, *emails(range(2), REMOVE), email_event(9))
    workshop.simulator.faults.script("drop_after", operation="patch")
    workshop.upload(audience_id, email_event(10))
    let_pass(workshop, 31 * DAY)
    workshop.deliver_all()
    let_pass(workshop, 31 * DAY)
    asked_at = workshop.value("SELECT clock_timestamp()")
    list_id = workshop.list_id(audience_id)
    with workshop.transaction() as tx:
        before = read_ledger(tx, list_id, asked_at, 1.0)
    assert purge_history_once(workshop.deployment)[1] > 0
    with workshop.transaction() as tx:
        assert read_ledger(tx, list_id, asked_at, 1.0) == before
    assert before.unknown, "a request without an answer stays, as evidence"


def test_what_is_not_settled_stays_however_old(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("forbidden", times=None, operation="patch")
    workshop.upload(audience_id, *emails(range(3)))
    let_pass(workshop, 400 * DAY)
    assert purge_history_once(workshop.deployment)[0] == 0
    assert workshop.book(audience_id).waiting == 3


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE carried_sum SET received = received + 1",
        "UPDATE carried_sum SET sent = 0 WHERE sent > 0",
        "UPDATE carried_sum SET folded = folded - 1 WHERE folded > 0",
        "DELETE FROM carried_list",
        "DELETE FROM carried_sum",
    ],
)
def test_the_books_notice_when_a_sum_is_tampered_with(workshop: Workshop, change: str) -> None:
    a_mixed_day(workshop)
    let_pass(workshop, 31 * DAY)
    purge_receipts_once(workshop.deployment)
    purge_history_once(workshop.deployment)
    workshop.assert_books_balance()
    assert workshop.execute(change) > 0
    assert not all(book.balanced for book in read_books(workshop.deployment))


def test_the_books_are_there_in_sql_and_in_sum(workshop: Workshop) -> None:
    a_mixed_day(workshop)
    balanced = workshop.rows("SELECT audience, list_type, balanced, received, booked FROM books")
    assert [(row.audience, row.balanced) for row in balanced] == [("VIP", True)] * 2
    total = in_sum(read_books(workshop.deployment))
    assert total.balanced
    assert total.received == sum(row.received for row in balanced)


def test_a_look_at_the_books_is_remembered_for_monitoring(workshop: Workshop) -> None:
    a_mixed_day(workshop)
    assert read_gauges(workshop.deployment).keys().isdisjoint({"unbalanced_lists"})
    assert check_books_once(workshop.deployment) == 0
    assert read_gauges(workshop.deployment)["unbalanced_lists"] == 0
    total = in_sum(read_books(workshop.deployment)).as_json()
    seen = {each.item: each.identities for each in read_book_sums(workshop.deployment)}
    assert seen == {name: total[name] for name in seen}
    assert {"received", "sent", "charged"} <= seen.keys()
    workshop.execute("DELETE FROM batch WHERE state = 'sent'")
    assert check_books_once(workshop.deployment) == 2
    assert read_gauges(workshop.deployment)["unbalanced_lists"] == 2
    assert read_status(workshop.deployment).unbalanced_lists == 2


def test_of_two_looks_at_once_one_is_remembered(workshop: Workshop) -> None:
    a_mixed_day(workshop)
    with ThreadPoolExecutor(1) as pool:
        with workshop.transaction() as other:
            other.execute(sa.text("LOCK sweep IN EXCLUSIVE MODE"))  # where a look ends
            first = pool.submit(check_books_once, workshop.deployment)
            workshop.wait_until_blocked()
            assert check_books_once(workshop.deployment) is None
        assert first.result() == 0
    assert check_books_once(workshop.deployment) == 0


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
