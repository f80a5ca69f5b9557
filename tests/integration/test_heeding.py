"""What answers teach about the pace, and what the pace of a trial app is."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from app.due_lists import lists_due
from app.pinterest.heeding import heed
from app.pinterest.outcomes import Answer
from app.pinterest.pacing import Allowance
from app.pinterest.throttle import paused_until, read_pace, take_slot
from tests.workshop import Workshop, email_event, emails

Opens = Callable[..., Workshop]
REFUSED = Answer(429, {"code": 8, "message": "too many"})


def hear(workshop: Workshop, answer: Answer, category: str = "ads_write") -> None:
    connection_id = workshop.value("SELECT min(id) FROM connection")
    with workshop.transaction() as tx:
        heed(tx, connection_id, workshop.deployment.settings, answer, category)


def take(workshop: Workshop, connection_id: int = 1, category: str = "ads_write") -> float:
    with workshop.transaction() as tx:
        return take_slot(tx, connection_id, workshop.deployment.settings, category)


def budget_row(workshop: Workshop, connection_id: int = 1, category: str = "ads_write") -> Any:
    (row,) = workshop.rows(
        "SELECT *, extract(epoch FROM not_before - clock_timestamp()) AS rest FROM budget"
        " WHERE connection_id = :id AND category = :category",
        id=connection_id,
        category=category,
    )
    return row


def pass_time(workshop: Workshop, seconds: float) -> None:
    """Let the stored times of the budgets be so much older."""
    for column in ("next_slot_at", "not_before", "learnt_at", "day_began_at"):
        workshop.execute(
            f"UPDATE budget SET {column} = {column} - :passed * interval '1 s'", passed=seconds
        )


def test_a_429_halves_the_pace_and_pauses_its_category_alone(open_with: Opens) -> None:
    workshop = open_with(writes_per_minute=400)
    workshop.connect()
    hear(workshop, REFUSED)
    row = budget_row(workshop)
    assert row.learnt_per_minute == 200
    assert 10 < row.rest <= 30
    assert take(workshop) > 10
    assert take(workshop, category="ads_read") == 0
    assert workshop.value("SELECT not_before FROM connection") is None


def test_429s_of_requests_that_were_under_way_together_halve_once(open_with: Opens) -> None:
    workshop = open_with(writes_per_minute=400)
    workshop.connect()
    for _ in range(4):
        hear(workshop, REFUSED)
    assert budget_row(workshop).learnt_per_minute == 200
    pass_time(workshop, 40)  # the pause is over
    hear(workshop, REFUSED)
    assert budget_row(workshop).learnt_per_minute == 100


def test_a_pause_is_as_long_as_pinterest_says_and_none_shortens_it(workshop: Workshop) -> None:
    workshop.connect()
    hear(workshop, Answer(429, retry_after=600))
    hear(workshop, Answer(429, retry_after=5))
    assert 590 < budget_row(workshop).rest <= 600
    with workshop.transaction() as tx:
        until = paused_until(tx, 1, workshop.deployment.settings)
        assert paused_until(tx, 1, workshop.deployment.settings, "ads_read") is None
    assert until is not None
    assert abs(until - budget_row(workshop).not_before) < timedelta(seconds=1)


def test_an_answer_that_leaves_nothing_pauses_until_the_reset(workshop: Workshop) -> None:
    workshop.connect()
    hear(workshop, Answer(200, allowance=Allowance(None, 1, 30)))
    assert budget_row(workshop).not_before is None
    hear(workshop, Answer(200, allowance=Allowance(None, 0, 30)))
    assert 25 < budget_row(workshop).rest <= 30


def test_the_pace_comes_back_step_by_step_and_is_then_forgotten(open_with: Opens) -> None:
    workshop = open_with(writes_per_minute=400, patience=1_000)
    workshop.connect()
    hear(workshop, REFUSED)
    pass_time(workshop, 150)
    waits = [take(workshop) for _ in range(60)]
    assert budget_row(workshop).learnt_per_minute == 240  # two whole minutes, 5 percent each
    gap = waits[-1] - waits[-2]
    assert abs(gap - 60 / 0.9 / 240) < 0.05
    pass_time(workshop, 600)
    take(workshop)
    assert budget_row(workshop).learnt_per_minute is None


def test_a_limit_in_the_headers_is_kept_before_anything_is_refused(open_with: Opens) -> None:
    workshop = open_with(writes_per_minute=400, records_per_request=1, patience=0.5, slice=60)
    workshop.simulator.behaviour.writes_per_minute = 30
    audience_id = workshop.ready()
    assert budget_row(workshop).learnt_per_minute == 30
    workshop.stage(*emails(range(20)))
    workshop.flush(audience_id)
    workshop.deliver(audience_id)
    with workshop.transaction() as tx:
        pace = read_pace(tx, 1, workshop.deployment.settings)
    assert (pace.configured_per_minute, pace.per_minute) == (400, 30)
    assert all(write.status == 200 for write in workshop.simulator.books.writes())
    assert workshop.book(audience_id).waiting > 0  # the rest waits for slots two seconds apart


def test_a_refused_delivery_slows_the_connection_down(open_with: Opens) -> None:
    workshop = open_with(writes_per_minute=400)
    workshop.simulator.behaviour.rate_headers = False
    audience_id = workshop.ready()
    workshop.simulator.faults.script("rate_limited", reset=None)
    workshop.stage(email_event(1))
    workshop.flush(audience_id)
    workshop.deliver(audience_id)
    row = budget_row(workshop)
    assert (row.learnt_per_minute, row.rest > 10) == (200, True)
    assert workshop.attempts(audience_id)[-1] == ("ADD", 1, "refused")
    with workshop.transaction() as tx:
        assert lists_due(tx, workshop.deployment.settings) == []


def test_a_long_pause_holds_where_the_pauses_after_failures_are_short(open_with: Opens) -> None:
    workshop = open_with(backoff_most=300)
    audience_id = workshop.ready()
    workshop.simulator.faults.script("rate_limited", times=None, reset=3_000)
    workshop.stage(email_event(1))
    workshop.flush(audience_id)
    workshop.deliver(audience_id)
    with workshop.transaction() as tx:
        assert lists_due(tx, workshop.deployment.settings) == []
    assert take(workshop) > 2_900
    assert workshop.deliver(audience_id) is None  # the list has a pause of its own
    hear(workshop, Answer(429, retry_after=5))
    assert budget_row(workshop).rest > 2_900
    workshop.execute("UPDATE connection SET not_before = now() + interval '50 minutes'")
    workshop.execute("UPDATE budget SET not_before = NULL")
    workshop.execute("UPDATE customer_list SET not_before = NULL")
    workshop.deliver_all()
    assert len(workshop.patches()) == 1


def test_a_refused_read_pauses_reads_and_its_list_but_not_the_writes(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.stage(email_event(1))
    workshop.flush(audience_id)
    workshop.execute("UPDATE customer_list SET unknown_streak = 2")
    workshop.simulator.faults.script("rate_limited", operation="get_list", reset=50)
    workshop.deliver(audience_id)
    assert 40 < budget_row(workshop, category="ads_read").rest <= 50
    assert workshop.list_row(audience_id).not_before is not None
    assert take(workshop) == 0
    workshop.end_pauses()
    workshop.deliver_all()
    assert len(workshop.members()) == 1


def trial(open_with: Opens, **more: Any) -> Workshop:
    workshop = open_with(trial_app=True, **more)
    workshop.simulator.behaviour.trial = True
    return workshop


def days_of_slots(workshop: Workshop, days: float, *connection_ids: int) -> list[float]:
    """The moments of slots in seconds, each taken as soon as there is one, by turns."""
    now = 0.0
    taken: list[float] = []
    while now < days * 86_400:
        wait = take(workshop, connection_ids[len(taken) % len(connection_ids)])
        if wait <= workshop.deployment.settings.patience:
            taken.append(now + wait)
        else:
            wait -= workshop.deployment.settings.patience
            pass_time(workshop, wait)
            now += wait
    return taken


def test_a_trial_apps_writes_of_any_day_stay_below_300_however_many_connections(
    open_with: Opens,
) -> None:
    workshop = trial(open_with)
    taken = days_of_slots(workshop, 2, workshop.connect(), workshop.connect("second"))
    for first in taken:
        assert sum(first <= moment < first + 86_400 for moment in taken) <= 300
    assert len(taken) >= 2 * 265  # and the limit is made use of


def test_a_trial_app_moves_at_once_and_then_every_few_minutes(open_with: Opens) -> None:
    workshop = trial(open_with)
    taken = days_of_slots(workshop, 0.25, workshop.connect())
    assert taken[26] < 10  # what a new deployment waits for: lists and first uploads
    assert all(300 < later - sooner < 340 for sooner, later in pairwise(taken[30:]))


def test_a_spent_day_of_a_trial_app_burns_no_attempts(open_with: Opens) -> None:
    workshop = trial(open_with, records_per_request=1)
    passed = 0.0
    workshop.simulator.behaviour.clock = lambda: time.time() + passed
    audience_id = workshop.ready()
    workshop.stage(*emails(range(100)))
    workshop.flush(audience_id)
    for _ in range(6):
        workshop.deliver_all()
        row = workshop.list_row(audience_id)
        assert row.not_before is not None  # not due before there is a slot
        assert row.held_reason is None
        with workshop.transaction() as tx:
            pace = read_pace(tx, 1, workshop.deployment.settings)
        assert pace.paused_until is not None
        assert (pace.day_limit, pace.day_used) == (300, len(workshop.simulator.books.writes()))
        passed += 3_600
        pass_time(workshop, 3_600)
        workshop.execute("UPDATE customer_list SET not_before = not_before - interval '1 hour'")
    posts = workshop.patches()
    assert 22 + 5 * 11 <= len(posts) <= 30 + 5 * 12
    assert all(write.status == 200 for write in workshop.simulator.books.writes())
    assert workshop.list_row(audience_id).charged == 1 + len(posts)
    workshop.assert_books_balance()


def test_a_refused_trial_app_rests_as_a_whole_for_up_to_a_day(open_with: Opens) -> None:
    workshop = trial(open_with)
    workshop.connect()
    second = workshop.connect("second")
    hear(workshop, Answer(429, retry_after=40_000))
    assert take(workshop, second) > 39_000
    with workshop.transaction() as tx:
        assert paused_until(tx, second, workshop.deployment.settings) is not None
    pass_time(workshop, 40_000)
    hear(workshop, Answer(429, retry_after=10**12))
    assert 86_000 < take(workshop, second) <= 86_400
    assert take(workshop, second, "ads_read") == 0


def test_429s_of_a_trial_app_that_were_under_way_together_halve_once(open_with: Opens) -> None:
    workshop = trial(open_with, writes_per_minute=400)
    workshop.connect()
    for _ in range(4):
        hear(workshop, REFUSED)
    assert budget_row(workshop).learnt_per_minute == 200


def test_lists_of_a_trial_app_that_rests_are_not_due(open_with: Opens) -> None:
    workshop = trial(open_with)
    workshop.connect()
    workshop.activate()
    with workshop.transaction() as tx:
        assert lists_due(tx, workshop.deployment.settings) != []
    hear(workshop, Answer(429, retry_after=40_000))
    with workshop.transaction() as tx:
        assert lists_due(tx, workshop.deployment.settings) == []


@pytest.mark.parametrize("column", ["next_slot_at", "not_before"])
def test_a_trial_apps_time_impossibly_far_ahead_freezes_nothing(
    open_with: Opens, column: str
) -> None:
    workshop = trial(open_with)
    workshop.connect()
    take(workshop)
    workshop.execute(f"UPDATE budget SET {column} = now() + interval '30 days'")
    assert take(workshop) == 0
