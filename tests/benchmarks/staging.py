"""Staging: events in, against rows; and what they take on disk and in the log.

Timed is what a caller waits for, from built events to the commit. The floor gets more: its bytes
are formatted beforehand, so that only the socket and the server are left. Disk is what stands
after staging, with indexes, TOAST and our receipts; WAL is what staging and deleting again wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import NamedTuple, TypeVar

from sqlalchemy.orm import Session

from app.copying import array_text
from app.staging import Intake, stage
from tests.benchmarks import harness
from tests.benchmarks.events import Sample
from tests.benchmarks.harness import Must, Pace, Row, Sizes, at_least, at_most
from tests.benchmarks.installation import Ground, Place, activate_all, plain_engine
from tests.benchmarks.textbook import COPY_ROWS, add_objects, row_text

AUDIENCES = 100
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


class Staging:
    """The ways to stage one sample, each into empty tables."""

    def __init__(self, place: Place, sample: Sample) -> None:
        self.place, self.sample = place, sample
        self.audience_ids = activate_all(place, len(sample.upstream_ids))
        self._textbook = plain_engine(place)

    def close(self) -> None:
        self._textbook.dispose()

    def ours(self, per_call: int) -> Staged:
        intake = Intake(self.place.deployment, "benchmark")
        calls = self.sample.calls(per_call)
        return self._measured(OURS, calls, lambda events: stage(intake, events), self.delete_ours)

    def copied_rows(self, per_call: int) -> Staged:
        """The floor: COPY of bytes that were made before, one row per event."""
        calls = (
            BytesIO(row_text(events, self.audience_ids)) for events in self.sample.calls(per_call)
        )
        with self._textbook.connect() as connection:
            cursor = connection.connection.cursor()

            def copy(stream: BytesIO) -> None:
                cursor.copy_expert(COPY_ROWS, stream)
                connection.connection.commit()

            return self._measured(THEIRS, calls, copy, self.delete_rows)

    def objects(self, per_call: int) -> Staged:
        calls = self.sample.calls(per_call)
        with Session(self._textbook, expire_on_commit=False) as session:
            return self._measured(
                THEIRS,
                calls,
                lambda events: add_objects(session, events, self.audience_ids),
                self.delete_rows,
            )

    def sha1_alone(self) -> Pace:
        return harness.sha1_alone(self.sample.values[:100_000])

    def _measured(
        self,
        side: Side,
        calls: Iterable[T],
        step: Callable[[T], object],
        delete: Callable[[], None],
    ) -> Staged:
        place, count = self.place, self.sample.count
        place.run(f"TRUNCATE {', '.join(side.tables)}")
        place.checkpoint()
        log_start = place.ask("SELECT pg_current_wal_insert_lsn()")
        pace = Pace(count, harness.timed(calls, step))
        assert place.ask(side.waiting) == count
        disk = sum(place.ask("SELECT pg_total_relation_size(%s)", table) for table in side.tables)
        delete()
        wal = place.ask("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", log_start)
        return Staged(pace, disk / count, float(wal) / count)

    def delete_ours(self) -> None:
        """As a flush does: exactly the chunks that were read, an audience at a time."""
        for audience_id in self.audience_ids.values():
            ids = self.place.ask(
                "SELECT array_agg(id) FROM staged_chunk WHERE audience_id = %s", audience_id
            )
            self.place.run(
                "DELETE FROM staged_chunk WHERE audience_id = %s AND id = ANY(%s::bigint[])",
                audience_id,
                array_text(ids or ()),
            )

    def delete_rows(self) -> None:
        for audience_id in self.audience_ids.values():
            self.place.run("DELETE FROM event_row WHERE audience_id = %s", audience_id)


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    with ground.place() as place:
        staging = Staging(place, Sample(sizes.events, AUDIENCES))
        fewer = Staging(place, Sample(sizes.staged_objects, AUDIENCES))
        harness.keep_out_of_collections()
        taken = harness.interleave(
            sizes.rounds,
            {
                "stage, 1k a call": lambda: staging.ours(1_000),
                "COPY of rows, 1k a call": lambda: staging.copied_rows(1_000),
                "stage, 10k a call": lambda: staging.ours(10_000),
                "COPY of rows, 10k a call": lambda: staging.copied_rows(10_000),
                "ORM add_all, 1k a call": lambda: fewer.objects(1_000),
            },
        )
        floor = [staging.sha1_alone() for _ in range(sizes.rounds)]
        staging.close()
        fewer.close()
    return _rows(taken, floor, sizes)


def _rows(taken: dict[str, list[Staged]], floor: list[Pace], sizes: Sizes) -> list[Row]:
    paces = {name: [each.pace for each in rounds] for name, rounds in taken.items()}

    def faster(what: str, per_call: str, yardstick: str, must: Must) -> Row:
        ours, theirs = paces[f"stage, {per_call} a call"], paces[f"{yardstick}, {per_call} a call"]
        return harness.compared(what, ours, theirs, floor, must)

    rows = [
        faster("stage, 1k a call / COPY of rows", "1k", "COPY of rows", at_least(1.2)),
        faster("stage, 10k a call / COPY of rows", "10k", "COPY of rows", at_least(2.2)),
        faster(
            f"stage, 1k a call / ORM add_all ({sizes.staged_objects:,} a round)",
            "1k",
            "ORM add_all",
            at_least(20),
        ),
    ]
    for per_call in ("1k", "10k"):
        ours, theirs = taken[f"stage, {per_call} a call"], taken[f"COPY of rows, {per_call} a call"]
        rows.append(
            _smaller(f"disk of an event, {per_call} a call", ours, theirs, "disk_bytes", 1 / 2)
        )
        rows.append(
            _smaller(
                f"WAL of an event, staged and deleted, {per_call}", ours, theirs, "wal_bytes", 1 / 3
            )
        )
    return rows


def _smaller(
    what: str, ours: list[Staged], theirs: list[Staged], measure: str, bound: float
) -> Row:
    bytes_of = [
        (getattr(own, measure), getattr(their, measure))
        for own, their in zip(ours, theirs, strict=True)
    ]
    own, their = bytes_of[len(bytes_of) // 2]
    return Row(
        what,
        [own / their for own, their in bytes_of],
        "x",
        at_most(bound),
        ours=f"{own:.2f} B",
        yardstick=f"{their:.2f} B",
    )
