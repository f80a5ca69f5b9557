"""How each part grows: its cost at sizes from ten thousand to ten million events, and audiences.

Every size of a sweep has an installation of its own, and all of them take turns within a round, so
that what is said about growth is a ratio inside one round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple

from tests.benchmarks import harness
from tests.benchmarks.harness import Must, Row, at_most, brief
from tests.benchmarks.installation import Ground
from tests.benchmarks.sweeps import SWEEPS, Load, Sweep

EVENTS = (10_000, 100_000, 1_000_000, 10_000_000)
AUDIENCES = (10, 100, 1_000, 10_000)
MOST_ROWS, MOST_OBJECTS = 1_000_000, 100_000
"""Events up to which rows without objects, and objects, are measured."""
AGAINST_AUDIENCES = 1_000_000
"""Events at most, where the audiences grow."""
LEAST_SHARE = 10
"""Events that each audience has at least, where the audiences grow."""
LEAST_EVENTS = 50_000
"""Where the events grow, fewer of them are measured that many events' worth of times a round."""


@dataclass(frozen=True)
class Point:
    series: str
    x: int
    unit: str
    rounds: Sequence[float]

    def written(self) -> dict[str, Any]:
        return asdict(self) | {"y": median(self.rounds)}


def loads(sweep: Sweep, largest: int) -> dict[int, Load]:
    """What is measured at each size; none has more than ``largest`` events."""
    if sweep.against == "events":
        return {
            size: Load(
                size,
                sweep.audiences,
                size if size <= MOST_ROWS else 0,
                size if size <= MOST_OBJECTS else 0,
            )
            for size in EVENTS
            if size <= largest
        }
    events = min(AGAINST_AUDIENCES, largest)
    return {
        size: Load(events, size, events, min(events, MOST_OBJECTS))
        for size in AUDIENCES
        if size * LEAST_SHARE <= events
    }


def take(ground: Ground, sweep: Sweep, largest: int, rounds: int) -> list[Point]:
    """Every size of a sweep, each case in every round."""
    cases: dict[tuple[str, int], Callable[[], float]] = {}
    with ExitStack() as stack:
        for size, load in loads(sweep, largest).items():
            harness.tell(f"preparing {size:,} {sweep.against}")
            times = LEAST_EVENTS // load.events if sweep.against == "events" else 1
            for series, case in sweep.prepare(stack, ground, load).items():
                cases[series, size] = _repeated(case, times)
        harness.keep_out_of_collections()
        names = {f"{series} at {size:,}": case for (series, size), case in cases.items()}
        taken = harness.interleave(rounds, names)
    return [
        Point(series, size, sweep.unit, taken[f"{series} at {size:,}"]) for series, size in cases
    ]


def _repeated(case: Callable[[], float], times: int) -> Callable[[], float]:
    return lambda: median(case() for _ in range(max(1, times)))


def as_rows(name: str, points: Sequence[Point]) -> list[Row]:
    """The points of a sweep as lines of a table."""
    sweep = SWEEPS[name]
    return [
        Row(f"{sweep.what}, {each.series}, {each.x:,} {sweep.against}", each.rounds, each.unit)
        for each in points
    ]


class Verdict(NamedTuple):
    """What the figures must say about growth."""

    sweep: str
    series: str
    small: int
    """The size to compare with."""
    must: Must
    note: str = ""


VERDICTS = (
    Verdict("stage", "ours, 10,000 events a call", 100_000, at_most(1.5)),
    Verdict("stage", "ours, 1,000 events a call", 100_000, at_most(1.5)),
    Verdict("flush", "ours", 100_000, at_most(1.5)),
    Verdict("memory", "ours", 100_000, at_most(1.5)),
    Verdict(
        "due",
        "ours",
        1_000_000,
        at_most(12),
        " (chunks of 100, not joined: linear in chunks)",
    ),
)


def verdicts(growth: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The largest size against a smaller one, round by round, for each sweep that has both."""
    rows = []
    for name, series, small, must, note in VERDICTS:
        points = growth.get(name, {}).get("points", ())
        rounds = {point["x"]: point["rounds"] for point in points if point["series"] == series}
        largest = max(rounds, default=0)
        if small not in rounds or largest <= small:
            continue
        unit = points[0]["unit"]
        rows.append(
            Row(
                f"{SWEEPS[name].what}, {series}: {largest:,} events / {small:,}{note}",
                [
                    much / little
                    for much, little in zip(rounds[largest], rounds[small], strict=True)
                ],
                "x",
                must,
                ours=f"{brief(median(rounds[largest]))} {unit}",
                yardstick=f"{brief(median(rounds[small]))} {unit}",
            )
        )
    return rows
