"""Workers and intake over RabbitMQ with quorum queues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from amqp.exceptions import PreconditionFailed
from kombu import Connection

from tests.acceptance.conftest import RABBITMQ_QUEUES, FleetMaker
from tests.acceptance.fleet import Fleet, happens, kill
from tests.acceptance.publishing import EVENTS, publish, publish_all, ready

pytestmark = pytest.mark.rabbitmq

IN_FLIGHT = "SELECT count(*) FROM attempt WHERE state = 'in_flight'"
MESSAGES = "SELECT coalesce(sum(message_count), 0) FROM staged_chunk"
COMMIT_LOCK = 4711
SLOW_COMMIT = f"""
    CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared({COMMIT_LOCK}); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON receipt
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_commit();
"""
WAITING_AT_COMMIT = (
    f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {COMMIT_LOCK}"
    " AND NOT granted"
)


@pytest.fixture
def fleet(rabbitmq_url: str, fleets: FleetMaker) -> Fleet:
    """An installation with two audiences, over RabbitMQ."""
    made = fleets(rabbitmq_url)
    made.connect()
    made.activate("31001", "Spring sale")
    made.activate("31002", "Lapsed buyers")
    return made


def url_of(fleet: Fleet) -> str:
    return fleet.environment["PINFOLD_BROKER_URL"]


def entered(number: int) -> dict[str, str]:
    return {"audience": "31001", "operation": "add", "email": f"person{number}@example.org"}


def test_a_worker_killed_in_the_middle_loses_and_spoils_nothing(fleet: Fleet) -> None:
    fleet.simulator.faults.script("slow", times=None, operation="patch", seconds=0.25)
    worker = fleet.worker()
    fleet.beat()
    fleet.stage_traffic("31001", 4_000, seed=1)
    fleet.stage_traffic("31002", 4_000, seed=2)
    happens(lambda: fleet.writes() > 4 and fleet.count(IN_FLIGHT) > 0)
    kill(worker)
    fleet.worker("second")
    assert fleet.drained()
    assert fleet.strangers() == {}
    assert fleet.unbalanced() == []


def test_every_queue_is_a_quorum_queue(fleet: Fleet) -> None:
    fleet.worker(processes=1)
    fleet.intake()
    with Connection(url_of(fleet)) as broker:
        for queue in RABBITMQ_QUEUES:
            with pytest.raises(PreconditionFailed, match="quorum"):
                broker.channel().queue_declare(
                    queue, durable=True, auto_delete=False, arguments={"x-queue-type": "classic"}
                )


def test_queues_emptied_in_the_middle_cost_no_more_than_time(fleet: Fleet) -> None:
    fleet.simulator.faults.script("slow", times=None, operation="patch", seconds=0.1)
    fleet.worker(processes=1)
    fleet.beat()
    fleet.stage_traffic("31001", 4_000)
    happens(lambda: fleet.writes() > 4)
    with Connection(url_of(fleet)) as broker, broker.channel() as channel:
        for queue in ("flush", "deliver", "upkeep"):
            channel.queue_purge(queue)
    assert fleet.drained()
    assert fleet.strangers() == {}


@contextmanager
def commits_wait(fleet: Fleet) -> Iterator[None]:
    """Within it, intake's commits stand still in Postgres; after it, they are carried out."""
    with fleet.deployment.engine.begin() as tx:
        tx.execute(sa.text(SLOW_COMMIT))
    with fleet.deployment.engine.connect() as holding, holding.begin():
        holding.execute(sa.text(f"SELECT pg_advisory_xact_lock({COMMIT_LOCK})"))
        yield


def test_a_message_delivered_again_after_its_commit_is_not_staged_twice(fleet: Fleet) -> None:
    consumer = fleet.intake()
    with commits_wait(fleet):
        publish_all(url_of(fleet), [(f"id {number}", entered(number)) for number in range(100)])
        happens(lambda: fleet.count(WAITING_AT_COMMIT) == 1)
        kill(consumer)  # Postgres finishes the commit; nobody is left to acknowledge
        assert fleet.count(MESSAGES) == 0
    happens(lambda: fleet.count(MESSAGES) > 0)
    happens(lambda: ready(url_of(fleet), EVENTS) == 100)
    fleet.intake("another")
    publish(url_of(fleet), entered(100), message_id="marker")
    happens(lambda: fleet.count(MESSAGES) > 100)
    assert fleet.count(MESSAGES) == 101
    assert fleet.unbalanced() == []


def test_a_consumer_killed_before_its_commit_loses_nothing(fleet: Fleet) -> None:
    consumer = fleet.intake()
    with commits_wait(fleet):
        publish_all(url_of(fleet), [(f"id {number}", entered(number)) for number in range(100)])
        happens(lambda: fleet.count(WAITING_AT_COMMIT) == 1)
        kill(consumer)
        fleet.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            f" WHERE objid = {COMMIT_LOCK} AND NOT granted"
        )
    fleet.intake("another")
    happens(lambda: fleet.count(MESSAGES) == 100)
    assert fleet.unbalanced() == []
