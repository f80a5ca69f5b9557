"""Delivery: batches reach Pinterest in order, and every answer of design section 5 is acted on."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from app import turn
from app.connections import change_settings, replace_token
from app.deadman import armed
from app.delivery import deliver_once
from app.due_lists import lists_due
from app.errors import ConfigError
from app.flush import flush_once
from app.keyring import new_key
from app.lease import try_claim
from app.pinterest.throttle import take_slot
from app.resuming import check_held_once, retry
from app.tables import customer_list
from tests.integration.fleet import fleet
from tests.integration.processes import eventually
from tests.workshop import (
    KEY,
    REMOVE,
    Workshop,
    address,
    device_event,
    digests,
    email_event,
    emails,
    sha1_hex,
)


def queue(workshop: Workshop, audience_id: int, *events: Any) -> None:
    """Have something wait in the lane."""
    workshop.stage(*events)
    assert workshop.flush(audience_id) is not None


def test_membership_at_pinterest_is_what_was_asked_for(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(records_per_request=7)
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(20)), *[device_event(n) for n in range(3)])
    workshop.upload(audience_id, *emails(range(5), REMOVE), *emails(range(18, 22)))
    assert workshop.members() == digests(range(5, 22))
    assert len(workshop.members("VIP-MAID")) == 3
    assert workshop.patches() == [("ADD", 7), ("ADD", 7), ("ADD", 6), ("REMOVE", 5), ("ADD", 4)]
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


def test_records_per_request_can_be_set_per_connection(workshop: Workshop) -> None:
    audience_id = workshop.ready(records_per_request=4)
    workshop.upload(audience_id, *emails(range(10)))
    assert [count for _, count in workshop.patches()] == [4, 4, 2]


def test_removes_of_an_upload_go_before_its_adds(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with(records_per_request=2)
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(3)), *emails(range(3, 6), REMOVE))
    assert [operation for operation, _ in workshop.patches()] == ["REMOVE", "REMOVE", "ADD", "ADD"]


def test_what_a_list_waits_for_is_gone_once_it_is_delivered(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(3)))
    assert workshop.batches(audience_id) == [("ADD", 3, "sent")]
    assert workshop.value("SELECT count(*) FROM batch WHERE payload IS NOT NULL") == 0
    observed = workshop.rows("SELECT * FROM observation ORDER BY id")[-1]
    assert (observed.batches, observed.uploaded_records) == (2, 4)


def test_a_429_waits_with_the_whole_connection_for_as_long_as_it_says(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("rate_limited", reset=50)
    queue(workshop, audience_id, email_event(1), device_event(1))
    workshop.deliver(audience_id)
    rest = workshop.value(
        "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM budget"
        " WHERE category = 'ads_write'"
    )
    assert 40 < rest <= 50
    assert workshop.attempts(audience_id)[-1] == ("ADD", 1, "refused")
    assert workshop.list_row(audience_id).charged == 1  # the placeholder's
    with workshop.transaction() as tx:
        assert lists_due(tx, workshop.deployment.settings) == []
    workshop.end_pauses()
    workshop.deliver_all()
    assert workshop.members() == digests(range(1, 2))
    workshop.assert_books_balance()


@pytest.mark.parametrize("retry_after", ["soon", "-5", "99999999999", "", "1e999"])
def test_garbage_in_retry_after_never_stops_a_connection_for_more_than_an_hour(
    workshop: Workshop, retry_after: str
) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("rate_limited", reset=None, retry_after=retry_after)
    queue(workshop, audience_id, email_event(1))
    workshop.deliver(audience_id)
    rest = workshop.value(
        "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM budget"
        " WHERE category = 'ads_write'"
    )
    assert 0 < rest <= 3_600


@pytest.mark.parametrize(
    "fault",
    [
        *("server_error", "server_error_after", "unavailable", "html"),
        *("drop_before", "drop_after", "reset_after", "half_status"),
    ],
)
def test_an_unknown_outcome_keeps_its_charge_and_the_batch_goes_again(
    workshop: Workshop, fault: str
) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script(fault)
    queue(workshop, audience_id, *emails(range(3)))
    workshop.deliver(audience_id)
    row = workshop.list_row(audience_id)
    assert workshop.attempts(audience_id)[-1] == ("ADD", 3, "unknown")
    assert row.charged == 4
    assert row.unknown_at is not None
    assert row.not_before is not None
    workshop.end_pauses()  # not the quarantine: the same upload goes on at once
    workshop.deliver_all()
    assert workshop.members() == digests(range(3))
    assert workshop.list_row(audience_id).charged == 7
    assert workshop.book(audience_id).sent == 3
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


def test_a_reply_that_comes_too_late_is_unknown(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with(connect_timeout=0.2, read_timeout=0.3, call_deadline=0.5)
    workshop.simulator.faults.script("slow", operation="patch", seconds=0.8)
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    workshop.deliver(audience_id)
    assert workshop.attempts(audience_id)[-1] == ("ADD", 1, "unknown")


@pytest.mark.parametrize("fault", ["truncated", "garbage", "created", "huge", "drip"])
def test_a_2xx_counts_as_sent_whatever_its_body_says(workshop: Workshop, fault: str) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script(fault, size=1 << 24, seconds=0.001)
    workshop.upload(audience_id, *emails(range(3)))
    assert workshop.attempts(audience_id)[-1] == ("ADD", 3, "sent")
    assert workshop.patches() == [("ADD", 3)]


def test_a_refused_connection_gives_the_charge_back(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    workshop.simulator.stop()
    workshop.deliver(audience_id)
    assert workshop.attempts(audience_id)[-1] == ("ADD", 1, "refused")
    assert workshop.list_row(audience_id).charged == 1
    assert workshop.list_row(audience_id).unknown_at is None
    workshop.simulator.start()
    workshop.end_pauses()
    workshop.deliver_all()
    assert workshop.members() == digests(range(1, 2))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("expired_token", "log in again"),
        ("missing_scope", "scope missing"),
        ("forbidden", "not permitted"),
    ],
)
def test_401_and_403_hold_the_connection_until_it_answers_again(
    workshop: Workshop, fault: str, reason: str
) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script(fault, times=None)
    queue(workshop, audience_id, email_event(1), device_event(1))
    workshop.deliver_all()
    (held,) = workshop.rows("SELECT * FROM connection")
    assert held.held_reason == reason
    assert workshop.patches() == [("ADD", 1)]  # one request found out for both lists
    assert workshop.list_row(audience_id).charged == 1
    assert check_held_once(workshop.deployment) == 0  # the canary is refused as well
    workshop.simulator.faults.clear()
    assert check_held_once(workshop.deployment) == 0  # asked a moment ago
    workshop.end_pauses()
    assert check_held_once(workshop.deployment) == 1
    workshop.deliver_all()
    assert workshop.members() == digests(range(1, 2))


def test_a_connection_is_held_before_its_list_is_written_as_settings_are_changed(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    workshop.simulator.faults.script("forbidden", operation="patch")
    locked = Event()

    def change_settings_slowly() -> None:
        with workshop.transaction() as tx:
            tx.execute(sa.text("SELECT id FROM connection FOR NO KEY UPDATE"))
            locked.set()
            workshop.wait_until_blocked()
            tx.execute(sa.text("SELECT id FROM customer_list FOR UPDATE NOWAIT"))

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change_settings_slowly)
        assert locked.wait(10)
        workshop.deliver(audience_id)
        changing.result()
    assert workshop.value("SELECT held_reason FROM connection") == "not permitted"
    assert workshop.attempts(audience_id)[-1] == ("ADD", 1, "refused")


def test_a_new_token_lets_a_held_connection_go_on(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.set_token_state("pina_test", "revoked")
    queue(workshop, audience_id, email_event(1))
    workshop.deliver_all()
    assert workshop.value("SELECT held_reason FROM connection") == "log in again"
    workshop.simulator.set_token_state("pina_new", "valid")
    replace_token(workshop.deployment, "main", "pina_new")
    workshop.deliver_all()
    assert workshop.members() == digests(range(1, 2))


def test_a_list_that_is_gone_is_held_and_its_sibling_goes_on(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.books.delete_list(str(workshop.list_row(audience_id).pinterest_list_id))
    queue(workshop, audience_id, email_event(1), device_event(1))
    workshop.deliver_all()
    assert workshop.list_row(audience_id).held_reason == "gone at Pinterest"
    assert len(workshop.members("VIP-MAID")) == 1
    queue(workshop, audience_id, email_event(2), device_event(2))  # cuts go on for the sibling
    workshop.deliver_all()
    assert len(workshop.members("VIP-MAID")) == 2
    assert workshop.book(audience_id).waiting == 2
    assert check_held_once(workshop.deployment) == 0
    workshop.assert_books_balance()


def test_a_lane_that_is_held_grows_up_to_its_bound(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with(lane_limit=3)
    audience_id = workshop.ready()
    workshop.simulator.faults.script("gone", times=None, operation="patch")
    queue(workshop, audience_id, *emails(range(4)))
    workshop.deliver_all()
    workshop.stage(email_event(9))
    assert workshop.flush(audience_id) is None
    assert workshop.value("SELECT count(*) FROM staged_chunk") == 1


def test_nothing_is_cut_while_a_lane_that_can_move_has_something(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    workshop.stage(email_event(1, REMOVE))
    assert workshop.flush(audience_id) is None
    workshop.deliver_all()
    assert flush_once(workshop.deployment, audience_id) is not None


@pytest.mark.parametrize("by", ["413", "words"])
def test_a_batch_that_is_too_large_is_halved_until_it_fits(workshop: Workshop, by: str) -> None:
    audience_id = workshop.ready()
    if by == "413":
        workshop.simulator.behaviour.max_records = 3
    else:
        workshop.simulator.faults.script(
            "bad_request", times=3, operation="patch", message="Too many records."
        )
    workshop.upload(audience_id, *emails(range(10)))
    assert workshop.members() == digests(range(10))
    assert workshop.book(audience_id).quarantined == 0
    sent = [row for row in workshop.batches(audience_id) if row[2] == "sent"]
    assert sum(count for _, count, _ in sent) == 10
    assert workshop.list_row(audience_id).charged == 11  # what was refused is not charged
    workshop.assert_books_balance()


def poison(workshop: Workshop, *numbers: int) -> list[str]:
    bad = [sha1_hex(address(number)) for number in numbers]
    workshop.simulator.faults.script("refuse_records", times=None, records=bad)
    return bad


@pytest.mark.parametrize("bad", [[5], [0, 31], [3, 4, 5, 6], list(range(31))])
def test_refused_records_end_alone_in_quarantine_and_all_others_are_delivered(
    workshop: Workshop, bad: list[int]
) -> None:
    audience_id = workshop.ready()
    poison(workshop, *bad)
    workshop.upload(audience_id, *emails(range(32)))
    well = digests(range(32)) - {sha1_hex(address(n)) for n in bad}
    assert workshop.members() >= well
    assert len(workshop.members() - well) == 1  # the placeholder of the probe
    quarantined = [row for row in workshop.batches(audience_id) if row[2] == "quarantined"]
    assert quarantined == [("ADD", 1, "quarantined")] * len(bad)
    assert workshop.list_row(audience_id).held_reason is None
    workshop.assert_books_balance()
    assert [a for a in workshop.attempts(audience_id) if a[0] == "PROBE"] == [("PROBE", 1, "sent")]


def test_a_list_that_refuses_every_record_is_held_after_one_probe(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("bad_request", times=None, operation="patch")
    queue(workshop, audience_id, *emails(range(32)))
    workshop.deliver_all()
    row = workshop.list_row(audience_id)
    assert row.held_reason == "refuses every record"
    assert row.held_message == "Invalid request."
    assert len(workshop.patches()) <= 4  # whole, two halves, the probe
    assert workshop.book(audience_id).waiting == 32
    assert row.charged == 1
    workshop.assert_books_balance()
    workshop.simulator.faults.clear()
    retry(workshop.deployment)
    workshop.deliver_all()
    assert workshop.members() == digests(range(32))


def test_an_answer_nobody_knows_holds_the_list_with_what_was_seen(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("teapot", message="teapot of ana@example.org")
    queue(workshop, audience_id, email_event(1))
    workshop.deliver_all()
    row = workshop.list_row(audience_id)
    assert row.held_reason == "unknown answer"
    assert row.held_message == "teapot of [removed]"
    assert workshop.patches() == [("ADD", 1)]
    assert workshop.book(audience_id).waiting == 1


def test_a_redirect_is_not_followed_and_holds_the_list(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("redirect")
    queue(workshop, audience_id, email_event(1))
    charged = workshop.list_row(audience_id).charged
    workshop.deliver_all()
    row = workshop.list_row(audience_id)
    assert (row.held_reason, row.charged) == ("unknown answer", charged + 1)
    assert workshop.patches() == [("ADD", 1)]
    assert workshop.attempts(audience_id)[-1][2] == "unknown"
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


def test_a_conflict_is_tried_again_but_not_for_ever(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("conflict", times=None, operation="patch")
    queue(workshop, audience_id, email_event(1))
    for _ in range(8):
        workshop.deliver(audience_id)
        workshop.execute("UPDATE customer_list SET not_before = NULL")
    assert workshop.list_row(audience_id).held_reason == "conflict"
    assert len(workshop.patches()) == 5


def test_pauses_grow_while_pinterest_is_away_and_nothing_is_dropped(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    workshop.simulator.stop()
    pauses = []
    for _ in range(9):
        workshop.deliver(audience_id)
        pauses.append(
            workshop.value(
                "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM customer_list"
                " WHERE list_type = 'EMAIL'"
            )
        )
        workshop.execute("UPDATE customer_list SET not_before = NULL")
    assert 14 < pauses[0] <= 30
    assert 1_790 < pauses[-1] <= 3_600
    workshop.simulator.start()
    workshop.deliver_all()
    assert workshop.members() == digests(range(1, 2))
    assert workshop.list_row(audience_id).failures == 0
    assert workshop.list_row(audience_id).charged == 2


def test_after_an_unknown_outcome_a_later_upload_waits_the_quarantine(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(records_per_request=2)
    audience_id = workshop.ready()
    workshop.simulator.faults.script("drop_after", skip=1)
    queue(workshop, audience_id, *emails(range(6)))
    workshop.deliver(audience_id)
    workshop.end_pauses()
    workshop.deliver_all()
    assert workshop.book(audience_id).sent == 6  # the same upload went on
    queue(workshop, audience_id, email_event(1, REMOVE), device_event(1))
    before = len(workshop.patches())
    workshop.deliver_all()
    assert len(workshop.patches()) == before
    rest = workshop.value(
        "SELECT extract(epoch FROM not_before - clock_timestamp()) FROM customer_list"
        " WHERE list_type = 'EMAIL'"
    )
    assert 800 < rest <= 900
    assert len(workshop.members("VIP-MAID")) == 1  # the sibling is not concerned
    workshop.end_pauses()
    workshop.deliver_all()
    assert len(workshop.patches()) == before  # the pause is no permission
    workshop.end_quarantine()
    workshop.deliver_all()
    assert workshop.members() == digests(range(6)) - digests(range(1, 2))


def test_a_retry_by_a_person_does_not_end_the_quarantine(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("drop_after")
    queue(workshop, audience_id, email_event(1))
    workshop.deliver(audience_id)
    workshop.end_pauses()
    workshop.deliver_all()
    queue(workshop, audience_id, email_event(1, REMOVE))
    workshop.deliver_all()  # nothing but the time until which it waits
    retry(workshop.deployment)
    workshop.deliver_all()
    assert [operation for operation, _ in workshop.patches()] == ["ADD", "ADD"]


def test_after_two_unknown_outcomes_a_read_must_succeed_before_the_next_charge(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("drop_before", times=None)
    queue(workshop, audience_id, *emails(range(100)))
    for _ in range(6):
        workshop.deliver(audience_id)
        workshop.end_pauses()
    assert workshop.list_row(audience_id).charged == 201  # an outage eats no cap
    assert workshop.patches() == [("ADD", 100)] * 2
    reads = [r for r in workshop.simulator.books.requests() if r.operation == "get_list"]
    assert len(reads) == 4
    workshop.simulator.faults.clear()
    workshop.deliver_all()
    assert workshop.members() == digests(range(100))
    assert workshop.list_row(audience_id).unknown_streak == 0


def die_in_flight(workshop: Workshop, audience_id: int) -> None:
    """Leave behind what a worker leaves that was killed in the middle of a request."""
    list_id = workshop.list_id(audience_id)
    workshop.execute(
        "UPDATE customer_list SET epoch = epoch + 1, charged = charged + 3,"
        " lease_until = clock_timestamp() + interval '60 s' WHERE id = :l",
        l=list_id,
    )
    workshop.execute(
        "INSERT INTO attempt (customer_list_id, batch_id, upload_id, purpose, record_count, epoch)"
        " SELECT l.id, b.id, b.upload_id, 'ADD', 3, l.epoch FROM customer_list l"
        " JOIN batch b ON b.customer_list_id = l.id WHERE l.id = :l",
        l=list_id,
    )


def test_what_a_dead_worker_left_in_flight_becomes_unknown_once_its_lease_is_over(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, *emails(range(3)))
    die_in_flight(workshop, audience_id)
    assert workshop.deliver(audience_id) is None  # its lease still stands
    with workshop.transaction() as tx:
        assert lists_due(tx, workshop.deployment.settings) == []
    workshop.end_leases()
    workshop.deliver_all()
    assert workshop.attempts(audience_id)[-2:] == [("ADD", 3, "unknown"), ("ADD", 3, "sent")]
    row = workshop.list_row(audience_id)
    assert row.charged == 7
    assert row.unknown_at is not None
    assert workshop.members() == digests(range(3))
    workshop.assert_books_balance()
    queue(workshop, audience_id, email_event(1, REMOVE))
    workshop.deliver_all()
    assert workshop.patches() == [("ADD", 3)]  # the quarantine holds after a death as well


def test_a_lease_impossibly_far_ahead_counts_as_over(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    workshop.execute(
        "UPDATE customer_list SET lease_until = now() + interval '2 h',"
        " not_before = now() + interval '1 day'"
    )
    workshop.deliver_all()
    assert workshop.members() == digests(range(1, 2))


def test_a_worker_that_was_overtaken_settles_nothing(workshop: Workshop) -> None:
    """The answer arrives when another worker holds the list: its word counts."""
    audience_id = workshop.ready()
    queue(workshop, audience_id, *emails(range(3)))
    list_id = workshop.list_id(audience_id)
    overtaken: list[str] = []

    def overtake(digest: str) -> bool:
        if overtaken:
            return False
        overtaken.append(digest)
        workshop.end_leases()
        with workshop.transaction() as tx:
            assert try_claim(tx, customer_list, list_id, workshop.deployment.settings)
        return False

    workshop.simulator.faults.script("refuse_records", predicate=overtake)
    delivered = deliver_once(workshop.deployment, list_id)
    assert delivered is not None
    assert not delivered.more
    assert workshop.attempts(audience_id)[-1] == ("ADD", 3, "in_flight")
    assert workshop.batches(audience_id) == [("ADD", 3, "waiting")]
    row = workshop.list_row(audience_id)
    assert row.lease_until is not None  # the other one's
    workshop.end_leases()
    workshop.deliver_all()
    assert workshop.attempts(audience_id)[-2:] == [("ADD", 3, "unknown"), ("ADD", 3, "sent")]
    workshop.assert_books_balance()


def test_two_workers_called_to_one_list_send_one_request_after_another(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(read_timeout=30, call_deadline=40, dead_man=50)
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    arrived, go_on = Event(), Event()

    def keep_waiting(digest: str) -> bool:
        arrived.set()
        go_on.wait(20)
        return False

    workshop.simulator.faults.script("refuse_records", predicate=keep_waiting, operation="patch")
    with fleet(workshop, 1) as first:
        first.ring(workshop.list_id(audience_id))
        try:
            assert arrived.wait(60)
            assert workshop.deliver(audience_id) is None
        finally:
            go_on.set()
        assert eventually(lambda: workshop.book(audience_id).sent == 1)
    assert workshop.patches() == [("ADD", 1)]


def test_a_charge_is_committed_before_its_request_arrives(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, *emails(range(3)))
    charged: list[int] = []

    def look(digest: str) -> bool:
        charged.append(workshop.list_row(audience_id).charged)
        return False

    workshop.simulator.faults.script("refuse_records", predicate=look, operation="patch")
    workshop.deliver(audience_id)
    assert set(charged) == {4}  # the placeholder's and these three


@pytest.mark.parametrize("late", ["another one has it", "its lease is over"])
def test_a_worker_that_is_late_for_its_charge_sends_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, *emails(range(3)))
    list_id = workshop.list_id(audience_id)

    def freeze(*given: Any, **more: Any) -> float:
        workshop.end_leases()
        if late == "another one has it":
            with workshop.transaction() as tx:
                assert try_claim(tx, customer_list, list_id, workshop.deployment.settings)
        return take_slot(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(turn, "take_slot", freeze)
        workshop.deliver(audience_id)
    assert workshop.patches() == []
    assert workshop.list_row(audience_id).charged == 1
    workshop.end_leases()
    workshop.deliver_all()
    assert workshop.patches() == [("ADD", 3)]


def test_a_request_is_out_only_while_the_dead_mans_timer_runs(workshop: Workshop) -> None:
    left: list[float] = []

    def look(digest: str) -> bool:
        left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        return False

    audience_id = workshop.ready()
    workshop.simulator.faults.script("refuse_records", predicate=look, times=None)
    workshop.upload(audience_id, email_event(1), device_event(1))
    assert len(left) == 2
    assert all(0 < rest <= workshop.deployment.settings.dead_man for rest in left)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_request_is_out_only_while_its_lease_outlasts_the_dead_mans_timer(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    left: list[float] = []

    def take_long(*given: Any, **more: Any) -> float:
        workshop.execute(
            "UPDATE customer_list SET lease_until = clock_timestamp() + interval '10 s'"
            " WHERE lease_until IS NOT NULL"
        )
        return take_slot(*given, **more)

    def look(digest: str) -> bool:
        rest = "SELECT extract(epoch FROM max(lease_until) - clock_timestamp()) FROM customer_list"
        left.append(float(workshop.value(rest)) - signal.getitimer(signal.ITIMER_REAL)[0])
        return False

    monkeypatch.setattr(turn, "take_slot", take_long)
    workshop.simulator.faults.script("refuse_records", predicate=look, operation="patch")
    workshop.deliver(audience_id)
    assert len(left) == 1
    assert left[0] > 0


def test_a_worker_that_froze_before_its_timer_was_armed_sends_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)

    @contextmanager
    def frozen_and_armed(seconds: float) -> Iterator[None]:
        clock.monotonic = lambda: time.monotonic() + workshop.deployment.settings.dead_man
        with armed(seconds):
            yield

    with monkeypatch.context() as patch:
        patch.setattr(turn, "time", clock)
        patch.setattr(turn, "armed", frozen_and_armed)
        workshop.deliver(audience_id)
    assert workshop.patches() == []
    assert workshop.attempts(audience_id)[-1] == ("ADD", 1, "refused")
    assert workshop.list_row(audience_id).charged == 1
    workshop.end_pauses()
    workshop.deliver_all()
    assert workshop.members() == digests(range(1, 2))


def test_turns_keep_what_pinterest_said_of_a_list_once_a_minute_at_most(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.execute("DELETE FROM observation")
    seen = "SELECT count(*) FROM observation"
    for expected in (1, 1):
        workshop.upload(audience_id, email_event(1))
        assert workshop.value(seen) == expected
    later = "UPDATE observation SET observed_at = observed_at + :s * interval '1 second'"
    for moved, expected in ((-61, 2), (-61, 3), (1_000, 4)):  # at last the clock was set back
        workshop.execute(later, s=moved)
        workshop.upload(audience_id, email_event(1))
        assert workshop.value(seen) == expected


def test_a_list_that_another_worker_holds_is_left_alone(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1))
    with workshop.transaction() as tx:
        try_claim(tx, customer_list, workshop.list_id(audience_id), workshop.deployment.settings)
    assert workshop.deliver(audience_id) is None
    assert workshop.patches() == []


def test_a_pause_in_mid_lane_stops_before_the_next_request(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(records_per_request=1)
    audience_id = workshop.ready()
    queue(workshop, audience_id, *emails(range(5)))
    seen = []

    def pause_at_second(digest: str) -> bool:
        seen.append(digest)
        if len(seen) == 2:
            workshop.execute("UPDATE audience SET state = 'paused'")
        return False

    workshop.simulator.faults.script("refuse_records", predicate=pause_at_second, times=None)
    workshop.deliver(audience_id)
    assert len(workshop.patches()) == 2
    assert workshop.book(audience_id).waiting == 3


def test_a_kind_switched_off_books_its_lane_and_sends_nothing(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, *emails(range(3)), device_event(1))
    change_settings(workshop.deployment, "main", forward_email=False)
    workshop.deliver_all()
    assert workshop.patches() == []
    assert len(workshop.members("VIP-MAID")) == 1
    assert workshop.book(audience_id).not_forwarded == 3
    workshop.assert_books_balance()


def test_a_list_whose_key_a_worker_lacks_lets_others_go_first_and_waits_for_who_has_it(
    open_with: Callable[..., Workshop],
) -> None:
    lacking = open_with()
    first = lacking.ready()
    second = lacking.activate("31002", "Other")
    lacking.deliver_all()
    having = open_with(keys=f"{new_key()},{KEY}")
    queue(having, first, email_event(1))
    queue(lacking, second, email_event(2, audience="31002"))
    with pytest.raises(ConfigError, match="is not in PINFOLD_KEYS"):
        lacking.deliver(first)
    with lacking.transaction() as tx:
        assert lists_due(tx, lacking.deployment.settings) == [lacking.list_id(second)]
    having.end_pauses()
    having.deliver_all()
    assert having.members() == digests(range(1, 2))


def test_an_unreadable_batch_is_held_by_name_and_not_dropped(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, *emails(range(3)))
    workshop.execute(
        "UPDATE batch SET payload = set_byte(payload, 30, 255 - get_byte(payload, 30))"
    )
    workshop.deliver_all()
    row = workshop.list_row(audience_id)
    assert row.held_reason == "unreadable batch"
    assert "batch" in row.held_message
    assert workshop.patches() == []
    assert workshop.book(audience_id).waiting == 3


def test_a_turn_ends_in_time_and_calls_up_the_list_served_longest_ago(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(records_per_request=1, slice=0.001)
    audience_id = workshop.ready()
    mine, other = (workshop.list_id(audience_id, each) for each in ("EMAIL", "MAID"))
    queue(workshop, audience_id, *emails(range(2)))
    delivered = workshop.deliver(audience_id)
    assert delivered is not None
    assert (delivered.posts, delivered.next_id) == (1, mine)  # nobody else waits
    workshop.deliver_all()
    queue(workshop, audience_id, *emails(range(2)), device_event(1))
    delivered = workshop.deliver(audience_id)
    assert delivered is not None
    assert (delivered.posts, delivered.next_id) == (1, other)


def test_a_turn_with_nothing_left_calls_up_whoever_else_waits(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    queue(workshop, audience_id, email_event(1), device_event(1))
    delivered = workshop.deliver(audience_id)
    assert delivered is not None
    assert delivered.next_id == workshop.list_id(audience_id, "MAID")
    delivered = workshop.deliver(audience_id, "MAID")
    assert delivered is not None
    assert delivered.next_id is None


def test_a_worker_that_is_asked_to_stop_ends_after_the_request_under_way(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(records_per_request=1)
    audience_id = workshop.ready()
    queue(workshop, audience_id, *emails(range(5)))
    delivered = deliver_once(workshop.deployment, workshop.list_id(audience_id), lambda: True)
    assert delivered is not None
    assert delivered.posts == 1
    assert workshop.list_row(audience_id).lease_until is None
    assert workshop.book(audience_id).waiting == 4
