"""What a way of staging leaves behind: the disk that it takes, and the log that it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import NamedTuple, TypeVar

from app.copying import array_text
from tests.benchmarks import harness
from tests.benchmarks.harness import Pace, Row, at_most
from tests.benchmarks.installation import Place

T = TypeVar("T")


class Staged(NamedTuple):
    """What one way of staging took, per event."""

    pace: Pace
    disk_bytes: float
    wal_bytes: float


class Side(NamedTuple):
    """The tables of one version, and how many events they say they hold."""

    tables: tuple[str, ...]
    waiting: str


OURS = Side(("staged_chunk", "receipt"), "SELECT sum(message_count) FROM staged_chunk")
THEIRS = Side(("event_row",), "SELECT count(*) FROM event_row")


def leave_alone(place: Place) -> None:
    """Keep autovacuum away: whenever it came, it would write into the log that is measured."""
    for table in (*OURS.tables, *THEIRS.tables):
        place.run(
            f"ALTER TABLE {table} SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)"
        )


def measured(
    place: Place,
    side: Side,
    count: int,
    calls: Iterable[T],
    step: Callable[[T], object],
    before_deleting: Callable[[], object],
) -> Staged:
    """Stage ``count`` events into empty tables, timing the steps, and delete them again."""
    place.run(f"TRUNCATE {', '.join(side.tables)}")
    place.checkpoint()
    log_start = place.ask("SELECT pg_current_wal_insert_lsn()")
    pace = Pace(count, harness.timed(calls, step))
    assert place.ask(side.waiting) == count
    disk = sum(place.ask("SELECT pg_total_relation_size(%s)", table) for table in side.tables)
    before_deleting()
    _delete(place, side)
    wal = place.ask("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", log_start)
    return Staged(pace, disk / count, float(wal) / count)


def _delete(place: Place, side: Side) -> None:
    """An audience at a time, as a flush does; of ours exactly the chunks that were read."""
    for audience_id in place.ask("SELECT array_agg(id) FROM audience"):
        if side is THEIRS:
            place.run("DELETE FROM event_row WHERE audience_id = %s", audience_id)
            continue
        ids = place.ask(
            "SELECT array_agg(id) FROM staged_chunk WHERE audience_id = %s", audience_id
        )
        place.run(
            "DELETE FROM staged_chunk WHERE audience_id = %s AND id = ANY(%s::bigint[])",
            audience_id,
            array_text(ids or ()),
        )


def smaller(what: str, ours: list[Staged], theirs: list[Staged], measure: str, bound: float) -> Row:
    own, their = ([getattr(each, measure) for each in side] for side in (ours, theirs))
    return Row(
        what,
        [less / more for less, more in zip(own, their, strict=True)],
        "x",
        at_most(bound),
        ours=f"{median(own):.2f} B",
        yardstick=f"{median(their):.2f} B",
        rounds={"ours B": own, "yardstick B": their},
    )
