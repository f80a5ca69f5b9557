"""Staging: events in, against rows and against floors; what they take on disk and in the log.

Timed is what a caller waits for, from built events to the commit. COPY of rows gets more: its bytes
are formatted beforehand, so that only the socket and the server are left. The floors are below all
that stages the same: COPY of the chunk rows that ours sends, made beforehand, and the disk's own
time for as many bytes a call. Disk is what stands after staging, with indexes, TOAST and our
receipts; WAL is what staging and deleting again wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from io import BytesIO
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.orm import Session

from app.copying import array_text
from app.staging import Intake, stage
from tests.benchmarks import harness
from tests.benchmarks.events import Sample
from tests.benchmarks.floors import StagedCalls
from tests.benchmarks.harness import Must, Pace, Row, Sizes, at_least, at_most
from tests.benchmarks.installation import Ground, Place, activate_all, plain_engine
from tests.benchmarks.textbook import COPY_ROWS, add_objects, row_text
from tests.benchmarks.tidy import insert_rows

AUDIENCES = 100
CALLS = {"1k": 1_000, "10k": 10_000}
"""Events in a call, by the name it has in the table."""
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
        return self._measured(OURS, calls, lambda events: stage(intake, events))

    def copied_rows(self, per_call: int) -> Staged:
        """COPY of bytes that were made before, one row per event."""
        calls = map(BytesIO, self._texts(per_call))
        with self._textbook.connect() as connection:
            cursor = connection.connection.cursor()

            def copy(stream: BytesIO) -> None:
                cursor.copy_expert(COPY_ROWS, stream)
                connection.connection.commit()

            return self._measured(THEIRS, calls, copy)

    def objects(self, per_call: int) -> Staged:
        calls = self.sample.calls(per_call)
        with Session(self._textbook, expire_on_commit=False) as session:
            return self._measured(
                THEIRS, calls, lambda events: add_objects(session, events, self.audience_ids)
            )

    def inserts(self, per_call: int) -> Staged:
        """SQLAlchemy Core, as the tidy version has it."""
        calls = self.sample.calls(per_call)
        with self._textbook.connect() as connection:
            return self._measured(
                THEIRS, calls, lambda events: insert_rows(connection, events, self.audience_ids)
            )

    def _texts(self, per_call: int) -> Iterator[bytes]:
        together = per_call // CALLS["1k"]
        for start in range(0, len(self._texts_of_1k), together):
            yield b"".join(self._texts_of_1k[start : start + together])

    @cached_property
    def _texts_of_1k(self) -> list[bytes]:
        return [row_text(events, self.audience_ids) for events in self.sample.calls(CALLS["1k"])]

    def _measured(self, side: Side, calls: Iterable[T], step: Callable[[T], object]) -> Staged:
        place, count = self.place, self.sample.count
        place.run(f"TRUNCATE {', '.join(side.tables)}")
        place.checkpoint()
        log_start = place.ask("SELECT pg_current_wal_insert_lsn()")
        pace = Pace(count, harness.timed(calls, step))
        assert place.ask(side.waiting) == count
        disk = sum(place.ask("SELECT pg_total_relation_size(%s)", table) for table in side.tables)
        self._delete(side)
        wal = place.ask("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", log_start)
        return Staged(pace, disk / count, float(wal) / count)

    def _delete(self, side: Side) -> None:
        """An audience at a time, as a flush does; of ours exactly the chunks that were read."""
        for audience_id in self.audience_ids.values():
            if side is THEIRS:
                self.place.run("DELETE FROM event_row WHERE audience_id = %s", audience_id)
                continue
            ids = self.place.ask(
                "SELECT array_agg(id) FROM staged_chunk WHERE audience_id = %s", audience_id
            )
            self.place.run(
                "DELETE FROM staged_chunk WHERE audience_id = %s AND id = ANY(%s::bigint[])",
                audience_id,
                array_text(ids or ()),
            )


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    with ground.place() as place:
        staging = Staging(place, Sample(sizes.events, AUDIENCES))
        fewer = Staging(place, Sample(sizes.staged_objects, AUDIENCES))
        own = {name: StagedCalls(place, staging.sample, size) for name, size in CALLS.items()}
        harness.keep_out_of_collections()
        taken = harness.interleave(sizes.rounds, _cases(staging, fewer, own))
        sha1 = [harness.sha1_alone(staging.sample.values[:100_000]) for _ in range(sizes.rounds)]
        staging.close()
        fewer.close()
    return _rows(taken, sha1, sizes)


def _cases(
    staging: Staging, fewer: Staging, own: dict[str, StagedCalls]
) -> dict[str, Callable[[], Any]]:
    cases: dict[str, Callable[[], Any]] = {}
    for name, per_call in CALLS.items():
        cases |= {
            f"stage, {name} a call": partial(staging.ours, per_call),
            f"COPY of rows, {name} a call": partial(staging.copied_rows, per_call),
            f"COPY of its own rows, {name} a call": own[name].copied,
            f"fdatasync of its bytes, {name} a call": own[name].synced,
        }
    return cases | {
        "ORM add_all, 1k a call": partial(fewer.objects, 1_000),
        "Core insert, 1k a call": partial(fewer.inserts, 1_000),
    }


def _rows(taken: dict[str, list[Any]], sha1: list[Pace], sizes: Sizes) -> list[Row]:
    def faster(per_call: str, yardstick: str, must: Must | None = None, note: str = "") -> Row:
        ours, theirs = (
            [each.pace if isinstance(each, Staged) else each for each in taken[name]]
            for name in (f"stage, {per_call} a call", f"{yardstick}, {per_call} a call")
        )
        what = f"stage, {per_call} a call / {yardstick}{note}"
        return harness.compared(what, ours, theirs, sha1, must)

    fewer = f" ({sizes.staged_objects:,} a round)"
    rows = [
        faster("1k", "COPY of rows", at_least(1.2)),
        faster("10k", "COPY of rows", at_least(2.2)),
        faster("1k", "ORM add_all", at_least(20), fewer),
        faster("1k", "Core insert", None, fewer),
    ]
    for per_call in CALLS:
        rows.append(faster(per_call, "COPY of its own rows"))
        rows.append(faster(per_call, "fdatasync of its bytes"))
    for per_call in CALLS:
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
