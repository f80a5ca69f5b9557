"""Bloat: a hundred cycles of staging and flushing, and what the tables take at the end.

Nothing is sent: one statement settles what was flushed into the lanes. Nothing waits after a cycle,
so all that the tables of the backlog and of the lane still take is space that was not reclaimed.
Autovacuum does it by itself, as set in the stacks; no cycle waits for it. Between two of its visits
many cycles go by here, where there would be one in three hours: space can only be used again after
a visit, so what was staged between two of them is what the tables are held against. History is no
bloat and is measured by the row: receipts, uploads and settled batches stay until they are purged.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from app.flush import flush_once
from app.staging import Intake, stage
from tests.benchmarks import harness
from tests.benchmarks.events import Sample
from tests.benchmarks.flushing import EMPTY_LANES
from tests.benchmarks.harness import Row, Sizes, at_most
from tests.benchmarks.installation import Ground, Place, activate_all

AUDIENCES = 10
PER_CALL = 10_000
CYCLES = 100
FEW_CYCLES = 10
SHARE = 5
"""Of the events of a round, one in so many makes a cycle."""
SETTLED = 20
"""Cycles after which the tables should not grow any more."""
CHANGING = ("staged_chunk", "audience", "customer_list")
"""Tables whose rows come and go, or change."""
NAPTIME = "autovacuum_naptime"
HISTORY = ("receipt", "upload", "batch")


@dataclass
class Cycles:
    live_mb: float = 0.0
    """What the backlog of one cycle takes, as staged into an empty table."""
    changing_mb: list[float] = field(default_factory=list)
    cycles_between_visits: float = 0.0
    """Of autovacuum, as it is set."""
    history_bytes_per_event: float = 0.0


def run_cycles(place: Place, sample: Sample, count: int) -> Cycles:
    """Stage, flush and settle everything, so many times."""
    deployment = place.deployment
    audience_ids = activate_all(place, len(sample.upstream_ids))
    taken, intake = Cycles(), Intake(deployment, "benchmark")
    began = monotonic()
    for number in range(count):
        for events in sample.calls(PER_CALL):
            stage(intake, events)
        taken.live_mb = taken.live_mb or _megabytes(place, CHANGING[:1])
        for audience_id in audience_ids.values():
            while flush_once(deployment, audience_id):
                place.run(EMPTY_LANES)
        assert place.ask("SELECT count(*) FROM staged_chunk") == 0
        taken.changing_mb.append(_megabytes(place, CHANGING))
        if number % 10 == 9:
            harness.tell(f"{number + 1} cycles: {taken.changing_mb[-1]:.1f} MB")
    visits_s = place.ask("SELECT setting::float8 FROM pg_settings WHERE name = %s", NAPTIME)
    taken.cycles_between_visits = visits_s * count / (monotonic() - began)
    events_in_all = sample.count * count
    taken.history_bytes_per_event = _megabytes(place, HISTORY) * (1 << 20) / events_in_all
    return taken


def _megabytes(place: Place, tables: tuple[str, ...]) -> float:
    total = sum(int(place.ask("SELECT pg_total_relation_size(%s)", table)) for table in tables)
    return total / (1 << 20)


def measurements(ground: Ground, sizes: Sizes) -> dict[str, Any]:
    """What the tables took after each cycle; figures that JSON takes."""
    cycles = CYCLES if sizes.judged else FEW_CYCLES
    with ground.place(flush_messages=1) as place:
        sample = Sample(sizes.events // SHARE, AUDIENCES)
        taken = asdict(run_cycles(place, sample, cycles))
    return taken | {"events": sample.count, "judged": sizes.judged}


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    return rows(measurements(ground, sizes))


def rows(measured: dict[str, Any]) -> list[Row]:
    sizes, live, judged = measured["changing_mb"], measured["live_mb"], measured["judged"]
    between = live * max(1.0, measured["cycles_between_visits"])
    before = min(SETTLED, len(sizes) // 2)
    settled = sizes[before:]
    return [
        Row(
            f"empty tables after staging and flushing {measured['events']:,} events"
            f" {len(sizes)} times / what is staged between two visits of autovacuum",
            [sizes[-1] / between],
            "x",
            at_most(2) if judged else None,
            ours=f"{sizes[-1]:.1f} MB",
            yardstick=f"{between:.1f} MB",
        ),
        Row("  / one backlog", [sizes[-1] / live], "x", yardstick=f"{live:.1f} MB"),
        Row(
            f"  the most after {before} cycles / the most before",
            [max(settled) / max(sizes[:before])],
            "x",
            at_most(1.5) if judged else None,
        ),
        Row("  history that stays, an event", [measured["history_bytes_per_event"]], "B"),
    ]
