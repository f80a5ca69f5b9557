"""What waits in the broker, by reading its queues: hints and dead letters name nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Message

from app.sandbox.embedded_valkey import EmbeddedValkey
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import happens
from tests.acceptance.publishing import DEAD, EVENTS, publish, ready, take
from tests.canaries import ADDRESSES, DEVICE, DEVICES, WORD, Place, shapes, spellings

OURS = spellings(WORD, DEVICE).union(*map(shapes, [*ADDRESSES, *DEVICES]))
QUEUES = (DEAD, "flush", "deliver", "upkeep")


@pytest.fixture
def valkey_url(tmp_path: Path) -> Iterator[str]:
    """The address of a Valkey of the test's own, without a file: what upstream publishes here names
    canaries, and the files of servers are searched for them in the end."""
    server = EmbeddedValkey(tmp_path, durable=False)
    server.start()
    yield server.url()
    server.stop()


def test_what_waits_in_the_queues_names_nobody(broker_url: str, fleets: FleetMaker) -> None:
    fleet = fleets(broker_url)
    fleet.connect()
    fleet.activate("31001", "VIP")
    fleet.intake()
    for address, device in zip(ADDRESSES, DEVICES, strict=True):
        event = {"audience": "31001", "operation": "add", "email": address, "idfa": device}
        publish(broker_url, event, message_id=f"of {address}")
    publish(broker_url, f'{{"email": "{ADDRESSES[0]}"'.encode())
    publish(broker_url, {"audience": ADDRESSES[1], "operation": "add", "email": ADDRESSES[1]})
    fleet.beat()
    fleet.pinfold("flush", "VIP")
    fleet.pinfold("audience", "activate", "Cart", "--id", "31002", "--no-wait")
    happens(lambda: all(ready(broker_url, queue) > 0 for queue in QUEUES))
    happens(lambda: ready(broker_url, EVENTS) == 0)
    waiting = Place("queues")
    for queue in QUEUES:
        for number, message in enumerate(take(broker_url, queue)):
            waiting.contents[f"{queue} {number}"] = everything(message)
    assert waiting.holding(OURS) == []
    assert {where for where, _ in waiting.holding([b"pinfold.flush"])} >= {"flush 0"}


def everything(message: Message) -> bytes:
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    return body + repr((message.headers, message.properties)).encode()
