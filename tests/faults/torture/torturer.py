"""The torturer: does to an installation what happens to installations, and much too often.

Each fault has a mean time between two of its kind; dice decide when, to whom and for how long.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.errors import PinfoldError
from tests.faults.torture.broken_processes import BrokenProcesses
from tests.faults.torture.broken_servers import BrokenServers
from tests.faults.torture.dice import Deeds, dice
from tests.faults.torture.ground import Ground
from tests.faults.torture.people_in_charge import PeopleInCharge
from tests.faults.torture.publisher import Publisher
from tests.faults.torture.waker import Waker

TRANSIENT = (PinfoldError, SQLAlchemyError, RedisError, OperationalError, OSError)
"""What a torturer meets who uses what he has broken."""
Fault = tuple[float, Callable[[], None]]
"""Seconds between two of a kind, and how it is done."""


class Torturer:
    """Faults due by dice, and what has to follow them later.

    His clock stands while he is at work, and goes slower where machines are slow: else faults would
    follow one another with no time to recover, and nothing but the first of them would be met.
    """

    def __init__(self, ground: Ground, publisher: Publisher, deeds: Deeds, slowness: float) -> None:
        self._ground, self._deeds, self._slowness = ground, deeds, slowness
        self._at_work = 0.0
        self._chance = dice(ground.seed, "torturer")
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._waker = Waker(ground.seed, deeds)
        self._waker.start()
        self.done: Counter[str] = Counter()
        processes = BrokenProcesses(ground, self._chance, self._waker.later, self.note)
        servers = BrokenServers(
            ground, publisher, self._chance, self.afterwards, self._waker.later, self.note
        )
        people = PeopleInCharge(ground, self._chance, self.afterwards, self.note)
        for seconds, fault in (*processes.faults(), *servers.faults(), *people.faults()):
            self._plan(seconds, fault)

    def note(self, kind: str, what: object = "") -> None:
        self.done[kind] += 1
        self._deeds.note(kind, what)

    def afterwards(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something so much later."""
        heapq.heappush(self._later, (self._now() + seconds, next(self._numbers), what))

    def _now(self) -> float:
        return time.monotonic() - self._at_work

    def work(self) -> None:
        """Do what is due by now, start who died."""
        while self._later and self._later[0][0] <= self._now():
            self._do(heapq.heappop(self._later)[2])
        self._ground.revive()

    def end(self) -> None:
        self._waker.stopping.set()
        self._waker.join()

    def finish(self) -> None:
        """Plan nothing more, but do now all that has to follow what was done."""
        self._waker.wake_all()
        for _, _, what in sorted(self._later):
            if not isinstance(what, _Planned):
                self._do(what)
        self._later.clear()

    def _plan(self, seconds: float, fault: Callable[[], None]) -> None:
        mean = seconds * self._slowness
        self.afterwards(self._chance.expovariate(1 / mean), _Planned(self, seconds, fault))

    def _do(self, what: Callable[[], None]) -> None:
        began = time.monotonic()
        with suppress(*TRANSIENT):
            what()
        self._at_work += time.monotonic() - began


class _Planned:
    """A fault that comes again and again."""

    def __init__(self, torturer: Torturer, seconds: float, fault: Callable[[], None]) -> None:
        self._torturer, self._seconds, self._fault = torturer, seconds, fault

    def __call__(self) -> None:
        self._torturer._plan(self._seconds, self._fault)
        self._fault()
