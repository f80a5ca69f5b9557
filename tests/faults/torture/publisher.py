"""The upstream that publishes membership messages to the broker.

Of a person whom messages tell of, the next one goes out only after the one before was staged, so
that their order is known. None is published twice.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from kombu import Connection
from kombu.exceptions import OperationalError

from app.database import transaction
from app.deployment import Deployment
from app.errors import Unavailable
from tests.acceptance.publishing import EXCHANGE
from tests.faults.torture.conditions import AUDIENCES
from tests.faults.torture.ground import Ground
from tests.faults.torture.people import OVER_THE_QUEUE, Diary, Moments, Person, changes, people_of
from tests.faults.torture.reckoning import message_mark
from tests.faults.torture.upstream import PEOPLE_AT_ONCE, Upstream


class Publisher(Upstream):
    """Publishes messages, some of many events; never publishes one again."""

    def __init__(self, ground: Ground, diary: Diary, moments: Moments, name: str) -> None:
        super().__init__(ground, diary, moments, name)
        self.holding = threading.Event()
        """While it is set, nothing is published."""
        self._rests = {audience: people_of(audience, OVER_THE_QUEUE) for audience in AUDIENCES}
        self._under_way: dict[str, list[tuple[str, Person]]] = {}
        self._seen = 0

    @property
    def under_way(self) -> int:
        """Messages that may not have been staged yet."""
        return len(self._under_way)

    def tell(self, key: str) -> None:
        with suppress(Unavailable):
            self._look_what_was_staged()
        if self.holding.is_set():
            return
        audience = self.chance.choice(sorted(AUDIENCES))
        count = min(len(self._rests[audience]), 1 + self.chance.randrange(PEOPLE_AT_ONCE))
        people = self.chance.sample(self._rests[audience], count)
        if not people:
            return
        told = list(changes(audience, people, self.chance, self.moments))
        self._rests[audience] = [each for each in self._rests[audience] if each not in people]
        self._under_way[key] = [(audience, person) for person in people]
        self.diary.calls[key] = tuple(change for change, _ in told)
        with suppress(OSError, OperationalError, *self._errors):
            self._publish(key, [message for _, message in told])
            if self.ground.broker.keeps_messages:
                self.diary.accepted.add(key)

    def _publish(self, key: str, messages: list[dict[str, Any]]) -> None:
        options: dict[str, Any] = {"socket_timeout": 3, "socket_connect_timeout": 3}
        if self.ground.broker.keeps_messages:
            options = {"confirm_publish": True, "read_timeout": 5, "write_timeout": 5}
        with Connection(
            self.ground.broker.url, transport_options=options, connect_timeout=3
        ) as broker:
            broker.Producer(serializer="json").publish(
                messages if len(messages) > 1 else messages[0],
                exchange=EXCHANGE,
                routing_key="events",
                message_id=key,
                delivery_mode=2,
                retry=False,
            )

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        with Connection(self.ground.broker.url) as broker:
            return (*broker.connection_errors, *broker.channel_errors)

    def _look_what_was_staged(self) -> None:
        marks = {message_mark(key): key for key in list(self._under_way)}
        for mark in staged_marks(self.ground.deployment, self._seen - 300):
            if (key := marks.get(mark[1])) is not None and key in self._under_way:
                for audience, person in self._under_way.pop(key):
                    self._rests[audience].append(person)
            self._seen = max(self._seen, mark[0])


def staged_marks(deployment: Deployment, after: int) -> list[tuple[int, bytes]]:
    """Number of receipt and mark of each message that intake has staged since."""
    query = sa.text(
        "SELECT id, message_ids FROM receipt WHERE source = 'queue' AND id > :after"
        " AND message_ids IS NOT NULL ORDER BY id"
    )
    with transaction(deployment.engine) as tx:
        rows = tx.execute(query, {"after": after}).all()
    return [
        (row.id, bytes(row.message_ids)[start : start + 8])
        for row in rows
        for start in range(0, len(row.message_ids), 8)
    ]
