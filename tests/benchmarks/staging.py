"""Staging: events in, against rows and against floors; what they take on disk and in the log.

Timed is what a caller waits for, from built events to the commit. COPY of rows gets more: its bytes
are formatted beforehand, so that only the socket and the server are left. The floors are below all
that stages the same: COPY of the chunk rows that ours sends, made beforehand, and the disk's own
time for as many bytes a call. Disk is what stands after staging, with indexes, TOAST and our
receipts; WAL is what staging and deleting again wrote. What vacuum writes to the log later is
counted on neither side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from io import BytesIO
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from app.events import MembershipEvent
from app.staging import Intake, stage
from tests.benchmarks import floors, harness
from tests.benchmarks.events import Sample, in_columns
from tests.benchmarks.footprint import OURS, THEIRS, Side, Staged, leave_alone, measured, smaller
from tests.benchmarks.harness import Must, Pace, Row, Sizes, at_least
from tests.benchmarks.installation import Ground, Place, fill_audiences, plain_engine
from tests.benchmarks.textbook import COPY_ROWS, add_objects, row_text
from tests.benchmarks.tidy import insert_rows

AUDIENCES = 100
CALLS = {"1k": 1_000, "10k": 10_000}
"""Events in a call, by the name it has in the table."""
OBJECTS, COLUMNS = "stage", "stage of events in columns"
IN_COLUMNS = "10k"
"""The calls that are also measured in columns, as our own format makes large ones."""
T = TypeVar("T")
Call = Sequence[MembershipEvent]


class Staging:
    """The ways to stage one sample, each into empty tables."""

    def __init__(self, place: Place, sample: Sample) -> None:
        self.place, self.sample = place, sample
        self.audience_ids = fill_audiences(place, sample.upstream_ids)
        self._textbook = plain_engine(place)
        self.own: dict[int, list[bytes]] = {}
        """What ours sent with each call, by events per call, once it was measured."""

    def close(self) -> None:
        self._textbook.dispose()

    def ours(self, per_call: int, form: Callable[[list[MembershipEvent]], Call] = list) -> Staged:
        """``form``: what the events of a call are built as."""
        intake = Intake(self.place.deployment, "benchmark")
        calls = map(form, self.sample.calls(per_call))

        def keep_own() -> None:
            if per_call not in self.own:
                self.own[per_call] = floors.staged_calls(self.place)

        return self._took(OURS, calls, lambda events: stage(intake, events), keep_own)

    def copied_rows(self, per_call: int) -> Staged:
        """COPY of bytes that were made before, one row per event."""
        calls = map(BytesIO, self._in_step(self._texts(per_call), per_call))
        with self.place.session.cursor() as cursor:
            # as ours goes: all at once, and the commit with the statement
            return self._took(
                THEIRS,
                calls,
                lambda stream: cursor.copy_expert(COPY_ROWS, stream, floors.AT_ONCE),
            )

    def objects(self, per_call: int) -> Staged:
        calls = self.sample.calls(per_call)
        with Session(self._textbook, expire_on_commit=False) as session:
            return self._took(
                THEIRS, calls, lambda events: add_objects(session, events, self.audience_ids)
            )

    def inserts(self, per_call: int) -> Staged:
        """SQLAlchemy Core, as the tidy version has it."""
        calls = self.sample.calls(per_call)
        with self._textbook.connect() as connection:
            return self._took(
                THEIRS, calls, lambda events: insert_rows(connection, events, self.audience_ids)
            )

    def copied_own(self, per_call: int) -> Pace:
        """A floor: COPY of the very rows that ours sends, made before."""
        calls = self._in_step(self.own[per_call], per_call)
        pace = Pace(self.sample.count, floors.copy_in(self.place, calls))
        assert self.place.ask(OURS.waiting) == pace.events
        return pace

    def synced_own(self, per_call: int) -> Pace:
        """A floor: as many bytes a call, on the same disk."""
        return Pace(self.sample.count, floors.write_synced(self.place, self.own[per_call]))

    def _took(
        self,
        side: Side,
        calls: Iterable[T],
        step: Callable[[T], object],
        before_deleting: Callable[[], object] = lambda: None,
    ) -> Staged:
        return measured(self.place, side, self.sample.count, calls, step, before_deleting)

    def _in_step(self, calls: Iterable[T], per_call: int) -> Iterator[T]:
        """Calls that were made before, with our own pause before each: a rested server is slower.

        Without it they would come at once, and ours only after its events were built.
        """
        for call, _ in zip(calls, self.sample.calls(per_call), strict=True):
            yield call

    def _texts(self, per_call: int) -> Iterator[bytes]:
        together = per_call // CALLS["1k"]
        for start in range(0, len(self._texts_of_1k), together):
            yield b"".join(self._texts_of_1k[start : start + together])

    @cached_property
    def _texts_of_1k(self) -> list[bytes]:
        return [row_text(events, self.audience_ids) for events in self.sample.calls(CALLS["1k"])]


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    with ground.place() as place:
        leave_alone(place)
        staging = Staging(place, Sample(sizes.events, AUDIENCES))
        fewer = Staging(place, Sample(sizes.staged_objects, AUDIENCES))
        harness.keep_out_of_collections()
        taken = harness.interleave(sizes.rounds, _cases(staging, fewer))
        sha1 = [harness.sha1_alone(staging.sample.values[:100_000]) for _ in range(sizes.rounds)]
        staging.close()
        fewer.close()
    return _rows(taken, sha1, sizes)


def _cases(staging: Staging, fewer: Staging) -> dict[str, Callable[[], Any]]:
    """Ours comes before its floors: what it sends in the first round is what they are made of."""
    cases: dict[str, Callable[[], Any]] = {}
    for name, per_call in CALLS.items():
        cases |= {
            f"stage, {name} a call": partial(staging.ours, per_call),
            f"COPY of rows, {name} a call": partial(staging.copied_rows, per_call),
            f"COPY of its own rows, {name} a call": partial(staging.copied_own, per_call),
            f"fdatasync of its bytes, {name} a call": partial(staging.synced_own, per_call),
        }
    return cases | {
        f"{COLUMNS}, {IN_COLUMNS} a call": partial(staging.ours, CALLS[IN_COLUMNS], in_columns),
        "ORM add_all, 1k a call": partial(fewer.objects, 1_000),
        "Core insert, 1k a call": partial(fewer.inserts, 1_000),
    }


def _rows(taken: dict[str, list[Any]], sha1: list[Pace], sizes: Sizes) -> list[Row]:
    def faster(
        per_call: str,
        yardstick: str,
        must: Must | None = None,
        note: str = "",
        ours_is: str = OBJECTS,
    ) -> Row:
        ours, theirs = (
            [each.pace if isinstance(each, Staged) else each for each in taken[name]]
            for name in (f"{ours_is}, {per_call} a call", f"{yardstick}, {per_call} a call")
        )
        what = f"{ours_is}, {per_call} a call / {yardstick}{note}"
        return harness.compared(what, ours, theirs, sha1, must)

    fewer = f" ({sizes.staged_objects:,} a round)"
    rows = [
        faster("1k", "COPY of rows", at_least(1.2)),
        faster("10k", "COPY of rows", at_least(2.2)),
        faster("1k", "ORM add_all", at_least(20), fewer),
        faster("1k", "Core insert", None, fewer),
        faster(IN_COLUMNS, "COPY of rows", ours_is=COLUMNS),
    ]
    for per_call in CALLS:
        rows.append(faster(per_call, "COPY of its own rows"))
        rows.append(faster(per_call, "fdatasync of its bytes"))
    for per_call in CALLS:
        ours, theirs = taken[f"stage, {per_call} a call"], taken[f"COPY of rows, {per_call} a call"]
        rows.append(
            smaller(f"disk of an event, {per_call} a call", ours, theirs, "disk_bytes", 1 / 2)
        )
        rows.append(
            smaller(
                f"WAL of an event, staged and deleted, {per_call}", ours, theirs, "wal_bytes", 1 / 3
            )
        )
    return rows
