"""Ways in: what a process keeps for each, from its first call on."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field

from app.api.access import Access
from app.api.body import Limits
from app.api.grouping import Grouping
from app.api.problems import later
from app.deployment import Deployment
from app.doorbell import Doorbell
from app.gauges import BookSum, read_book_sums, read_gauges, waiting_by_connection
from app.processes import Presence
from app.staging import Intake

log = logging.getLogger(__name__)
LOOK_EVERY_S = 2.0
GAUGES_KEPT_S = 5.0
LOOK_SHARE = 20
"""A look at the backlog that takes long is repeated after so many times its length."""
BACKLOG_RETRY_S = 60
READING = 1
"""Large bodies that are read at the same time: only one thread computes, and each takes memory."""
ACTIVATING = 2
"""Calls that activate audiences at the same time; each of them takes a while."""


class Gauges:
    """The gauges of ``/metrics``: read once in seconds, one at a time, whoever asks."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._found: dict[str, float] = {}
        self.books: list[BookSum] = []
        self._read_at = -math.inf
        self._reading = asyncio.Lock()

    async def get(self) -> dict[str, float]:
        """As of some seconds ago; nothing while the database is away."""
        async with self._reading:
            if time.monotonic() - self._read_at > GAUGES_KEPT_S:
                try:
                    self._found = await asyncio.to_thread(read_gauges, self._deployment)
                    self.books = await asyncio.to_thread(read_book_sums, self._deployment)
                except Exception as problem:  # noqa: BLE001 the counts are good without them
                    log.warning("the gauges cannot be read: %s", type(problem).__name__)
                    self._found, self.books = {}, []
                self._read_at = time.monotonic()
        return self._found


@dataclass
class Ways:
    """What the service needs, as ``request.app.state.ways``; to be used from one event loop."""

    deployment: Deployment
    doorbell: Doorbell
    counts_directory: str | None = None
    access: Access = field(init=False)
    limits: Limits = field(init=False)
    presence: Presence = field(init=False)
    gauges: Gauges = field(init=False)
    _groupings: dict[tuple[str, int | None], Grouping] = field(default_factory=dict)
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READING))
    activating: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ACTIVATING))
    _waiting: dict[int, int] = field(default_factory=dict)
    _look_at: float = 0.0
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.access = Access(self.deployment)
        self.limits = Limits.of(self.deployment.settings)
        self.presence = Presence(self.deployment, "api")
        self.gauges = Gauges(self.deployment)

    def grouping(self, source: str, connection_id: int | None) -> Grouping:
        """The commits of one way in; receipts name the source."""
        key = (source, connection_id)
        if key not in self._groupings:
            intake = Intake(self.deployment, source, connection_id)
            intake.presence = self.presence
            self._groupings[key] = Grouping(intake)
        return self._groupings[key]

    async def refuse_over_backlog(self, connection_id: int | None) -> None:
        """Raise Refusal (503) while more messages of a connection wait than the setting allows.

        Without a connection the one counts for which most wait.
        """
        if time.monotonic() >= self._look_at and not self._looking.locked():
            async with self._looking:
                await self._look()
        limit = self.deployment.settings.backlog_limit
        if connection_id is None:
            waiting = max(self._waiting.values(), default=0)
        else:
            waiting = self._waiting.get(connection_id, 0)
        if waiting >= limit:
            raise later(
                f"{waiting:,} messages wait, {limit:,} may: send it again later", BACKLOG_RETRY_S
            )

    async def _look(self) -> None:
        began = time.monotonic()
        try:
            self._waiting = await asyncio.to_thread(waiting_by_connection, self.deployment)
        except Exception as problem:  # noqa: BLE001 staging will say what is wrong, if it still is
            log.warning("the backlog cannot be read: %s", type(problem).__name__)
        took = time.monotonic() - began
        self._look_at = time.monotonic() + max(LOOK_EVERY_S, took * LOOK_SHARE)
