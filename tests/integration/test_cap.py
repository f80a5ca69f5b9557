"""The cap: what Pinterest may have processed never exceeds it, whatever happens."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.connections import change_settings
from app.errors import LeaseLost
from app.lease import try_claim
from app.pinterest.outcomes import Answer, Settlement
from app.quota import Charge, charge, settle
from app.status import read_status
from app.tables import customer_list
from tests.workshop import REMOVE, Workshop, device_event, email_event, emails

CAP = 300_000_000
ROOM_FOR_PLACEHOLDER = 1


def with_room(workshop: Workshop, room: int, **settings: object) -> int:
    """An audience whose EMAIL list may take so many more records under its cap."""
    return workshop.ready(record_cap=ROOM_FOR_PLACEHOLDER + room, **settings)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("room", [0, 1, 2, 4, 5, 6])
def test_exactly_what_fits_is_sent_and_the_rest_is_booked(
    open_with: Callable[..., Workshop], room: int, size: int
) -> None:
    workshop = open_with(records_per_request=size)
    audience_id = with_room(workshop, room)
    workshop.upload(audience_id, *emails(range(5)))
    fits = min(room, 5)
    book = workshop.book(audience_id)
    assert (book.sent, book.over_cap) == (fits, 5 - fits)
    assert len(workshop.members()) == fits
    assert sum(count for _, count in workshop.patches()) == fits
    assert workshop.list_row(audience_id).charged == ROOM_FOR_PLACEHOLDER + fits
    assert workshop.value("SELECT count(*) FROM batch WHERE payload IS NOT NULL") == 0
    workshop.assert_books_balance()


def test_a_batch_is_split_where_the_cap_ends(workshop: Workshop) -> None:
    audience_id = with_room(workshop, 7)
    workshop.upload(audience_id, *emails(range(10)))
    assert workshop.batches(audience_id) == [
        ("ADD", 10, "split"),
        ("ADD", 7, "sent"),
        ("ADD", 3, "over_cap"),
    ]
    assert workshop.patches() == [("ADD", 7)]


def test_nothing_is_sent_after_the_cap_and_the_status_says_so(workshop: Workshop) -> None:
    audience_id = with_room(workshop, 3)
    workshop.upload(audience_id, *emails(range(3)))
    before = len(workshop.simulator.books.requests())
    workshop.upload(audience_id, *emails(range(3, 9)), email_event(1, REMOVE))
    workshop.upload(audience_id, *emails(range(9, 12)))
    assert len(workshop.simulator.books.requests()) == before
    assert workshop.book(audience_id).over_cap == 10
    (shown,) = read_status(workshop.deployment).audiences
    (listed,) = (each for each in shown.lists if each.list_type == "EMAIL")
    assert (listed.sent, listed.cap, listed.full) == (4, 4, True)
    workshop.assert_books_balance()


def test_the_sibling_list_has_a_cap_of_its_own(workshop: Workshop) -> None:
    audience_id = with_room(workshop, 2)
    workshop.upload(audience_id, *emails(range(5)), device_event(1), device_event(2))
    assert workshop.book(audience_id, "MAID").sent == 2
    assert workshop.book(audience_id).over_cap == 3


def test_at_the_real_cap_exactly_three_hundred_million_are_recorded(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    # the attempts before today's, as the ledger wants them
    workshop.execute("UPDATE customer_list SET charged = :c", c=CAP - 5)
    workshop.execute(
        "INSERT INTO attempt (customer_list_id, purpose, record_count, epoch, state, settled_at)"
        " SELECT id, 'ADD', :c, 0, 'sent', now() FROM customer_list",
        c=CAP - 6,
    )
    workshop.upload(audience_id, *emails(range(8)))
    assert workshop.list_row(audience_id).charged == CAP
    book = workshop.book(audience_id)
    assert (book.sent, book.over_cap) == (5, 3)
    workshop.upload(audience_id, *emails(range(20, 30)))
    assert workshop.list_row(audience_id).charged == CAP
    assert workshop.patches() == [("ADD", 5)]
    assert workshop.book(audience_id).over_cap == 13
    workshop.assert_books_balance()
    (shown,) = read_status(workshop.deployment).audiences
    assert [each.full for each in shown.lists if each.list_type == "EMAIL"] == [True]


def test_a_reserve_for_removals_is_left_free_by_adds(workshop: Workshop) -> None:
    audience_id = with_room(workshop, 10, removal_reserve=4)
    workshop.upload(audience_id, *emails(range(10)))
    assert workshop.book(audience_id).sent == 6
    workshop.upload(audience_id, *emails(range(5), REMOVE), *emails(range(20, 22)))
    assert workshop.patches() == [("ADD", 6), ("REMOVE", 4)]
    assert workshop.list_row(audience_id).charged == ROOM_FOR_PLACEHOLDER + 10
    workshop.assert_books_balance()


def test_removals_get_the_last_room_before_the_adds_of_their_upload(workshop: Workshop) -> None:
    audience_id = with_room(workshop, 4)
    workshop.upload(audience_id, *emails(range(4)), *emails(range(4, 7), REMOVE))
    assert workshop.patches() == [("REMOVE", 3), ("ADD", 1)]


def test_a_batch_whose_first_try_is_unknown_and_that_finds_no_room_is_booked(
    workshop: Workshop,
) -> None:
    audience_id = with_room(workshop, 5)
    workshop.simulator.faults.script("drop_after")
    workshop.stage(*emails(range(4)))
    workshop.flush(audience_id)
    workshop.deliver(audience_id)
    workshop.end_pauses()
    workshop.deliver_all()
    assert workshop.list_row(audience_id).charged == ROOM_FOR_PLACEHOLDER + 5
    book = workshop.book(audience_id)
    assert (book.sent, book.over_cap) == (1, 3)
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


def test_what_was_refused_makes_room_again(workshop: Workshop) -> None:
    audience_id = with_room(workshop, 4)
    workshop.simulator.faults.script("rate_limited", reset=1)
    workshop.stage(*emails(range(4)))
    workshop.flush(audience_id)
    workshop.deliver(audience_id)
    workshop.end_pauses()
    workshop.deliver_all()
    assert workshop.book(audience_id).sent == 4


def test_a_cap_lowered_below_what_was_sent_books_everything_after(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(5)))
    change_settings(workshop.deployment, "main", record_cap=2)
    workshop.upload(audience_id, *emails(range(5, 8)))
    assert workshop.book(audience_id).over_cap == 3
    assert workshop.patches() == [("ADD", 5)]


def test_a_cap_lowered_before_the_audience_stands_leaves_nothing_stuck(
    workshop: Workshop,
) -> None:
    workshop.connect()
    workshop.simulator.faults.script("bad_request", times=None, operation="create_audience")
    audience_id = workshop.activate()
    workshop.deliver_all()
    workshop.upload(audience_id, *emails(range(5)))
    change_settings(workshop.deployment, "main", record_cap=2)
    workshop.end_pauses()
    workshop.stage(*emails(range(5, 8)))
    assert workshop.flush(audience_id) is not None
    for _ in range(3):
        workshop.deliver(audience_id)
    assert workshop.book(audience_id).waiting == 0
    assert workshop.book(audience_id).over_cap == 3


def test_a_cap_of_nothing_makes_no_list_and_says_why(workshop: Workshop) -> None:
    workshop.connect(record_cap=0)
    audience_id = workshop.activate()
    workshop.deliver_all()
    assert workshop.list_row(audience_id).held_reason == "no room under the cap"
    assert workshop.simulator.books.requests() == []


@pytest.mark.parametrize("charged", [CAP + 1, -1])
def test_the_database_is_a_second_wall(workshop: Workshop, charged: int) -> None:
    workshop.connect()
    workshop.activate()
    with pytest.raises(IntegrityError, match="customer_list_cap_check"):
        workshop.execute("UPDATE customer_list SET charged = :c", c=charged)


def test_workers_that_charge_at_once_never_pass_the_limit(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    list_id = workshop.list_id(audience_id)
    s = workshop.deployment.settings
    with workshop.transaction() as tx:
        claim = try_claim(tx, customer_list, list_id, s)
    assert claim is not None

    def worker(_: int) -> int:
        with workshop.transaction() as tx:
            made = charge(tx, claim, s, purpose="ADD", records=3, limit=50)
        return made.records if made else 0

    with ThreadPoolExecutor(4) as pool:
        charged = sum(pool.map(worker, range(40)))
    assert charged == 48
    assert workshop.list_row(audience_id).charged == 49
    assert workshop.book(audience_id).balanced


def test_of_two_charges_at_once_for_the_last_room_one_is_made(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    s = workshop.deployment.settings
    with workshop.transaction() as tx:
        claim = try_claim(tx, customer_list, workshop.list_id(audience_id), s)
    assert claim is not None

    def charge_three(tx: sa.Connection) -> Charge | None:
        return charge(tx, claim, s, purpose="ADD", records=3, limit=ROOM_FOR_PLACEHOLDER + 5)

    def charge_three_alone() -> Charge | None:
        with workshop.transaction() as tx:
            return charge_three(tx)

    with ThreadPoolExecutor(1) as pool:
        with workshop.transaction() as tx:
            assert charge_three(tx) is not None
            second = pool.submit(charge_three_alone)
            workshop.wait_until_blocked()
        assert second.result() is None
    assert workshop.list_row(audience_id).charged == ROOM_FOR_PLACEHOLDER + 3
    assert workshop.book(audience_id).balanced


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE customer_list SET epoch = epoch + 1",
        "UPDATE customer_list SET lease_until = clock_timestamp()",
        "UPDATE audience SET state = 'paused'",
        "UPDATE audience SET state = 'deactivated'",
        "UPDATE connection SET forward_email = false",
    ],
)
def test_nothing_is_charged_without_the_right_to_send(workshop: Workshop, change: str) -> None:
    audience_id = workshop.ready()
    list_id = workshop.list_id(audience_id)
    s = workshop.deployment.settings
    with workshop.transaction() as tx:
        claim = try_claim(tx, customer_list, list_id, s)
    assert claim is not None
    workshop.execute(change)
    with pytest.raises(LeaseLost), workshop.transaction() as tx:
        charge(tx, claim, s, purpose="ADD", records=1, limit=CAP)
    assert workshop.list_row(audience_id).charged == 1


def test_settling_takes_the_list_before_its_attempts_as_rebuilding_does(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    s = workshop.deployment.settings
    with workshop.transaction() as tx:
        claim = try_claim(tx, customer_list, workshop.list_id(audience_id), s)
        assert claim is not None
        made = charge(tx, claim, s, purpose="ADD", records=1, limit=CAP)
    assert made is not None

    def settle_it() -> None:
        with workshop.transaction() as tx:
            settle(tx, claim, made, Settlement.SENT, Answer(200))

    with ThreadPoolExecutor(1) as pool:
        with workshop.transaction() as tx:
            tx.execute(sa.text("SELECT id FROM customer_list FOR UPDATE"))
            settling = pool.submit(settle_it)
            workshop.wait_until_blocked()
            tx.execute(sa.text("SELECT id FROM attempt FOR UPDATE NOWAIT"))
        settling.result()
    assert workshop.attempts(audience_id)[-1] == ("ADD", 1, "sent")


def test_an_attempt_is_settled_once_and_gives_its_charge_back_once(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    s = workshop.deployment.settings
    with workshop.transaction() as tx:
        claim = try_claim(tx, customer_list, workshop.list_id(audience_id), s)
        assert claim is not None
        made = charge(tx, claim, s, purpose="ADD", records=1, limit=CAP)
    assert made is not None
    never_left = Answer(None, left=False)
    with workshop.transaction() as tx:
        settle(tx, claim, made, Settlement.REFUSED, never_left)
    with pytest.raises(LeaseLost), workshop.transaction() as tx:
        settle(tx, claim, made, Settlement.REFUSED, never_left)
    assert workshop.list_row(audience_id).charged == 1
    assert workshop.book(audience_id).balanced


def test_an_answer_that_comes_after_another_worker_took_over_settles_nothing(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    list_id = workshop.list_id(audience_id)
    s = workshop.deployment.settings
    with workshop.transaction() as tx:
        claim = try_claim(tx, customer_list, list_id, s)
        assert claim is not None
        made = charge(tx, claim, s, purpose="ADD", records=1, limit=CAP)
    assert made is not None
    workshop.end_leases()
    with workshop.transaction() as tx:
        assert try_claim(tx, customer_list, list_id, s)
    with pytest.raises(LeaseLost), workshop.transaction() as tx:
        settle(tx, claim, made, Settlement.REFUSED, Answer(None, left=False))
    assert workshop.attempts(audience_id)[-1] == ("ADD", 1, "in_flight")
    assert workshop.list_row(audience_id).charged == 2
