"""The people of a run, and the diary of what was said of them, call by call.

Few people and many changes, so that conflicts never cease. What is expected of a value, its digest,
is worked out here from what was invented, never by the product.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, NamedTuple

HOST = "canary.example"
"""Of all addresses: not to be found in any log."""
DEVICES = 0xCA9A121 << 100
"""So all advertising ids begin, likewise."""
SHARED, OVER_HTTP, OVER_THE_QUEUE = range(3)
PEOPLE_EACH = 14
LATE_S = 3.0
"""How far back the moment of an event may lie."""


class Person(NamedTuple):
    address: str
    device: str

    @property
    def digests(self) -> dict[str, str]:
        """What Pinterest must see of the person, by the type of the list."""
        return {"EMAIL": _sha1(self.address), "MAID": _sha1(self.device)}


class Change(NamedTuple):
    """One event: who is concerned on which lists, when, and whether they entered."""

    audience: str
    digests: tuple[tuple[str, str], ...]
    """Type of list and digest."""
    entered: bool
    moment_us: int


def _sha1(text: str) -> str:
    return sha1(text.encode()).hexdigest()


def people_of(audience: str, way: int) -> list[Person]:
    """Those of an audience of whom one way in tells, no other."""
    first = int(audience) * 1_000 + way * 100
    return [
        Person(f"somebody.{number}@{HOST}", str(uuid.UUID(int=DEVICES + number)))
        for number in range(first, first + PEOPLE_EACH)
    ]


def poison_of(audience: str) -> frozenset[str]:
    """The digest that Pinterest never takes: of one person of an audience."""
    return frozenset({people_of(audience, SHARED)[0].digests["EMAIL"]})


class Moments:
    """Moments of events: no two alike, not quite in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def pick(self, chance: random.Random) -> int:
        """Microseconds since 1970, a little ago: unique by their last three digits and more."""
        with self._lock:
            self._last += 1
            number = self._last
        ago = chance.random() ** 3 * LATE_S
        return int((time.time() - ago) * 1_000) * 1_000 - 1_000 + number % 1_000


@dataclass
class Diary:
    """Every call that was made, and which of them were answered "accepted"."""

    calls: dict[str, tuple[Change, ...]] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    """Answers that no good call may get."""

    def events(self) -> int:
        return sum(len(self.calls[key]) for key in list(self.accepted))


def changes(
    audience: str, people: list[Person], chance: random.Random, moments: Moments
) -> Iterator[tuple[Change, dict[str, Any]]]:
    """An event for each of some people, and the message that tells of it."""
    for person in people:
        entered = chance.random() < 0.6
        shape = chance.random()
        types = ("EMAIL",) if shape < 0.6 else ("MAID",) if shape < 0.8 else ("EMAIL", "MAID")
        moment = moments.pick(chance)
        digests = tuple((each, person.digests[each]) for each in types)
        message: dict[str, Any] = {
            "audience": audience,
            "operation": "add" if entered else "remove",
            "occurred_at": _iso(moment),
        }
        if "EMAIL" in types:
            message["email"] = _written(person.address, chance)
        if "MAID" in types:
            kind = "idfa" if chance.random() < 0.5 else "gaid"
            message[kind] = _written(person.device, chance)
        yield Change(audience, digests, entered, moment), message


def _iso(moment_us: int) -> str:
    seconds, micros = divmod(moment_us, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micros:06d}Z"


def _written(value: str, chance: random.Random) -> str:
    """One of the ways in which upstream systems write a value down."""
    spelling = chance.randrange(4)
    if spelling == 0:
        return value.upper()
    if spelling == 1:
        return f"  {value} "
    return _sha1(value).upper() if spelling == 2 else value
