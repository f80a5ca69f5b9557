"""The due check: what Postgres finds due is what the pure rule says."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.audiences import deactivate
from app.due import audiences_due, check_due_once
from app.due_lists import lists_due
from app.flush_rule import facts_of, flush_reason
from tests.workshop import Workshop, device_event, email_event, emails

HOURS = st.sampled_from([-9.0, -3.5, -3.01, -2.99, -1.0, 0.0, 2.99, 3.01, 9.0])
SITUATION = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["active", "active", "active", "paused", "deactivated"]),
        "waiting": st.sampled_from([[], [1], [2, 3], [4, 5], [10]]),
        "last_upload": st.none() | HOURS,
        "activated": HOURS,
        "asked": st.booleans(),
        "drain_to": st.sampled_from([None, "oldest", "newest", "passed"]),
        "lane": st.sampled_from([0, 0, 0, 1]),
        "held_lane": st.sampled_from([0, 0, 5, 20, 21]),
        "lease": st.sampled_from([None, None, -1, 30, 10_000]),
        "pause": st.sampled_from([None, None, -1, 30, 100_000]),
        "held_connection": st.booleans() | st.just(False),
        "flush_messages": st.sampled_from([None, 5]),
        "flush_age": st.sampled_from([None, 3_600.0]),
    }
)


def arrange(workshop: Workshop, audience_id: int, situation: dict[str, Any]) -> None:
    """Write a situation straight into the tables."""
    workshop.execute("TRUNCATE staged_chunk, batch, upload")
    workshop.execute(
        "UPDATE audience SET state = :state, flush_requested_at = CASE WHEN :asked THEN now() END,"
        " last_upload_at = now() + :last_upload * interval '1 hour',"
        " activated_at = now() + :activated * interval '1 hour',"
        " lease_until = now() + :lease * interval '1 s',"
        " not_before = now() + :pause * interval '1 s'",
        **{
            name: situation[name]
            for name in ("state", "asked", "last_upload", "activated", "lease", "pause")
        },
    )
    workshop.execute(
        "UPDATE connection SET flush_messages = :m, flush_age = :a,"
        " held_reason = CASE WHEN :h THEN 'x' END, held_at = CASE WHEN :h THEN now() END",
        m=situation["flush_messages"],
        a=situation["flush_age"],
        h=situation["held_connection"],
    )
    for messages in situation["waiting"]:
        workshop.execute(
            "INSERT INTO staged_chunk (audience_id, message_count, email_count, maid_count, body)"
            " VALUES (:a, :m, :m, 0, '')",
            a=audience_id,
            m=messages,
        )
    edge = {
        "oldest": "min(id)",
        "newest": "max(id)",
        "passed": "min(id) - 1",
        None: "min(NULL::bigint)",
    }
    workshop.execute(
        f"UPDATE audience SET drain_to = (SELECT {edge[situation['drain_to']]} FROM staged_chunk)"
    )
    for list_type, records in (("EMAIL", situation["lane"]), ("MAID", situation["held_lane"])):
        workshop.execute(
            "WITH u AS (INSERT INTO upload (audience_id, reason, message_count, email_read,"
            " email_not_forwarded, email_folded, maid_read, maid_not_forwarded, maid_folded)"
            " VALUES (:a, 'age', 0, 0, 0, 0, 0, 0, 0) RETURNING id)"
            "INSERT INTO batch (upload_id, customer_list_id, operation, record_count, payload)"
            " SELECT u.id, :l, 'ADD', :r, '' FROM u WHERE :r > 0",
            a=audience_id,
            l=workshop.list_id(audience_id, list_type),
            r=records,
        )


@pytest.fixture
def half_held(open_with: Callable[..., Workshop]) -> Workshop:
    """One audience whose MAID list is held and whose EMAIL list is not."""
    workshop = open_with(flush_messages=10, lane_limit=20)
    workshop.connect()
    workshop.activate()
    workshop.execute(
        "UPDATE customer_list SET held_reason = 'x', held_at = now() WHERE list_type = 'MAID'"
    )
    return workshop


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(situation=SITUATION)
def test_postgres_finds_due_exactly_what_the_rule_says(
    half_held: Workshop, situation: dict[str, Any]
) -> None:
    workshop = half_held
    audience_id = workshop.value("SELECT id FROM audience")
    arrange(workshop, audience_id, situation)
    s = workshop.deployment.settings
    with workshop.transaction() as tx:
        found = audiences_due(tx, s)
        expected = flush_reason(facts_of(tx, audience_id, s)) is not None
    free = situation["lease"] in (None, -1, 10_000) and situation["pause"] in (None, -1, 100_000)
    assert found == ([audience_id] if expected and free else [])


def test_99_999_messages_wait_and_100_000_flush(workshop: Workshop) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    insert = (
        "INSERT INTO staged_chunk (audience_id, message_count, email_count, maid_count, body)"
        " VALUES (:a, :m, :m, 0, '')"
    )
    for _ in range(9):
        workshop.execute(insert, a=audience_id, m=10_000)
    workshop.execute(insert, a=audience_id, m=9_999)
    s = workshop.deployment.settings
    with workshop.transaction() as tx:
        assert audiences_due(tx, s) == []
    workshop.execute(insert, a=audience_id, m=1)
    with workshop.transaction() as tx:
        assert audiences_due(tx, s) == [audience_id]


def test_an_audience_that_never_uploaded_counts_its_age_from_the_activation(
    workshop: Workshop,
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(1))
    s = workshop.deployment.settings
    workshop.execute("UPDATE audience SET activated_at = now() - interval '2 h 59 min'")
    with workshop.transaction() as tx:
        assert audiences_due(tx, s) == []
    workshop.execute("UPDATE audience SET activated_at = now() - interval '3 h 1 s'")
    with workshop.transaction() as tx:
        assert audiences_due(tx, s) == [audience_id]


def test_of_two_checks_at_once_one_looks(workshop: Workshop) -> None:
    workshop.ready()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: check_due_once(workshop.deployment), range(2)))
    assert sum(due is not None for due in found) == 1


def test_checks_that_piled_up_end_at_once_and_the_next_interval_looks_again(
    workshop: Workshop,
) -> None:
    workshop.ready()
    assert check_due_once(workshop.deployment) is not None
    assert check_due_once(workshop.deployment) is None
    workshop.execute("UPDATE sweep SET finished_at = finished_at - interval '15 s'")
    assert check_due_once(workshop.deployment) is not None


def test_a_check_that_ended_in_the_future_stops_none_of_those_that_follow(
    workshop: Workshop,
) -> None:
    """The clock was set back: looking again must not wait until it has caught up."""
    workshop.ready()
    check_due_once(workshop.deployment)
    workshop.execute("UPDATE sweep SET finished_at = now() + interval '2 h'")
    assert check_due_once(workshop.deployment) is not None


def test_one_check_finds_what_is_to_flush_and_what_is_to_deliver(workshop: Workshop) -> None:
    first = workshop.ready()
    second = workshop.activate("31002", "Other")
    workshop.deliver_all()
    workshop.stage(email_event(1))
    workshop.flush(first)
    workshop.stage(email_event(1, audience="31002"))
    workshop.execute("UPDATE audience SET flush_requested_at = now() WHERE id = :a", a=second)
    workshop.stage(email_event(2))  # younger, and its lane is not empty
    due = check_due_once(workshop.deployment)
    assert due is not None
    assert due.audience_ids == [second]
    assert due.list_ids == [workshop.list_id(first)]


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ("SELECT 1", True),
        ("UPDATE customer_list SET lease_until = now() + interval '30 s'", False),
        ("UPDATE customer_list SET lease_until = now() - interval '1 s'", True),
        ("UPDATE customer_list SET lease_until = now() + interval '2 h'", True),
        ("UPDATE customer_list SET not_before = now() + interval '30 min'", False),
        ("UPDATE customer_list SET not_before = now() + interval '1 day'", True),
        ("UPDATE customer_list SET held_reason = 'x', held_at = now()", False),
        ("UPDATE connection SET held_reason = 'x', held_at = now()", False),
        ("UPDATE connection SET not_before = now() + interval '30 min'", False),
        ("UPDATE connection SET not_before = now() + interval '1 day'", True),
        ("UPDATE budget SET not_before = now() + interval '30 min'", False),
        ("UPDATE budget SET not_before = now() + interval '1 day'", True),
        ("UPDATE audience SET state = 'paused'", False),
        ("UPDATE audience SET state = 'deactivated'", True),
        ("UPDATE connection SET forward_email = false", True),
        ("UPDATE batch SET state = 'sent', settled_at = now(), payload = NULL", False),
    ],
)
def test_a_list_is_due_while_it_has_something_to_do_and_may(
    workshop: Workshop, change: str, due: bool
) -> None:
    audience_id = workshop.ready()
    workshop.stage(*emails(range(3)))
    workshop.flush(audience_id)
    with workshop.transaction() as tx:
        tx.exec_driver_sql(change)
    with workshop.transaction() as tx:
        found = lists_due(tx, workshop.deployment.settings)
    assert found == ([workshop.list_id(audience_id)] if due else [])


def test_a_switch_or_a_deactivation_is_booked_whatever_is_held_or_waits(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    workshop.stage(email_event(1), device_event(1))
    workshop.flush(audience_id)
    workshop.execute("UPDATE connection SET held_reason = 'x', held_at = now()")
    deactivate(workshop.deployment, audience_id)
    with workshop.transaction() as tx:
        assert len(lists_due(tx, workshop.deployment.settings)) == 2


def test_the_oldest_audience_comes_first(workshop: Workshop) -> None:
    workshop.connect()
    ids = [workshop.activate(str(number), f"A{number}") for number in range(3)]
    for number in (2, 0, 1):
        workshop.stage(email_event(1, audience=str(number)))
    workshop.execute("UPDATE audience SET flush_requested_at = now()")
    with workshop.transaction() as tx:
        assert audiences_due(tx, workshop.deployment.settings) == [ids[2], ids[0], ids[1]]


def test_the_list_served_longest_ago_comes_first(workshop: Workshop) -> None:
    workshop.connect()
    ids = [workshop.activate(str(number), f"A{number}") for number in range(4)]
    lists = [workshop.list_id(audience_id) for audience_id in ids]
    workshop.execute("UPDATE customer_list SET served_at = now() WHERE list_type = 'MAID'")
    for number, ago in ((0, 1), (1, 3), (3, 2)):
        workshop.execute(
            "UPDATE customer_list SET served_at = now() - :ago * interval '1 h' WHERE id = :id",
            ago=ago,
            id=lists[number],
        )
    with workshop.transaction() as tx:
        due = [each for each in lists_due(tx, workshop.deployment.settings) if each in lists]
        (first,) = lists_due(tx, workshop.deployment.settings, most=1)
    assert due == [lists[number] for number in (2, 1, 3, 0)]
    assert first == lists[2]
