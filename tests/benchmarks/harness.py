"""Rounds and medians.

The cases of a group take turns, and each round begins with another one: a box that gets slower
hits all of them alike. A goal is a ratio inside one round, or a plain figure; what is printed and
judged is the median over the rounds.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from statistics import median
from time import perf_counter
from typing import NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Sizes:
    """How much is measured. Objects get fewer events per round: rates are compared per event."""

    rounds: int = 3
    events: int = 1_000_000
    staged_objects: int = 50_000
    flushed_objects: int = 1_000_000
    sent_objects: int = 100_000
    waiting: int = 10_000_000
    waiting_audiences: int = 10_000
    judged: bool = True
    """Whether goals that only hold at full size are judged."""


QUICK = Sizes(
    events=100_000,
    staged_objects=10_000,
    flushed_objects=50_000,
    sent_objects=20_000,
    waiting=500_000,
    waiting_audiences=1_000,
    judged=False,
)


class Pace(NamedTuple):
    """Events, and the seconds they took."""

    events: int
    seconds: float

    @property
    def us(self) -> float:
        """Microseconds per event."""
        return self.seconds / self.events * 1e6


@dataclass(frozen=True)
class Must:
    bound: float
    at_least: bool

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Must:
    return Must(bound, at_least=True)


def at_most(bound: float) -> Must:
    return Must(bound, at_least=False)


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure of every round, and what its median must be."""

    what: str
    """Begins with two blanks where it goes on with the row before it."""
    figures: Sequence[float]
    unit: str
    must: Must | None = None
    ours: str = ""
    yardstick: str = ""
    sha1: str = ""
    rounds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """What the figures were made of, round by round; the unit stands in the names."""

    @property
    def is_met(self) -> bool | None:
        """None where nothing is asked."""
        return None if self.must is None else self.must.is_met(median(self.figures))


def interleave(rounds: int, cases: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Run every case once a round; what each returned, by its name."""
    names = list(cases)
    taken: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            tell(f"round {number + 1} of {rounds}: {name}")
            gc.collect()
            taken[name].append(cases[name]())
    return taken


def tell(progress: str) -> None:
    print(f"  {progress}", file=sys.stderr, flush=True)


def timed(calls: Iterable[T], step: Callable[[T], object]) -> float:
    """The seconds spent in the steps; what the iterator does to build each call is not counted."""
    seconds = 0.0
    for call in calls:
        start = perf_counter()
        step(call)
        seconds += perf_counter() - start
    return seconds


def sha1_alone(values: Sequence[str]) -> Pace:
    """The floor under every way of doing it: SHA-1 of each value, one after another."""
    encoded = [value.encode() for value in values]
    start = perf_counter()
    for value in encoded:
        sha1(value).digest()
    return Pace(len(values), perf_counter() - start)


def keep_out_of_collections() -> None:
    """What was prepared so far is not looked at by the garbage collector while others are timed."""
    gc.collect()
    gc.freeze()


def compared(
    what: str,
    ours: Sequence[Pace],
    yardstick: Sequence[Pace],
    floor: Sequence[Pace],
    must: Must | None,
) -> Row:
    """How many times faster per event ours is, round by round."""
    return Row(
        what,
        [theirs.us / own.us for own, theirs in zip(ours, yardstick, strict=True)],
        "x",
        must,
        ours=per_event(ours),
        yardstick=per_event(yardstick),
        sha1=per_event(floor),
        rounds={
            name: [pace.us for pace in paces]
            for name, paces in (
                ("ours us", ours),
                ("yardstick us", yardstick),
                ("SHA-1 alone us", floor),
            )
        },
    )


def per_event(paces: Sequence[Pace]) -> str:
    """The median, as it stands in a cell of the table."""
    return f"{brief(median(pace.us for pace in paces))} us"


def brief(value: float) -> str:
    """Three digits or so, as figures stand in tables."""
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    if abs(value) < 0.01:
        return f"{value:.3g}"
    return f"{value:.{max(0, 2 - len(str(int(abs(value)))) + 1)}f}"
