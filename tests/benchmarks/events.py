"""The events of every benchmark: deterministic, and built call by call just before they are used.

60 % addresses of 24 to 32 characters (one in ten title-cased, one in twenty padded with blanks),
20 % upper-case IDFA, 20 % lower-case GAID; 10 % repeat an earlier identity, perhaps in another
spelling; 80 % add. Audiences are drawn uniformly, which is the worst case for chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from app.events import Identity, Kind, MembershipEvent, Operation
from app.plain_events import RAW_FLAGS, PlainEvents

START_US = 1_700_000_000_000_000
STEP_US = 1_000
"""Events occur a millisecond apart, in order, and all in the past."""

_NAMES = (
    *("anna", "bruno", "carlos", "dorotea", "emiliano", "francisca"),
    *("evangelina", "hildegardis", "maximilianus"),
)
_SCATTER = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""An odd factor: it turns consecutive numbers into ids that look random and never repeat."""


class Sample:
    """``count`` events over ``audiences`` audiences; the same ones for the same arguments."""

    def __init__(self, count: int, audiences: int, seed: int = 1) -> None:
        random = Random(seed)
        self.count = count
        self.upstream_ids = [upstream_id(number) for number in range(audiences)]
        self._audiences = random.choices(self.upstream_ids, k=count)
        self._operations = random.choices((Operation.ADD, Operation.REMOVE), (80, 20), k=count)
        self._kinds: list[Kind] = []
        self.values: list[str] = []
        for number in _people(random, count):
            kind, value = _identity(random, number)
            self._kinds.append(kind)
            self.values.append(value)

    def events(self, start: int, stop: int) -> list[MembershipEvent]:
        """The events from ``start`` to ``stop``, as a way in would hand them to ``stage``."""
        times = range(START_US + start * STEP_US, START_US + stop * STEP_US, STEP_US)
        columns = (self._audiences, self._operations, self._kinds, self.values)
        slices = (column[start:stop] for column in columns)
        return [
            MembershipEvent(audience, operation, (Identity(kind, value),), occurred_at_us)
            for (audience, operation, kind, value), occurred_at_us in zip(
                zip(*slices, strict=True), times, strict=False
            )
        ]

    def calls(self, per_call: int) -> Iterator[list[MembershipEvent]]:
        """All events, so many per call, each call built when it is asked for."""
        for start in range(0, self.count, per_call):
            yield self.events(start, min(start + per_call, self.count))


def in_columns(events: Iterable[MembershipEvent]) -> PlainEvents:
    """The same events as calls in our own format become; each has one plain identity."""
    audiences, operations, people, moments = map(list, zip(*events, strict=True))
    kinds, values = map(list, zip(*(identity for (identity,) in people), strict=True))
    flags = [RAW_FLAGS[each][kind] for each, kind in zip(operations, kinds, strict=True)]
    return PlainEvents(audiences, moments, flags, values)


def upstream_id(number: int) -> str:
    return f"upstream-{number}"


def _people(random: Random, count: int) -> Iterator[int]:
    """Whose event each is: somebody new, or at one in ten somebody seen before."""
    known = 0
    for _ in range(count):
        if known and random.random() < 0.1:
            yield random.randrange(known)
        else:
            yield known
            known += 1


def _identity(random: Random, number: int) -> tuple[Kind, str]:
    """The identity of one person, in one of its spellings; the kind follows from the person."""
    share = number * 7 % 10
    if share < 6:
        return Kind.EMAIL, _address(random, number)
    digits = f"{(number + 1) * _SCATTER % (1 << 128):032x}"
    device = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return (Kind.IDFA, device.upper()) if share < 8 else (Kind.GAID, device)


def _address(random: Random, number: int) -> str:
    address = f"{_NAMES[number % len(_NAMES)]}.{number:07d}@example.org"
    spelling = random.random()
    if spelling < 0.1:
        address = address.title()
    return f" {address} " if 0.05 < spelling < 0.1 else address
