"""Upstreams that never pause: one publishes to the broker, one stages calls. Both reckon."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha1
from typing import Protocol

from kombu import Connection

from app.deployment import Deployment
from app.events import MembershipEvent
from app.sandbox.sample_traffic import Reckoning
from app.staging import Intake, stage
from tests.acceptance.publishing import EXCHANGE
from tests.workshop import ADD, REMOVE, email_event

PAUSE_S = 0.05
"""Between two bursts: what is sent must be less than what can be uploaded."""
BURST = 25


class Upstream(Protocol):
    """Somebody who sends bursts for an audience of its own."""

    audience: str
    sent: int
    """Events so far."""
    reckoning: Reckoning

    def run(self, ended: threading.Event) -> None: ...


class Publisher:
    """Publishes one message after another. Everybody is named once, so order does not matter."""

    def __init__(
        self, broker_url: str, audience: str, *, burst: int = BURST, pause: float = PAUSE_S
    ) -> None:
        self.audience, self.sent, self.reckoning = audience, 0, Reckoning()
        self._burst, self._pause = burst, pause
        options = {"confirm_publish": True} if broker_url.startswith("amqp") else {}
        self._broker = Connection(broker_url, transport_options=options)

    def run(self, ended: threading.Event) -> None:
        with self._broker as broker:
            producer = broker.Producer(serializer="json")
            while not ended.wait(self._pause):
                for number in range(self.sent, self.sent + self._burst):
                    address = f"published{number}@example.org"
                    body = {"audience": self.audience, "operation": "add", "email": address}
                    producer.publish(
                        body, exchange=EXCHANGE, routing_key="events", message_id=f"id {number}"
                    )
                    _note(self.reckoning, self.audience, address, number, entered=True)
                self.sent += self._burst


class Stager:
    """Stages calls in this process: two bursts enter, and the second of them leaves again."""

    def __init__(self, deployment: Deployment, audience: str) -> None:
        self.audience, self.sent, self.reckoning = audience, 0, Reckoning()
        self._intake = Intake(deployment, "staged here")

    def run(self, ended: threading.Event) -> None:
        for turn in itertools.count():
            if ended.wait(PAUSE_S):
                return
            entered = turn % 3 < 2
            burst = turn if entered else turn - 1
            addresses = [f"staged{burst}.{number}@example.org" for number in range(BURST)]
            staged = stage(self._intake, [self._event(each, entered) for each in addresses])
            assert staged.accepted == BURST
            self.sent += BURST
            for address in addresses:
                _note(self.reckoning, self.audience, address, turn, entered=entered)

    def _event(self, address: str, entered: bool) -> MembershipEvent:
        return email_event(address, ADD if entered else REMOVE, audience=self.audience)


def _note(reckoning: Reckoning, audience: str, address: str, moment: int, *, entered: bool) -> None:
    reckoning.note((audience, "EMAIL"), sha1(address.encode()).hexdigest(), moment, entered)


@contextmanager
def sending(*upstreams: Upstream) -> Iterator[None]:
    """Upstreams at work until the block ends; raises what went wrong with any of them."""
    ended = threading.Event()
    with ThreadPoolExecutor(len(upstreams)) as threads:
        runs: list[Future[None]] = [threads.submit(each.run, ended) for each in upstreams]
        try:
            yield
        finally:
            ended.set()
        for run in runs:
            run.result()
