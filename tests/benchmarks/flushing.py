"""A flush of one audience, against ORM objects and against tuples.

Timed is everything from the read to the commit that has deleted what was read: ours in as many
uploads as it takes, each with its batches sealed and committed; the yardsticks up to the digests
of each request, which they hand to nobody. The lanes are emptied without HTTP, outside of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from time import perf_counter

from sqlalchemy.orm import Session

from app.deployment import Deployment
from app.flush import flush_once
from app.staging import Intake, stage
from tests.benchmarks import harness
from tests.benchmarks.events import Sample
from tests.benchmarks.harness import Pace, Row, Sizes, at_least
from tests.benchmarks.installation import Ground, Place, activate_all, plain_engine
from tests.benchmarks.textbook import COPY_ROWS, Post, flush_objects, flush_tuples, row_text

PER_CHUNK = 100
"""Events in a chunk, as calls of 10,000 events over 100 audiences make them."""
EMPTY_LANES = (
    "UPDATE batch SET state = 'sent', payload = NULL, settled_at = clock_timestamp()"
    " WHERE state = 'waiting'"
)


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
        self._stage(per_chunk)

    def close(self) -> None:
        self._textbook.dispose()

    def ours(self, empty_lanes: Callable[[], object] | None = None) -> Pace:
        self.put_back("staged_chunk", "kept_chunk", "id")
        self.place.run("TRUNCATE batch, upload CASCADE")
        messages, seconds = flush_all(
            self.place.deployment,
            self.audience_id,
            empty_lanes or (lambda: self.place.run(EMPTY_LANES)),
        )
        assert messages == self.sample.count
        return Pace(messages, seconds)

    def objects(self, count: int, post: Post) -> Pace:
        """The ORM flush, of the first ``count`` events."""
        self.put_back("event_row", "kept_row", "id", count)
        with Session(self._textbook, expire_on_commit=False) as session:
            start = perf_counter()
            flush_objects(session, self.audience_id, self._per_request, post)
            return Pace(count, perf_counter() - start)

    def tuples(self, post: Post) -> Pace:
        self.put_back("event_row", "kept_row", "id")
        with self._textbook.connect() as connection:
            start = perf_counter()
            flush_tuples(connection, self.audience_id, self._per_request, post)
            return Pace(self.sample.count, perf_counter() - start)

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

    def _stage(self, per_chunk: int) -> None:
        intake = Intake(self.place.deployment, "benchmark")
        with self.place.session.cursor() as cursor:
            for events in self.sample.calls(10_000):
                cursor.copy_expert(COPY_ROWS, BytesIO(row_text(events, self._ids)))
                for start in range(0, len(events), per_chunk):
                    stage(intake, events[start : start + per_chunk])
        self.place.run("CREATE TABLE kept_chunk AS SELECT * FROM staged_chunk")
        self.place.run("CREATE TABLE kept_row AS SELECT * FROM event_row")


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
            },
        )
        floor = [harness.sha1_alone(flushing.sample.values[:100_000]) for _ in range(sizes.rounds)]
        flushing.close()
    return [
        harness.compared(
            f"flush of {sizes.events:,} / ORM objects ({sizes.flushed_objects:,} a round)",
            taken["ours"],
            taken["objects"],
            floor,
            at_least(12) if sizes.judged else None,
        ),
        harness.compared(
            f"flush of {sizes.events:,} / tuples and bulk DELETE",
            taken["ours"],
            taken["tuples"],
            floor,
            at_least(1.8) if sizes.judged else None,
        ),
    ]
