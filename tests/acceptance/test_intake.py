"""Intake over the broker, over Valkey and over RabbitMQ: nothing lost, nothing doubled."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import orjson
import pytest

from app.sandbox.children import Child
from app.staging import CALL_MESSAGES
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import Fleet, database_through, exit_code, happens, read_log
from tests.acceptance.publishing import (
    DEAD,
    EVENTS,
    forget_queues,
    publish,
    publish_all,
    ready,
    take,
)
from tests.acceptance.turnstile import Turnstile
from workers import intake
from workers.intake import DEAD_PURPOSE

MESSAGES = "SELECT coalesce(sum(message_count), 0) FROM staged_chunk"
RECEIPTS = "SELECT count(*) FROM receipt WHERE accepted > 0"
CANARY = "canary.in.a.dead.letter@example.org"


@pytest.fixture
def fleet(broker_url: str, fleets: FleetMaker) -> Fleet:
    """An installation with an active audience, over either broker."""
    made = fleets(broker_url)
    made.connect()
    made.activate("31001", "VIP")
    return made


def entered(number: int) -> dict[str, str]:
    return {"audience": "31001", "operation": "add", "email": f"person{number}@example.org"}


def url_of(fleet: Fleet) -> str:
    return fleet.environment["PINFOLD_BROKER_URL"]


def staged(fleet: Fleet) -> int:
    return fleet.count(MESSAGES)


def test_an_object_an_array_and_lines_are_all_staged(fleet: Fleet) -> None:
    fleet.intake()
    publish(url_of(fleet), entered(1))
    publish(url_of(fleet), [entered(2), entered(3)])
    publish(url_of(fleet), b"\n".join(orjson.dumps(entered(number)) for number in (4, 5, 6)))
    happens(lambda: staged(fleet) == 6)
    assert fleet.unbalanced() == []


def test_the_documented_five_lines_publish_an_event(fleet: Fleet) -> None:
    fleet.intake()
    example = (intake.__doc__ or "").split("publishes:\n")[1].split("\nIntake makes")[0]
    lines = textwrap.dedent(example)
    assert "amqp://user:secret@host//" in lines
    subprocess.run(
        [sys.executable, "-c", lines.replace("amqp://user:secret@host//", url_of(fleet))],
        check=True,
        timeout=30,
    )
    happens(lambda: staged(fleet) == 1)


def test_many_messages_are_staged_in_few_batches(fleet: Fleet) -> None:
    count = 3_000
    consumer = fleet.intake()
    consumer.stop()
    publish_all(url_of(fleet), [(f"id {number}", entered(number)) for number in range(count)])
    fleet.intake("another")
    happens(lambda: staged(fleet) == count)
    assert fleet.count(RECEIPTS) <= 20


def test_a_message_of_many_events_is_committed_whole_with_its_id(fleet: Fleet) -> None:
    fleet.intake()
    count = 2 * CALL_MESSAGES + 1
    publish(url_of(fleet), [entered(number) for number in range(count)], message_id="large")
    happens(lambda: staged(fleet) == count)
    assert fleet.count(RECEIPTS) == 1


def test_a_dead_letter_is_kept_where_its_queue_had_gone(fleet: Fleet) -> None:
    fleet.intake()
    forget_queues(url_of(fleet), DEAD)
    publish(url_of(fleet), b"{broken")
    publish(url_of(fleet), entered(1))
    happens(lambda: staged(fleet) == 1)
    happens(lambda: ready(url_of(fleet), DEAD) == 1)


def test_a_message_that_is_no_event_becomes_a_sealed_dead_letter(fleet: Fleet) -> None:
    fleet.intake()
    publish(url_of(fleet), f'{{"email": "{CANARY}", broken'.encode())
    publish(url_of(fleet), {"audience": "31001", "operation": "sideways", "email": CANARY})
    publish(url_of(fleet), entered(1))
    happens(lambda: staged(fleet) == 1)
    letters: list[tuple[str, bytes]] = []

    def found() -> bool:
        letters.extend((m.headers["reason"], bytes(m.body)) for m in take(url_of(fleet)))
        return len(letters) == 2

    happens(found)
    assert {reason for reason, _ in letters} == {
        "message: is not JSON",
        'message: operation: must be "add" or "remove"',
    }
    for _, body in letters:
        assert CANARY.encode() not in body
        assert CANARY.encode() in fleet.deployment.keyring.open(body, DEAD_PURPOSE)


def test_a_bad_event_does_not_spoil_its_neighbours(fleet: Fleet) -> None:
    fleet.intake()
    nowhere = {"audience": "nowhere", "operation": "add", "email": "ana.ruiz@example.org"}
    publish(url_of(fleet), [entered(1), {"audience": "31001"}, entered(2), 7, nowhere])
    happens(lambda: staged(fleet) == 2)
    assert take(url_of(fleet)) == []
    rejected = orjson.loads(fleet.pinfold("books", "--json").stdout)["rejected"]
    assert sum(rejected.values()) == 3


def spoken(number: int) -> dict[str, dict[str, object]]:
    """A message in each format that says that someone entered."""
    email = f"person{number}@example.org"
    person = {
        "user_identities": [{"type": "email", "encoding": "raw", "value": email}],
        "audiences": [{"audience_id": 31001, "audience_name": "VIP", "action": "add"}],
    }
    return {
        "events": {"operation": "add", "email": email},
        "mparticle": {
            "type": "audience_membership_change_request",
            "timestamp_ms": 1767265200123,
            "user_profiles": [person],
        },
        "segment": {"type": "identify", "traits": {"email": email, "spring_sale": True}},
        "rudderstack": {"type": "record", "action": "insert", "identifiers": {"EMAIL": email}},
    }


def test_messages_in_other_formats_are_staged_by_their_headers(fleet: Fleet) -> None:
    fleet.intake()
    for name, body in spoken(1).items():
        headers = {"format": name, "audience": "31001", "audience_key": "spring_sale"}
        publish(url_of(fleet), body, headers=headers)
    happens(lambda: staged(fleet) == 4)
    messages = [spoken(2)["rudderstack"], spoken(3)["rudderstack"]]
    headers = {"format": "rudderstack", "audience": 31001}
    publish(url_of(fleet), {"batch": messages}, headers=headers)
    publish(url_of(fleet), b"\n".join(map(orjson.dumps, messages)), headers=headers)
    happens(lambda: staged(fleet) == 8)
    assert take(url_of(fleet)) == []
    assert fleet.unbalanced() == []


def test_an_unknown_format_becomes_a_dead_letter_and_nothing_is_guessed(fleet: Fleet) -> None:
    fleet.intake()
    for headers in ({"format": CANARY}, {"format": 7}, {"format": "events", "audience_key": 7}):
        publish(url_of(fleet), entered(1), headers=headers)
    publish(url_of(fleet), spoken(1)["segment"], headers={"format": "segment"})
    publish(url_of(fleet), entered(2))
    happens(lambda: staged(fleet) == 1)
    reasons: list[str] = []

    def found() -> bool:
        reasons.extend(message.headers["reason"] for message in take(url_of(fleet)))
        return len(reasons) == 4

    happens(found)
    formats = "header format: must be one of events, mparticle, segment, rudderstack"
    assert reasons.count(formats) == 2
    assert reasons.count("header audience_key: must be text") == 1
    undetermined = "no boolean under the audience's key says whether the person entered or left"
    assert reasons.count(f"message: traits: {undetermined}") == 1
    assert CANARY not in str(reasons)


def test_what_says_nothing_of_membership_is_acknowledged_and_counted(fleet: Fleet) -> None:
    fleet.intake()
    verification = {"type": "audience_membership_change_request", "timestamp_ms": 1767265200123}
    publish(url_of(fleet), verification, headers={"format": "mparticle"})
    trait = {
        "type": "identify",
        "traits": {"email": CANARY, "likes": True},
        "context": {"personas": {"computation_class": "trait", "computation_key": "likes"}},
    }
    publish(url_of(fleet), trait, headers={"format": "segment"})
    publish(url_of(fleet), entered(1))
    happens(lambda: staged(fleet) == 1 and ready(url_of(fleet), EVENTS) == 0)
    assert take(url_of(fleet)) == []
    (noted,) = fleet.ask("SELECT noted FROM receipt WHERE noted <> '{}'")[0]
    assert noted == {"a computation that is no audience and no journey step": 1}


def test_sigterm_ends_it_cleanly_with_nothing_left_unacknowledged(fleet: Fleet) -> None:
    consumer = fleet.intake()
    publish_all(url_of(fleet), [(f"id {number}", entered(number)) for number in range(500)])
    happens(lambda: staged(fleet) > 0)
    consumer.ask_to_stop()
    assert exit_code(consumer) == 0
    assert "intake stopped after" in read_log(consumer.log)
    # a quorum queue counts what its consumer gave back a moment later
    happens(lambda: staged(fleet) + ready(url_of(fleet), EVENTS) == 500)
    fleet.intake("another")
    happens(lambda: staged(fleet) == 500)


def test_while_postgres_is_away_nothing_is_acknowledged_and_later_nothing_lost(
    fleet: Fleet, fresh_database: str
) -> None:
    _, target = database_through(0, fresh_database)
    with Turnstile(target) as way:
        through, _ = database_through(way.port, fresh_database)
        consumer = fleet.intake(PINFOLD_DATABASE_URL=through)
        publish(url_of(fleet), entered(0), message_id="before")
        happens(lambda: staged(fleet) == 1)
        way.away()
        publish_all(url_of(fleet), [(f"id {number}", entered(number)) for number in range(1, 101)])
        happens(lambda: is_waiting_for_postgres(consumer))
        assert staged(fleet) == 1
        way.open()
        happens(lambda: staged(fleet) == 101)
        consumer.ask_to_stop()
        assert exit_code(consumer) == 0
    assert ready(url_of(fleet), EVENTS) == 0
    assert fleet.unbalanced() == []


def test_intake_that_is_stopped_while_postgres_is_away_gives_its_messages_back(
    fleet: Fleet, fresh_database: str
) -> None:
    _, target = database_through(0, fresh_database)
    with Turnstile(target) as way:
        through, _ = database_through(way.port, fresh_database)
        consumer = fleet.intake(PINFOLD_DATABASE_URL=through)
        publish(url_of(fleet), entered(0), message_id="before")
        happens(lambda: staged(fleet) == 1)
        way.away()
        publish_all(url_of(fleet), [(f"id {number}", entered(number)) for number in range(1, 101)])
        happens(lambda: is_waiting_for_postgres(consumer))
        consumer.ask_to_stop()
        assert exit_code(consumer) == 0
    # and the first one, where the way was shut before intake heard that it was committed
    happens(lambda: ready(url_of(fleet), EVENTS) in (100, 101))
    fleet.intake("another")
    happens(lambda: staged(fleet) == 101)


def test_messages_that_come_again_while_postgres_is_away_wait_for_it(
    fleet: Fleet, fresh_database: str
) -> None:
    _, target = database_through(0, fresh_database)
    with Turnstile(target) as way, Turnstile(target) as other_way:
        through, other = (
            database_through(each.port, fresh_database)[0] for each in (way, other_way)
        )
        first = fleet.intake("first", PINFOLD_DATABASE_URL=through)
        way.away()
        publish_all(url_of(fleet), [(f"id {number}", entered(number)) for number in range(100)])
        happens(lambda: is_waiting_for_postgres(first) and ready(url_of(fleet), EVENTS) == 0)
        second = fleet.intake("second", PINFOLD_DATABASE_URL=other)
        other_way.away()
        first.ask_to_stop()
        assert exit_code(first) == 0
        happens(lambda: is_waiting_for_postgres(second))
        other_way.open()
        happens(lambda: staged(fleet) == 100)
        assert not second.died()


def is_waiting_for_postgres(consumer: Child) -> bool:
    return "Postgres is away" in read_log(consumer.log)
