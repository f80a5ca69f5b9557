"""Dead letters, sealed anew: the one thing under our keys that rests in the broker.

The queue is gone round once: each letter is taken, sealed with the newest key, published behind the
others, and acknowledged only then. So none is lost; one that was under way when the broker or this
process died may stand there twice.
"""

from __future__ import annotations

from kombu import Connection, Producer

from app.cli.outside import DeadLetters
from app.errors import ConfigError, Unavailable, UnreadableBody
from app.keyring import KeyRing
from app.sealed import KEY_ID_BYTES
from app.settings import Settings
from workers.configuration import configuration
from workers.intake import DEAD_PURPOSE, broker_errors, publish_dead, queues
from workers.reconnecting import mend_redis_transport

CONNECT_TIMEOUT_S = 5


def reseal_dead_letters(settings: Settings) -> DeadLetters:
    """Seal all that wait in ``pinfold.events.dead`` with the first key of PINFOLD_KEYS.

    Raises Unavailable when the broker cannot be reached; what was not gone round stays as it was.
    """
    mend_redis_transport()
    keyring = KeyRing.parse(settings.require_keys())
    try:
        with Connection(
            settings.require_broker_url(),
            transport_options=configuration(settings)["broker_transport_options"],
            connect_timeout=CONNECT_TIMEOUT_S,
        ) as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_TIMEOUT_S)
            return _go_round(connection, keyring)
    except broker_errors() as problem:
        kind = type(problem).__name__
        raise Unavailable(f"the broker with the dead letters cannot be reached ({kind})") from None


def _go_round(connection: Connection, keyring: KeyRing) -> DeadLetters:
    done = DeadLetters()
    channel = connection.channel()
    _, dead = queues(quorum=connection.transport.driver_type == "amqp")
    letters = dead(channel)
    letters.declare()
    producer = Producer(channel)
    for _ in range(_count(connection, letters.name)):
        letter = letters.get(no_ack=False)
        if letter is None:
            break
        publish_dead(
            producer, _sealed_anew(keyring, bytes(letter.body), done), letter.headers.get("reason")
        )
        letter.ack()
    return done


def _count(connection: Connection, queue: str) -> int:
    try:
        return int(connection.channel().queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:  # Redis knows no empty queue
        return 0


def _sealed_anew(keyring: KeyRing, sealed: bytes, done: DeadLetters) -> bytes:
    """The letter under the newest key, or as it was where that cannot be done."""
    key_id = sealed[:KEY_ID_BYTES].hex()
    if key_id == keyring.key_ids[0]:
        return sealed
    try:
        fresh = keyring.seal(keyring.open(sealed, DEAD_PURPOSE), DEAD_PURPOSE)
    except (ConfigError, UnreadableBody):
        done.left[key_id] += 1
        return sealed
    done.resealed += 1
    return fresh
