"""An upstream that publishes membership events, and what stands in the queues afterwards."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kombu import Connection, Message
from kombu.exceptions import OperationalError

EXCHANGE = "pinfold.events"
EVENTS = "pinfold.events"
DEAD = "pinfold.events.dead"


def publish(broker_url: str, body: Any, *, message_id: str | None = None, **options: Any) -> None:
    """Publish one message: anything but bytes as JSON."""
    with Connection(broker_url) as broker:
        broker.Producer(serializer=None if isinstance(body, bytes) else "json").publish(
            body,
            exchange=EXCHANGE,
            routing_key="events",
            delivery_mode=2,
            **({"message_id": message_id} if message_id else {}),
            **(
                {"content_type": "application/json", "content_encoding": "utf-8"}
                if isinstance(body, bytes)
                else {}
            ),
            **options,
        )


def publish_all(broker_url: str, bodies: list[tuple[str, Any]]) -> None:
    """Publish messages with their ids over one connection, each confirmed before the next.

    RabbitMQ promises nothing of others.
    """
    with Connection(broker_url, transport_options={"confirm_publish": True}) as broker:
        producer = broker.Producer(serializer="json")
        for message_id, body in bodies:
            producer.publish(body, exchange=EXCHANGE, routing_key="events", message_id=message_id)


def take(broker_url: str, queue: str = DEAD) -> list[Message]:
    """All messages that are ready in a queue, taken out of it."""
    taken = []
    with Connection(broker_url) as broker, broker.channel() as channel:
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            taken.append(message)
    return taken


def ready(broker_url: str, queue: str = EVENTS) -> int:
    """How many messages wait in a queue and are given to nobody."""
    with Connection(broker_url) as broker, broker.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except broker.channel_errors:  # Redis has no empty queues
            return 0


def is_bound(broker_url: str) -> bool:
    """Whether what is published now reaches the queue of events."""
    with Connection(broker_url) as broker:
        try:
            if broker.transport.driver_type == "amqp":
                found = broker.channel().queue_declare(EVENTS, passive=True)
                return bool(found.consumer_count)
            return bool(broker.channel().get_table(EXCHANGE))
        except broker.channel_errors:
            return False


def forget_queues(broker_url: str, *queues: str) -> None:
    """Delete queues with what is in them, so that runs do not disturb each other."""
    for queue in queues:
        with suppress(OperationalError, OSError), Connection(broker_url) as broker:
            broker.channel().queue_delete(queue)
