"""Observing: lists are looked at in their time, within the budget, and what was seen is told."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.audiences import activate, deactivate, pause
from app.connections import add_connection
from app.evidence import note_look, thin_observations_once
from app.observing import observe_due_once
from app.pinterest.oauth import read_tokens
from app.resuming import check_held_once
from app.sandbox.pinterest import DEFAULT_APP_ID, DEFAULT_APP_SECRET
from app.showing import ShownList, read_shown
from app.status import read_status
from app.witness import Cause, Counters, Finding, Ledger, compare
from tests.workshop import ACCOUNT, TOKEN, Workshop, email_event, emails


def reads(workshop: Workshop, operation: str = "get_list") -> int:
    return sum(r.operation == operation for r in workshop.simulator.books.requests())


def observe(workshop: Workshop) -> int:
    return observe_due_once(workshop.deployment)


def time_passes(workshop: Workshop, **hours: float) -> None:
    """Let what was seen, sent and activated be so many hours older."""
    (back,) = hours.values()
    for table, column in (
        ("customer_list", "observe_not_before"),
        ("customer_list", "unknown_at"),
        ("audience", "last_upload_at"),
        ("audience", "activated_at"),
        ("attempt", "started_at"),
        ("attempt", "settled_at"),
    ):
        workshop.execute(
            f"UPDATE {table} SET {column} = {column} - :back * interval '1 hour'", back=back
        )


def shown(workshop: Workshop, audience_id: int, list_type: str = "EMAIL") -> ShownList:
    found = read_shown(workshop.deployment, audience_id)
    return next(each for each in found.lists if each.list_type == list_type and each.current)


def notes(workshop: Workshop, list_type: str = "EMAIL") -> str:
    (audience,) = read_status(workshop.deployment).audiences
    return "; ".join(
        note for each in audience.lists if each.list_type == list_type for note in each.notes
    )


def newest(workshop: Workshop, audience_id: int) -> Any:
    return workshop.rows(
        "SELECT * FROM observation WHERE customer_list_id = :l ORDER BY id DESC LIMIT 1",
        l=workshop.list_id(audience_id),
    )[0]


def test_a_look_keeps_status_size_and_counters(workshop: Workshop) -> None:
    workshop.simulator.behaviour.processing_seconds = 0
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(120)))
    assert observe(workshop) == 2  # EMAIL and MAID
    seen = newest(workshop, audience_id)
    assert (seen.list_status, seen.audience_status, seen.audience_size) == ("READY", "READY", 121)
    assert (seen.batches, seen.uploaded_records, seen.removed_records) == (2, 121, 0)
    found = shown(workshop, audience_id)
    assert found.standing == "ready, 121 people matched"
    assert found.counters == "the counters are exactly what was sent"
    assert found.history[0]["uploaded_records"] == 121


def test_each_list_is_looked_at_hourly_after_an_upload_and_daily_else(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    assert observe(workshop) == 1
    assert observe(workshop) == 0
    time_passes(workshop, hours=1.1)
    assert observe(workshop) == 1  # the activation is still fresh
    time_passes(workshop, hours=30)
    assert observe(workshop) == 1
    time_passes(workshop, hours=23)
    assert observe(workshop) == 0
    workshop.upload(audience_id, email_event(1))
    assert observe(workshop) == 1  # an upload makes looks frequent at once
    time_passes(workshop, hours=1.1)
    assert observe(workshop) == 1
    time_passes(workshop, hours=25)
    assert observe(workshop) == 1
    time_passes(workshop, hours=1.1)
    assert observe(workshop) == 0


def test_a_paused_audience_is_looked_at_and_a_deactivated_or_removed_one_is_not(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    pause(workshop.deployment, audience_id)
    assert observe(workshop) == 1
    time_passes(workshop, hours=30)
    workshop.execute("UPDATE connection SET removed_at = now()")
    assert observe(workshop) == 0
    workshop.execute("UPDATE connection SET removed_at = NULL")
    deactivate(workshop.deployment, audience_id)
    assert observe(workshop) == 0


def test_a_list_that_is_not_made_yet_is_not_asked_for(workshop: Workshop) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    assert observe(workshop) == 0
    assert shown(workshop, audience_id).standing == "not yet created at Pinterest"
    assert notes(workshop) == "not yet created at Pinterest"


def test_a_look_time_far_ahead_after_the_clock_was_set_back_counts_as_now(
    workshop: Workshop,
) -> None:
    workshop.ready(forward_device_id=False)
    workshop.execute("UPDATE customer_list SET observe_not_before = now() + interval '5 hours'")
    assert observe(workshop) == 1


def test_looking_never_touches_the_lane(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    before = workshop.list_row(audience_id)
    for fault in ("server_error", "rate_limited", "forbidden", "drop_before", "html", "conflict"):
        workshop.simulator.faults.script(fault, operation="get_list")
        assert observe(workshop) == 0
        time_passes(workshop, hours=30)
        assert workshop.simulator.faults.remaining() == 0
        workshop.execute("UPDATE budget SET not_before = NULL, next_slot_at = NULL")
        workshop.execute("UPDATE connection SET held_reason = NULL, held_at = NULL")
    after = workshop.list_row(audience_id)
    for name in ("epoch", "lease_until", "not_before", "failures", "held_reason", "charged"):
        assert getattr(after, name) == getattr(before, name), name


def test_without_a_slot_the_look_comes_later_and_is_not_used_up(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(reads_per_minute=1, patience=0.1)
    workshop.ready(forward_device_id=False)
    assert observe(workshop) == 1  # of two reads the second has no slot: the list alone is seen
    assert reads(workshop, "get_audience") == 0
    time_passes(workshop, hours=30)
    assert observe(workshop) == 0
    workshop.execute("UPDATE budget SET next_slot_at = NULL")
    assert observe(workshop) == 1


def test_a_429_pauses_reading_and_uploads_go_on(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.simulator.faults.script("rate_limited", reset=50)
    asked = reads(workshop)
    assert observe(workshop) == 0
    assert reads(workshop) == asked + 1  # the second list is not even asked for
    assert observe(workshop) == 0
    assert reads(workshop) == asked + 1
    workshop.upload(audience_id, email_event(1))
    assert len(workshop.members()) == 1
    workshop.execute("UPDATE budget SET not_before = NULL, next_slot_at = NULL")
    workshop.execute("UPDATE customer_list SET observe_not_before = NULL")
    assert observe(workshop) == 2


def test_a_403_holds_the_connection(workshop: Workshop) -> None:
    workshop.ready()
    workshop.simulator.faults.script("forbidden")
    assert observe(workshop) == 0
    assert workshop.value("SELECT held_reason FROM connection") == "not permitted"
    assert observe(workshop) == 0


def test_a_refused_token_without_a_refresh_token_holds_the_connection(workshop: Workshop) -> None:
    workshop.ready()
    workshop.simulator.tokens.expire(TOKEN)
    assert observe(workshop) == 0
    assert workshop.value("SELECT held_reason FROM connection") == "log in again"


def test_a_token_that_expired_is_renewed_and_the_look_follows(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(app_id=DEFAULT_APP_ID, app_secret=DEFAULT_APP_SECRET)
    tokens = read_tokens(
        {"access_token": TOKEN, "refresh_token": TOKEN.replace("pina_", "pinr_")},
        workshop.value("SELECT clock_timestamp()"),
    )
    assert tokens is not None
    add_connection(workshop.deployment, "main", ACCOUNT, tokens, forward_device_id=False)
    workshop.activate()
    workshop.deliver_all()
    workshop.simulator.tokens.expire(TOKEN)
    assert observe(workshop) == 0
    assert workshop.value("SELECT held_reason FROM connection") is None
    assert observe(workshop) == 1


def test_connections_take_turns_so_that_one_with_many_lists_holds_up_nobody(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, audiences in (("crowd", 3), ("lone", 1)):
        workshop.connect(name, forward_device_id=False)
        for number in range(audiences):
            activate(workshop.deployment, f"{name}{number}", f"{name}{number}", name)
    workshop.deliver_all()
    monkeypatch.setattr("app.observing.MOST_LOOKS", 2)
    assert observe(workshop) == 2
    looked_at = workshop.rows(
        "SELECT c.name FROM customer_list l JOIN audience a ON a.id = l.audience_id"
        " JOIN connection c ON c.id = a.connection_id WHERE observe_not_before IS NOT NULL"
    )
    assert sorted(row.name for row in looked_at) == ["crowd", "lone"]


def test_a_list_that_vanished_is_held_and_goes_on_should_it_come_back(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    listed = workshop.list_row(audience_id).pinterest_list_id
    workshop.simulator.faults.script("gone", operation="get_list", list_id=listed, times=1)
    assert observe(workshop) == 1  # the MAID list is well
    assert workshop.list_row(audience_id).held_reason == "gone at Pinterest"
    assert "pinfold audience rebuild" in shown(workshop, audience_id).standing
    assert check_held_once(workshop.deployment) == 1
    assert workshop.list_row(audience_id).held_reason is None


def test_two_workers_never_look_at_the_same_list(workshop: Workshop) -> None:
    workshop.connect()
    for number in range(6):
        activate(workshop.deployment, f"VIP{number}", f"4100{number}", None)
    workshop.deliver_all()
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda _: observe(workshop), range(4)))
    assert sum(seen) == 12
    assert reads(workshop) == 12


def test_an_audience_that_vanished_is_noted_and_uploads_go_on(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.faults.script("gone", operation="get_audience")
    assert observe(workshop) == 1
    assert workshop.list_row(audience_id).held_reason is None
    for text in (shown(workshop, audience_id).standing, notes(workshop)):
        assert "its audience is gone at Pinterest" in text
    workshop.upload(audience_id, email_event(1))
    assert len(workshop.members()) == 1


@pytest.mark.parametrize(
    ("processing", "people", "words"),
    [
        (3600, 200, "up to 24 hours before a size shows"),
        (0, 200, "ready, 201 people matched"),
        (0, 20, "under 100 matched people: it cannot be targeted"),
    ],
)
def test_the_states_of_an_audience_are_told(
    workshop: Workshop, processing: float, people: int, words: str
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.behaviour.processing_seconds = processing
    workshop.upload(audience_id, *emails(range(people)))
    observe(workshop)
    assert words in shown(workshop, audience_id).standing
    assert ("under 100" in notes(workshop)) == ("under 100" in words)


def test_a_list_without_an_audience_yet_says_so(workshop: Workshop) -> None:
    workshop.simulator.behaviour.refuse_small_audience = True
    audience_id = workshop.ready(forward_device_id=False)
    assert observe(workshop) == 1
    assert "no audience of it yet" in shown(workshop, audience_id).standing
    assert "no audience of it yet" in notes(workshop)


# The witness.


def unanswered(workshop: Workshop, audience_id: int, fault: str, people: range) -> None:
    """One request ends without an answer; the batch is then sent again and accepted."""
    workshop.simulator.faults.script(fault)
    workshop.stage(*emails(people))
    workshop.flush(audience_id)
    workshop.deliver(audience_id)
    workshop.end_pauses()
    workshop.deliver_all()
    assert ("ADD", len(people), "unknown") in workshop.attempts(audience_id)


def finding(workshop: Workshop, audience_id: int) -> tuple[str, int, int]:
    workshop.execute("UPDATE customer_list SET observe_not_before = NULL")
    observe(workshop)
    found = shown(workshop, audience_id).finding
    assert found is not None
    return found.cause.value, found.uploaded, found.landed


@pytest.mark.parametrize(
    ("fault", "expected", "words"),
    [
        ("drop_before", ("did not land", 0, 0), "1 request without an answer had not landed"),
        ("drop_after", ("landed", 3, 1), "as if 1 of 1 request without an answer had landed"),
    ],
)
def test_after_an_unknown_outcome_the_counters_tell_whether_it_landed(
    workshop: Workshop, fault: str, expected: tuple[str, int, int], words: str
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    unanswered(workshop, audience_id, fault, range(3))
    assert finding(workshop, audience_id) == expected
    assert words in shown(workshop, audience_id).counters
    assert words in notes(workshop)
    time_passes(workshop, hours=30)
    assert words not in notes(workshop)  # a day later it is no news


def test_an_unknown_outcome_is_looked_at_once_the_quarantine_is_over(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    observe(workshop)
    unanswered(workshop, audience_id, "drop_before", range(3))
    assert observe(workshop) == 0
    workshop.execute("UPDATE customer_list SET unknown_at = unknown_at - interval '20 minutes'")
    workshop.execute(
        "UPDATE customer_list SET observe_not_before = observe_not_before - interval '50 minutes'"
    )
    assert observe(workshop) == 1
    assert observe(workshop) == 0


def test_another_writer_is_told_with_what_is_not_ours(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.upload(audience_id, *emails(range(3)))
    listed = workshop.list_row(audience_id).pinterest_list_id
    somebody = [f"{number:040x}" for number in range(50)]
    workshop.simulator.books.write_as_another(listed, add=somebody, remove=somebody[:7])
    assert finding(workshop, audience_id) == ("another writer", 50, 0)
    for text in (shown(workshop, audience_id).counters, notes(workshop)):
        assert "2 batches, 50 records added, 7 records removed" in text
        assert "somebody else writes" in text


def test_counters_that_jump_are_explained_by_nothing(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    listed = workshop.list_row(audience_id).pinterest_list_id
    workshop.simulator.books.nudge_counters(listed, uploaded=50)
    assert finding(workshop, audience_id) == ("unexplained", 50, 0)
    assert "which no request explains" in notes(workshop)


def test_counters_that_come_late_are_behind_and_then_exact(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.behaviour.counter_delay = 3_600
    workshop.upload(audience_id, *emails(range(3)))
    assert finding(workshop, audience_id) == ("behind", -3, 0)
    assert "they may come late" in notes(workshop)
    workshop.simulator.books.settle_counters()
    assert finding(workshop, audience_id) == ("exact", 0, 0)
    assert "counters" not in notes(workshop)


def test_a_request_that_was_not_counted_leaves_the_counters_behind(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    listed = workshop.list_row(audience_id).pinterest_list_id
    workshop.simulator.books.skip_counting(listed)
    workshop.upload(audience_id, *emails(range(3)))
    workshop.upload(audience_id, *emails(range(3, 5)))
    assert finding(workshop, audience_id) == ("behind", -3, 0)
    assert "1 batches, 3 records added" in shown(workshop, audience_id).counters


def test_floats_and_missing_counters_do_no_harm(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.behaviour.float_counters = True
    assert finding(workshop, audience_id) == ("exact", 0, 0)
    workshop.simulator.behaviour.unknown_status = "EXPIRED"
    workshop.simulator.behaviour.exceptions = {"42": "ann@example.org is invalid"}
    finding(workshop, audience_id)
    assert shown(workshop, audience_id).history[0]["exceptions"] == {"42": "[removed] is invalid"}
    assert "EXPIRED" in shown(workshop, audience_id).standing
    workshop.simulator.faults.script("garbage", operation="get_list")
    workshop.execute("UPDATE customer_list SET observe_not_before = NULL")
    observe(workshop)
    assert newest(workshop, audience_id).finding is None


def test_a_request_answered_during_the_look_may_be_counted_or_not(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    asked_at = workshop.value("SELECT clock_timestamp()")
    workshop.upload(audience_id, *emails(range(3)))
    for batches, records in ((1, 1), (2, 4)):
        values = {"batches": batches, "uploaded_records": records, "removed_records": 0}
        list_id = workshop.list_id(audience_id)
        found = note_look(workshop.deployment, list_id, asked_at, values)
        assert found is not None
        assert found.cause is Cause.EXACT


def test_no_transaction_is_open_while_the_counters_are_compared(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    open_ones = []

    def compare_and_see(observed: Counters, ledger: Ledger) -> Finding:
        open_ones.append(
            workshop.value(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
            )
        )
        return compare(observed, ledger)

    monkeypatch.setattr("app.evidence.compare", compare_and_see)
    assert finding(workshop, audience_id) == ("exact", 0, 0)
    assert open_ones == [0]


# Giving back.


def a_day_after_an_unknown_outcome(workshop: Workshop, fault: str = "drop_before") -> int:
    audience_id = workshop.ready(forward_device_id=False)
    unanswered(workshop, audience_id, fault, range(3))
    assert workshop.list_row(audience_id).charged == 7
    time_passes(workshop, hours=25)
    return audience_id


def test_what_did_not_land_is_given_back_after_a_day_if_that_is_set(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(give_back_unknown=True)
    audience_id = a_day_after_an_unknown_outcome(workshop)
    finding(workshop, audience_id)
    assert workshop.list_row(audience_id).charged == 4
    assert ("ADD", 3, "refused") in workshop.attempts(audience_id)
    detail = workshop.value("SELECT detail FROM attempt WHERE state = 'refused'")
    assert "given back: a day later the counters were exactly what was accepted" in detail
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()
    assert finding(workshop, audience_id) == ("exact", 0, 0)


def test_nothing_is_given_back_unless_it_is_set(workshop: Workshop) -> None:
    audience_id = a_day_after_an_unknown_outcome(workshop)
    assert finding(workshop, audience_id) == ("did not land", 0, 0)
    assert workshop.list_row(audience_id).charged == 7


@pytest.mark.parametrize(
    "doubt", ["landed", "another writer", "younger", "by our amount", "under way"]
)
def test_nothing_is_given_back_in_doubt(open_with: Callable[..., Workshop], doubt: str) -> None:
    workshop = open_with(give_back_unknown=True)
    fault = "drop_after" if doubt == "landed" else "drop_before"
    audience_id = a_day_after_an_unknown_outcome(workshop, fault)
    listed = workshop.list_row(audience_id).pinterest_list_id
    if doubt == "another writer":
        workshop.simulator.books.nudge_counters(listed, batches=1, uploaded=8)
    elif doubt == "by our amount":
        workshop.simulator.books.nudge_counters(listed, batches=1, uploaded=3)
    elif doubt == "younger":
        workshop.execute(
            "UPDATE attempt SET settled_at = settled_at + interval '2 hours'"
            " WHERE state = 'unknown'"
        )
    elif doubt == "under way":
        workshop.execute(
            "INSERT INTO attempt (customer_list_id, purpose, record_count, epoch)"
            " VALUES (:l, 'ADD', 2, 0)",
            l=workshop.list_id(audience_id),
        )
        workshop.execute("UPDATE customer_list SET charged = charged + 2")
    before = workshop.list_row(audience_id).charged
    finding(workshop, audience_id)
    assert workshop.list_row(audience_id).charged == before
    workshop.assert_books_balance()


def test_late_counters_of_a_newer_upload_do_not_make_what_landed_look_lost(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(give_back_unknown=True)
    audience_id = a_day_after_an_unknown_outcome(workshop, "drop_after")
    workshop.simulator.behaviour.counter_delay = 3_600
    workshop.upload(audience_id, *emails(range(20, 23)))  # as many as landed, counted later
    assert finding(workshop, audience_id) == ("did not land", 0, 0)
    assert workshop.list_row(audience_id).charged == 10
    workshop.assert_charges_cover_what_was_sent()


def test_an_unconfirmed_creation_keeps_its_charge(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with(give_back_unknown=True)
    workshop.connect(forward_device_id=False)
    audience_id = workshop.activate()
    workshop.simulator.faults.script("drop_after", operation="create_list")
    workshop.deliver(audience_id)
    workshop.end_quarantine()
    workshop.deliver_all()
    time_passes(workshop, hours=25)
    assert finding(workshop, audience_id) == ("exact", 0, 0)
    assert workshop.list_row(audience_id).charged == 1
    workshop.assert_charges_cover_what_was_sent()


# The history.


def test_the_cap_in_sight_is_told_from_half_of_it_on(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False, record_cap=20)
    workshop.upload(audience_id, *emails(range(5)))
    assert "percent" not in notes(workshop)
    assert "6 of 20 records sent, 6 a day: full about" in shown(workshop, audience_id).sent
    workshop.upload(audience_id, *emails(range(5, 10)))
    assert "over 50 percent of the cap: 11 of 20 records sent" in notes(workshop)
    assert 'pinfold audience roll-over "VIP"' in shown(workshop, audience_id).sent
    workshop.upload(audience_id, *emails(range(10, 20)))
    assert "full: 20 records were sent" in notes(workshop)
    assert "percent" not in notes(workshop)


def test_old_observations_are_thinned_to_one_a_day(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    list_id = workshop.list_id(audience_id)
    workshop.execute("DELETE FROM observation")
    workshop.execute(
        "INSERT INTO observation (customer_list_id, observed_at, batches)"
        " SELECT :l, date_trunc('day', now()) - interval '40 days' + n * interval '6 hours', n"
        " FROM generate_series(0, 11) AS n",
        l=list_id,
    )
    workshop.execute("INSERT INTO observation (customer_list_id) VALUES (:l), (:l)", l=list_id)
    assert thin_observations_once(workshop.deployment) == 9
    assert thin_observations_once(workshop.deployment) == 0
    kept = workshop.rows("SELECT batches FROM observation WHERE batches IS NOT NULL ORDER BY id")
    assert [row.batches for row in kept] == [3, 7, 11]
    assert workshop.value("SELECT count(*) FROM observation") == 5
