"""Messages of the broker are its own until their events are committed."""

from __future__ import annotations

from kombu import Connection

from app.database import transaction
from app.gate import close_gate
from tests.acceptance.fleet import Fleet, happens
from tests.acceptance.publishing import publish

WAITING_FOR_THE_GATE = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def unacknowledged(broker_url: str) -> int:
    """The messages that a Redis has given out and would give out again."""
    with Connection(broker_url) as broker, broker.channel() as channel:
        return int(channel.client.hlen(channel.unacked_key))


def test_a_message_stays_the_brokers_until_its_events_are_committed(fleet: Fleet) -> None:
    broker_url = fleet.environment["PINFOLD_BROKER_URL"]
    fleet.activate("31001", "VIP")
    audience_id = fleet.count("SELECT id FROM audience")
    fleet.intake()
    event = {"audience": "31001", "operation": "add", "email": "ana.ruiz@example.org"}
    with transaction(fleet.deployment.engine) as tx:
        close_gate(tx, audience_id)
        publish(broker_url, event, message_id="m")
        happens(lambda: fleet.count(WAITING_FOR_THE_GATE) == 1)
        assert unacknowledged(broker_url) == 1
    happens(lambda: fleet.count("SELECT count(*) FROM staged_chunk") == 1)
    happens(lambda: unacknowledged(broker_url) == 0)
