"""The pace of writing: never more requests in any minute than Pinterest allows."""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from app.pinterest.throttle import take_slot
from tests.workshop import TOKEN, Workshop, email_event, emails


def slots(workshop: Workshop, count: int, category: str = "ads_write") -> list[float]:
    """Take slots one after another without waiting for them; the moment of each, in seconds."""
    connection_id = workshop.value("SELECT id FROM connection")
    taken = []
    for _ in range(count):
        with workshop.transaction() as tx:
            wait = take_slot(tx, connection_id, workshop.deployment.settings, category)
        taken.append(time.monotonic() + wait)
    return taken


@pytest.mark.parametrize("per_minute", [60, 400])
def test_slots_of_any_minute_stay_below_the_limit(
    open_with: Callable[..., Workshop], per_minute: int
) -> None:
    workshop = open_with(writes_per_minute=per_minute, patience=1_000, backoff_most=3_600)
    workshop.connect()
    taken = slots(workshop, per_minute * 3 // 2)
    for first in taken:
        assert sum(first <= slot < first + 60 for slot in taken) <= per_minute
    assert taken[-1] - taken[0] < 1.5 * 60 / 0.85  # and the limit is made use of


def test_a_connection_may_have_a_pace_of_its_own(workshop: Workshop) -> None:
    workshop.connect(writes_per_minute=30)
    taken = slots(workshop, 8)
    gaps = [later - sooner for sooner, later in pairwise(taken[4:])]
    assert all(2.0 < gap < 2.4 for gap in gaps)


def test_slots_taken_at_once_are_all_different(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with(writes_per_minute=60, patience=1_000)
    connection_id = workshop.connect()

    def take(_: int) -> float:
        with workshop.transaction() as tx:
            wait = take_slot(tx, connection_id, workshop.deployment.settings)
        return time.monotonic() + wait

    with ThreadPoolExecutor(4) as pool:
        taken = sorted(pool.map(take, range(100)))
    assert all(sum(first <= slot < first + 60 for slot in taken) <= 60 for first in taken)
    late = [slot for slot in taken if slot > time.monotonic()]
    assert len(late) > 90
    assert all(b - a > 0.9 for a, b in pairwise(late))


def test_a_slot_too_far_off_is_not_taken_and_the_turn_ends(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(writes_per_minute=60, patience=2)
    audience_id = workshop.ready()
    workshop.stage(email_event(1))
    workshop.flush(audience_id)
    workshop.execute("UPDATE budget SET next_slot_at = now() + interval '60 s'")
    before = workshop.value("SELECT next_slot_at FROM budget")
    delivered = workshop.deliver(audience_id)
    assert delivered is not None
    assert (delivered.posts, delivered.more) == (0, False)
    assert workshop.value("SELECT next_slot_at FROM budget") == before
    row = workshop.list_row(audience_id)
    assert row.lease_until is None
    assert row.not_before is not None
    assert row.charged == 1
    assert workshop.patches() == []


@pytest.mark.parametrize(
    "column", ["budget SET next_slot_at", "budget SET not_before", "connection SET not_before"]
)
def test_a_time_impossibly_far_ahead_freezes_nothing(workshop: Workshop, column: str) -> None:
    audience_id = workshop.ready()
    workshop.execute(f"UPDATE {column} = now() + interval '1 day'")
    workshop.upload(audience_id, email_event(1))
    assert len(workshop.patches()) == 1


@pytest.mark.parametrize("table", ["connection", "budget"])
def test_a_pause_counts_as_time_until_the_slot(workshop: Workshop, table: str) -> None:
    workshop.connect()
    slots(workshop, 1)
    workshop.execute(f"UPDATE {table} SET not_before = now() + interval '100 s'")
    (slot,) = slots(workshop, 1)
    assert 90 < slot - time.monotonic() <= 100


def test_reads_and_writes_have_budgets_of_their_own(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with(writes_per_minute=60, reads_per_minute=6, patience=1_000)
    workshop.connect()
    slots(workshop, 20)
    workshop.execute("UPDATE budget SET not_before = now() + interval '100 s'")
    taken = slots(workshop, 4, "ads_read")
    assert taken[0] - time.monotonic() <= 0  # neither the writes nor their pause count
    assert all(11.0 < later - sooner < 11.2 for sooner, later in pairwise(taken[1:]))


def test_a_list_does_not_join_where_others_stand_in_line(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(writes_per_minute=60, patience=30)
    connection_id = workshop.connect()

    def join() -> float:
        with workshop.transaction() as tx:
            return take_slot(tx, connection_id, workshop.deployment.settings, joining=True)

    ahead = slots(workshop, 9)[-1] - time.monotonic()
    assert ahead > 1.2
    assert join() == math.inf
    workshop.execute("UPDATE budget SET next_slot_at = now() + interval '1 s'")
    assert 0.5 < join() < 1.1
    # a pause is no line
    workshop.execute("UPDATE budget SET next_slot_at = now(), not_before = now() + interval '9 s'")
    assert 8 < join() <= 9


def test_a_list_that_has_to_read_first_stands_in_line_with_the_observers(
    workshop: Workshop,
) -> None:
    """Observers call nobody up, so whoever left their line would wait for the next due check."""
    audience_id = workshop.ready()
    workshop.stage(email_event(1))
    workshop.flush(audience_id)
    workshop.execute("UPDATE customer_list SET unknown_streak = 2")
    slots(workshop, 1, "ads_read")
    workshop.execute(
        "UPDATE budget SET next_slot_at = now() + interval '1.2 s' WHERE category = 'ads_read'"
    )
    workshop.deliver(audience_id)
    assert len(workshop.members()) == 1


def test_pinterest_sees_no_more_writes_than_the_limit(open_with: Callable[..., Workshop]) -> None:
    limit = 1_200  # a second's worth is 20: the pace shows without a long wait
    workshop = open_with(writes_per_minute=limit, records_per_request=1)
    workshop.simulator.behaviour.writes_per_minute = limit
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(170)))
    books = workshop.simulator.books
    assert books.max_writes_in_a_minute(TOKEN) <= limit
    times = sorted(write.received_at for write in books.writes())
    burst = max(sum(first <= time < first + 1 for time in times) for first in times)
    assert burst <= limit * (0.9 / 60) * (1 + 6) + 3  # six seconds of rest may be made up for
    assert times[-1] - times[0] > 1.0
    assert all(write.status == 200 for write in books.writes())
