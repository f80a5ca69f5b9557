"""Lists take turns: a backlog of one starves no other, of its connection or of another one."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from app.audiences import activate
from app.flush import flush_once
from tests.integration.fleet import Fleet, fleet
from tests.workshop import TOKEN, Workshop, email_event, emails

FEW_SLOTS = 6
Opens = Callable[..., Workshop]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def stand_ready(open_with: Opens, names: str, **pace: float) -> tuple[Workshop, dict[str, int]]:
    """Audiences whose lists stand at Pinterest, made in haste; from then on the pace counts."""
    hasty = open_with()
    connection_id = hasty.connect(forward_device_id=False)
    ids = {name: hasty.activate(name, name) for name in names}
    hasty.deliver_all()
    hasty.execute(
        "UPDATE budget SET next_slot_at = now() WHERE connection_id = :c", c=connection_id
    )
    return open_with(records_per_request=1, **pace), ids


def cut(workshop: Workshop, name: str, audience_id: int, count: int, first: int = 0) -> int:
    """Cut an upload of so many batches; returns the list's id."""
    workshop.stage(*emails(range(first, first + count), audience=name))
    assert workshop.flush(audience_id) is not None
    return workshop.list_id(audience_id)


def patches(workshop: Workshop, name: str) -> list[float]:
    listed = workshop.simulator.books.list_named(f"{name}-EMAIL")
    writes = workshop.simulator.books.writes(listed["id"])
    return [write.received_at for write in writes if write.operation == "patch"]


def slots_waited(
    workshop: Workshop, running: Fleet, name: str, audience_id: int, number: int
) -> int:
    """How many requests of A go out between the cut of a single batch and its own request."""
    before = len(patches(workshop, name))
    workshop.stage(email_event(number, audience=name))
    began = time.time()
    assert workshop.flush(audience_id) is not None
    running.ring(workshop.list_id(audience_id))
    until(lambda: len(patches(workshop, name)) > before)
    sent = patches(workshop, name)[before]
    return sum(began < moment < sent for moment in patches(workshop, "A"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_backlog_lets_single_uploads_pass_within_a_few_slots(
    open_with: Opens, workers: int
) -> None:
    """At 60 writes a minute, as a Pinterest that limits to as many sees it."""
    workshop, ids = stand_ready(open_with, "ABC", writes_per_minute=60)
    workshop.simulator.behaviour.writes_per_minute = 60
    backlog = cut(workshop, "A", ids["A"], 600)
    with fleet(workshop, workers) as running:
        running.ring(backlog)
        until(lambda: len(patches(workshop, "A")) >= 2)
        waited = [slots_waited(workshop, running, name, ids[name], 1) for name in "BC"]
    assert max(waited) <= FEW_SLOTS, waited
    books = workshop.simulator.books
    assert books.max_writes_in_a_minute(TOKEN) <= 60
    assert all(write.status == 200 for write in books.writes())
    workshop.assert_books_balance()


@pytest.mark.parametrize("workers", [1, 3])
def test_turns_stay_fair_at_twenty_times_the_pace(open_with: Opens, workers: int) -> None:
    limit = 1_200
    workshop, ids = stand_ready(open_with, "ABC", writes_per_minute=limit, slice=0.1)
    workshop.simulator.behaviour.writes_per_minute = limit
    backlog = cut(workshop, "A", ids["A"], 600)
    with fleet(workshop, workers) as running:
        running.ring(backlog)
        until(lambda: len(patches(workshop, "A")) >= 10)
        waited = [
            slots_waited(workshop, running, name, ids[name], number)
            for number in range(5)
            for name in "BC"
        ]
        assert len(patches(workshop, "A")) < 600  # the backlog lasted
    assert sorted(waited)[len(waited) // 2] <= FEW_SLOTS, waited
    assert max(waited) <= 3 * FEW_SLOTS, waited  # a slot is 56 ms: machines stumble longer
    times = sorted(write.received_at for write in workshop.simulator.books.writes())
    for first in times:
        window = sum(first <= moment < first + 3 for moment in times)
        assert window <= limit / 60 * 0.9 * (3 + 6) + 3
    assert workshop.simulator.books.max_writes_in_a_minute(TOKEN) <= limit


def test_lists_with_backlogs_share_the_slots_evenly(open_with: Opens) -> None:
    workshop, ids = stand_ready(open_with, "ABCD", writes_per_minute=1_200, slice=0.1)
    lists = [cut(workshop, name, ids[name], 100) for name in "ABCD"]
    with fleet(workshop, 2) as running:
        for list_id in lists:
            running.ring(list_id)
        until(lambda: sum(len(patches(workshop, name)) for name in "ABCD") >= 100)
    shares = [len(patches(workshop, name)) for name in "ABCD"]
    assert min(shares) >= 10, shares


def test_many_backlogs_of_a_slow_connection_leave_workers_for_another(open_with: Opens) -> None:
    workshop, ids = stand_ready(open_with, "ABCDEFGH", writes_per_minute=60)
    workshop.connect("fast", writes_per_minute=100_000, forward_device_id=False)
    other = activate(workshop.deployment, "Y", "Y", "fast").audience_id
    slow = [cut(workshop, name, ids[name], 20) for name in ids]
    with fleet(workshop, 2) as running:
        for list_id in slow:
            running.ring(list_id)
        until(lambda: len(patches(workshop, "A")) >= 1)
        began = time.monotonic()
        running.ring(workshop.list_id(other))
        until(lambda: workshop.list_row(other).pinterest_audience_id is not None)
        workshop.stage(*emails(range(100), audience="Y"))
        workshop.execute("UPDATE audience SET flush_requested_at = now() WHERE id = :a", a=other)
        assert flush_once(workshop.deployment, other) is not None
        running.ring(workshop.list_id(other))
        until(lambda: len(patches(workshop, "Y")) == 100)
        took = time.monotonic() - began
    assert took < 6, took  # 8 lists that kept both workers would take 9 s a round
