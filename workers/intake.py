"""Intake over the broker: membership events that an upstream publishes straight to a queue.

Exchange ``pinfold.events`` (direct), routing key ``events``, queue ``pinfold.events``. A message is
one event as JSON, an array of them, or one a line. In five lines an upstream publishes:

    from kombu import Connection
    with Connection("amqp://user:secret@host//", transport_options={"confirm_publish": True}) as b:
        events = [{"audience": "31001", "operation": "add", "email": "ana.ruiz@example.org"}]
        b.Producer(serializer="json").publish(
            events, exchange="pinfold.events", routing_key="events", message_id="any unique text")

Intake makes exchange and queue when it starts: run it once before the first message, which a broker
without them would refuse (RabbitMQ, asked to confirm as above) or drop (Redis).

Messages in another format say so in the header ``format``: ``mparticle``, ``segment`` or
``rudderstack``. Where they do not name their audience, or the boolean that says membership, the
headers ``audience`` and ``audience_key`` do.

Messages are taken in batches and acknowledged after the commit. One that the broker delivers
again is recognised by its ``message_id`` for a week and not staged twice, so a person who left is
not brought back. A message that is no event goes to ``pinfold.events.dead``, sealed with our key,
with the reason in the header ``reason``; single bad events in a good message are counted in the
receipt, as is what a format says besides membership.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from kombu import Connection, Consumer, Exchange, Message, Producer, Queue

from app.accepting import meet_audiences
from app.deployment import Deployment
from app.errors import Unavailable
from app.staging import Intake, Staged, stage
from workers.configuration import configuration
from workers.messages import Batch, read_batch
from workers.reconnecting import mend_redis_transport

log = logging.getLogger(__name__)
T = TypeVar("T")

SOURCE = "queue"
ROUTING_KEY = "events"
EXCHANGE = Exchange("pinfold.events", type="direct", durable=True)
DEAD_EXCHANGE = Exchange("pinfold.events.dead", type="direct", durable=True)
DEAD_PURPOSE = "dead letter"
PREFETCH = 2_000
LINGER_S = 0.2
"""How long a batch waits for more messages before it is staged."""
POLL_S = 1.0
DATABASE_PAUSE_S = 2.0


def queues(*, quorum: bool) -> tuple[Queue, Queue]:
    """The queue of events and the queue of dead letters."""
    arguments = {"x-queue-type": "quorum"} if quorum else None
    return (
        Queue("pinfold.events", EXCHANGE, ROUTING_KEY, durable=True, queue_arguments=arguments),
        Queue(
            "pinfold.events.dead",
            DEAD_EXCHANGE,
            ROUTING_KEY,
            durable=True,
            queue_arguments=arguments,
        ),
    )


def consume(deployment: Deployment, connection_id: int | None) -> int:
    """Stage what comes until SIGTERM or Ctrl-C; returns the number of messages acknowledged.

    An absent broker or database is waited for; nothing is acknowledged meanwhile.
    """
    stopping = _stop_on_signals()
    mend_redis_transport()
    settings = deployment.settings
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s")
    options = configuration(settings)
    intake = Intake(deployment, SOURCE, connection_id)
    intake.presence.kind = "intake"
    taken = 0
    with intake.presence:
        while not stopping:
            try:
                with Connection(
                    settings.require_broker_url(),
                    transport_options=options["broker_transport_options"],
                    connect_timeout=5,
                    heartbeat=30,
                ) as connection:
                    connection.connect()
                    taken += _consume_until_broken(connection, intake, stopping)
            except broker_errors() as problem:
                log.warning("the broker is away (%s), trying again", type(problem).__name__)
                _pause(stopping, DATABASE_PAUSE_S)
    return taken


def _consume_until_broken(connection: Connection, intake: Intake, stopping: list[int]) -> int:
    channel = connection.channel()
    events, dead = queues(quorum=connection.transport.driver_type == "amqp")
    dead(channel).declare()
    arrived: list[Message] = []
    taken = 0
    with Consumer(channel, [events], on_message=arrived.append) as consumer:
        consumer.qos(prefetch_count=PREFETCH)
        producer = Producer(channel)
        log.info("intake reads %s", events.name)
        while not stopping:
            with suppress(Unavailable):
                intake.presence.renew()
            _gather(connection, arrived, stopping)
            if not arrived:
                events(channel).declare()  # a Redis that was wiped has forgotten the binding
            if arrived:
                read = partial(read_batch, intake, arrived[:PREFETCH])
                if (batch := _insist(read, stopping)) is None:
                    break
                del arrived[: len(batch.messages)]
                if _insist(partial(_commit, intake, batch), stopping) is None:
                    break
                _bury(intake, producer, dead(channel), batch)
                for message in batch.messages:
                    message.ack()
                taken += len(batch.messages)
    # before the connection is: only a channel that it still knows gives back what it had asked
    # Redis for, and what came after the consumer had gone
    channel.close()
    return taken


def _gather(connection: Connection, arrived: list[Message], stopping: list[int]) -> None:
    """Wait for a first message, then a little for more; returns early when told to stop."""
    deadline = time.monotonic() + (LINGER_S if arrived else POLL_S)
    while len(arrived) < PREFETCH and not stopping:
        try:
            connection.drain_events(timeout=max(0.01, deadline - time.monotonic()))
        except TimeoutError:
            connection.heartbeat_check()
            return
        if len(arrived) == 1:
            deadline = time.monotonic() + LINGER_S
        if time.monotonic() >= deadline:
            return


def _insist(act: Callable[[], T], stopping: list[int]) -> T | None:
    """What it returns once Postgres answers; None when told to stop before that."""
    while True:
        try:
            return act()
        except Unavailable:
            log.warning("Postgres is away; nothing is acknowledged, trying again")
        _pause(stopping, DATABASE_PAUSE_S)
        if stopping:
            return None


def _commit(intake: Intake, batch: Batch) -> Staged:
    """Stage the batch with the ids of its messages, all in one: a message that comes again after
    any death was staged whole, and is known, or not at all.
    """
    meet_audiences(intake, batch.mentions.values(), None)
    staged = stage(
        intake,
        batch.events,
        dedupe_key=batch.key,
        message_ids=b"".join(batch.ids),
        rejected_before=batch.rejected,
        noted=batch.noted,
    )
    if staged.rejections:
        log.warning("%s events or identities were rejected", len(staged.rejections))
    return staged


def _bury(intake: Intake, producer: Producer, queue: Queue, batch: Batch) -> None:
    """Send what is no event to the dead-letter queue: sealed, with the reason."""
    if not batch.dead:
        return
    queue.declare()  # it may have gone since the connection began
    for body, reason in batch.dead:
        publish_dead(producer, intake.deployment.keyring.seal(body, DEAD_PURPOSE), reason)
    log.warning("%s messages went to pinfold.events.dead", len(batch.dead))


def publish_dead(producer: Producer, sealed: bytes, reason: str | None) -> None:
    producer.publish(
        sealed,
        exchange=DEAD_EXCHANGE.name,
        routing_key=ROUTING_KEY,
        content_type="application/octet-stream",
        content_encoding="binary",
        delivery_mode=2,
        headers={"reason": reason},
    )


def _stop_on_signals() -> list[int]:
    """A list that is empty until SIGTERM or SIGINT comes: true means stop."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    return stopping


def _pause(stopping: list[int], longest: float) -> None:
    deadline = time.monotonic() + longest
    while not stopping and time.monotonic() < deadline:
        time.sleep(0.05)


def broker_errors() -> tuple[type[Exception], ...]:
    """What any transport raises when the broker goes away."""
    from amqp.exceptions import AMQPError  # noqa: PLC0415
    from kombu.exceptions import OperationalError  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    return (OSError, OperationalError, RedisError, AMQPError)
