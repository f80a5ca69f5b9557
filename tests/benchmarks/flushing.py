"""A flush of one audience, against ORM objects, against tuples and against floors.

Timed is everything from the read to the commit that has deleted what was read: ours in as many
uploads as it takes, each with its batches sealed and committed; the yardsticks up to the digests
of each request, which they hand to nobody. The lanes are emptied without HTTP, outside of the time.
The floors are each a part of it alone: reading the bodies, opening them, SHA-1, and moving the
bytes of the batches in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from time import perf_counter

from sqlalchemy.orm import Session

from app import drafting
from app.deployment import Deployment
from app.flush import flush_once
from app.keyring import chunk_purpose
from app.staging import Intake, stage
from tests.benchmarks import floors, harness
from tests.benchmarks.events import Sample
from tests.benchmarks.harness import Must, Pace, Row, Sizes, at_least
from tests.benchmarks.installation import Ground, Place, activate_all, plain_engine
from tests.benchmarks.textbook import Post, copy_into, flush_objects, row_text
from tests.benchmarks.tidy import flush_tuples

PER_CHUNK = 100
"""Events in a chunk, as calls of 10,000 events over 100 audiences make them."""
EMPTY_LANES = (
    "UPDATE batch SET state = 'sent', payload = NULL, settled_at = clock_timestamp()"
    " WHERE state = 'waiting'"
)

PER_CALL = 10_000
VERSIONS = ("ours", "tuples", "objects")
"""What is measured that flushes; the rest are floors."""


@contextmanager
def chunks_of(messages: int) -> Iterator[None]:
    """Let intake cut its chunks so short: one call then makes as many as many calls would."""
    usual = drafting.CHUNK_MESSAGES
    drafting.CHUNK_MESSAGES = messages
    try:
        yield
    finally:
        drafting.CHUNK_MESSAGES = usual


def flush_all(
    deployment: Deployment, audience_id: int, empty_lanes: Callable[[], object]
) -> tuple[int, float]:
    """Flush until nothing waits; the messages, and the seconds without emptying the lanes."""
    messages, seconds = 0, 0.0
    while True:
        start = perf_counter()
        flushed = flush_once(deployment, audience_id)
        seconds += perf_counter() - start
        if flushed is None:
            return messages, seconds
        messages += flushed.messages
        empty_lanes()


class Flushing:
    """One audience's events, kept aside as chunks and as rows, to be put back for every round."""

    def __init__(self, place: Place, sample: Sample, per_chunk: int = PER_CHUNK) -> None:
        self.place, self.sample = place, sample
        ((upstream_id, self.audience_id),) = activate_all(place, 1).items()
        self._ids = {upstream_id: self.audience_id}
        self._textbook = plain_engine(place)
        self.batch_bytes: list[int] = []
        """What the batches of the last flush took, each."""
        self._stage(per_chunk)

    def close(self) -> None:
        self._textbook.dispose()

    def ours(self, empty_lanes: Callable[[], object] | None = None) -> Pace:
        self.put_back("staged_chunk", "kept_chunk", "id")
        self.place.run("TRUNCATE batch, upload CASCADE")
        self.batch_bytes.clear()
        messages, seconds = flush_all(
            self.place.deployment, self.audience_id, empty_lanes or self._empty_lanes
        )
        assert messages == self.sample.count
        return Pace(messages, seconds)

    def objects(self, count: int, post: Post) -> Pace:
        """The ORM flush, of the first ``count`` events."""
        self.put_back("event_row", self._kept_rows, "id", count)
        with Session(self._textbook, expire_on_commit=False) as session:
            start = perf_counter()
            flush_objects(session, self.audience_id, self._per_request, post)
            return Pace(count, perf_counter() - start)

    def tuples(self, post: Post) -> Pace:
        self.put_back("event_row", self._kept_rows, "id")
        with self._textbook.connect() as connection:
            start = perf_counter()
            flush_tuples(connection, self.audience_id, self._per_request, post)
            return Pace(self.sample.count, perf_counter() - start)

    def copied_out(self) -> Pace:
        """A floor: the same bodies read from Postgres, and nothing done with them."""
        return self._pace(floors.copy_out(self.place, "SELECT body FROM kept_chunk"))

    def opened(self) -> Pace:
        """A floor: the same bodies decrypted."""
        ring, purpose = self.place.deployment.keyring, chunk_purpose(self.audience_id)
        return self._pace(floors.open_all(ring, self._bodies, purpose))

    def moved(self) -> Pace:
        """A floor: as many bytes as the batches of the last flush have, copied in memory."""
        return self._pace(floors.copy_in_memory(self.batch_bytes))

    def _pace(self, seconds: float) -> Pace:
        return Pace(self.sample.count, seconds)

    def put_back(self, table: str, kept: str, order: str, count: int | None = None) -> None:
        """Fill a table as it was staged, vacuumed as autovacuum would have by now."""
        place = self.place
        limit = "" if count is None else f"LIMIT {count}"
        place.run(f"TRUNCATE {table}")
        place.run(
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE"
            f" SELECT * FROM {kept} ORDER BY {order} {limit}"
        )
        place.run(f"VACUUM ANALYZE {table}")
        place.checkpoint()

    @property
    def _per_request(self) -> int:
        return self.place.deployment.settings.records_per_request

    def _empty_lanes(self) -> None:
        sizes = "SELECT array_agg(octet_length(payload)) FROM batch WHERE state = 'waiting'"
        self.batch_bytes += self.place.ask(sizes) or ()
        self.place.run(EMPTY_LANES)

    def _stage(self, per_chunk: int) -> None:
        intake = Intake(self.place.deployment, "benchmark")
        with chunks_of(per_chunk):
            for events in self.sample.calls(PER_CALL):
                stage(intake, events)
        chunks = self.place.ask("SELECT count(*) FROM staged_chunk")
        assert chunks == -(-self.sample.count // per_chunk)
        self.place.run("CREATE UNLOGGED TABLE kept_chunk AS TABLE staged_chunk")

    @cached_property
    def _kept_rows(self) -> str:
        """The table that keeps the events as rows. It is filled only where rows are flushed."""
        self.place.run("CREATE UNLOGGED TABLE kept_row (LIKE event_row INCLUDING IDENTITY)")
        with self.place.session.cursor() as cursor:
            for events in self.sample.calls(PER_CALL):
                cursor.copy_expert(copy_into("kept_row"), BytesIO(row_text(events, self._ids)))
        return "kept_row"

    @cached_property
    def _bodies(self) -> list[bytes]:
        with self.place.session.cursor() as cursor:
            cursor.execute("SELECT body FROM kept_chunk ORDER BY id")
            return [bytes(body) for (body,) in cursor.fetchall()]


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    # ends with nothing left: whatever waits is due
    with ground.place(flush_messages=1) as place:
        harness.tell("staging what is flushed")
        flushing = Flushing(place, Sample(sizes.events, audiences=1))
        harness.keep_out_of_collections()
        taken = harness.interleave(
            sizes.rounds,
            {
                "ours": flushing.ours,
                "tuples": lambda: flushing.tuples(lambda *_: None),
                "objects": lambda: flushing.objects(sizes.flushed_objects, lambda *_: None),
                "COPY OUT of its bodies": flushing.copied_out,
                "AES-GCM open of its bodies": flushing.opened,
                "memcpy of its batches": flushing.moved,
                "SHA-1 alone": lambda: harness.sha1_alone(flushing.sample.values[:100_000]),
            },
        )
        flushing.close()
    return _rows(taken, sizes)


def _rows(taken: dict[str, list[Pace]], sizes: Sizes) -> list[Row]:
    def faster(yardstick: str, case: str, must: Must | None) -> Row:
        what = f"flush of {sizes.events:,} / {yardstick}"
        must = must if sizes.judged else None
        return harness.compared(what, taken["ours"], taken[case], taken["SHA-1 alone"], must)

    return [
        faster(f"ORM objects ({sizes.flushed_objects:,} a round)", "objects", at_least(12)),
        faster("tuples and bulk DELETE", "tuples", at_least(1.8)),
        *(faster(floor, floor, None) for floor in taken if floor not in VERSIONS),
    ]
