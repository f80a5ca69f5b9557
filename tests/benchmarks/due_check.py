"""The due check while much waits, against counting one row per event.

Chunks of 100 events, as calls of 10,000 events over 100 audiences make them. Both tables are as
autovacuum leaves them just before its next visit: all vacuumed but the last 4 percent, which came
since. Nothing is due, for no audience has the million events that it would take here, so that the
answer costs nothing. Each statement is warmed up once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import median
from time import perf_counter

import sqlalchemy as sa

from app.database import transaction
from app.due import audiences_due
from app.due_lists import lists_due
from tests.benchmarks import harness
from tests.benchmarks.harness import Row, Sizes, at_least, at_most
from tests.benchmarks.installation import Ground, Place, plain_engine

PER_CHUNK = 100
FEW_AUDIENCES = 100
BODIES = {"short": 16, "usual": 4_300, "inline": 1_900}
"""Bytes. The check reads no body, so none may matter: short ones are the cheapest rows to walk, the
usual ones of 100 events lie beside the table (TOAST), and inline ones are the longest that lie in
it, so that whatever walks over the table itself pays for them."""
NOT_DUE = 1_000_000
"""Events that make an audience due: more than any has here."""
VACUUMED = 0.96
REPEATS = 5
"""Of the quick statements, within one round."""

_AUDIENCES = """
    INSERT INTO audience (connection_id, upstream_id, name, last_upload_at)
    SELECT connection.id, 'upstream-' || number, 'audience ' || number, clock_timestamp()
    FROM connection, generate_series(1, %s) AS number
"""
_LISTS = """
    INSERT INTO customer_list (audience_id, list_type, name, pinterest_list_id,
                               pinterest_audience_id)
    SELECT id, list_type, name || list_type, id || list_type, id || list_type
    FROM audience, unnest(ARRAY['EMAIL', 'MAID']) AS list_type
"""
_CHUNKS = f"""
    INSERT INTO staged_chunk (audience_id, message_count, email_count, maid_count, body)
    SELECT number %% %s + 1, {PER_CHUNK}, {PER_CHUNK * 6 // 10}, {PER_CHUNK * 4 // 10}, %s
    FROM generate_series(%s, %s) AS number
"""
_ROWS = f"""
    INSERT INTO event_row (audience_id, occurred_at, operation, kind, value)
    SELECT (number + {PER_CHUNK - 1}) / {PER_CHUNK} %% %s + 1, now(), 1, 0, md5(number::text)
    FROM generate_series(%s, %s) AS number
"""


class Waiting:
    """Many events that wait for many audiences, as chunks and as rows."""

    def __init__(self, place: Place, events: int, audiences: int) -> None:
        self.place, self._events, self._audiences = place, events, audiences
        self._textbook = plain_engine(place)

    def close(self) -> None:
        self._textbook.dispose()

    def fill_audiences(self) -> None:
        self.place.run(_AUDIENCES, self._audiences)
        self.place.run(_LISTS)
        self.place.run("VACUUM ANALYZE audience, customer_list")

    def fill_chunks(self, body_bytes: int) -> None:
        """Stage the events anew, every chunk with the same random body."""
        place, body = self.place, os.urandom(body_bytes)
        count = self._events // PER_CHUNK
        old = int(count * VACUUMED)
        place.run("TRUNCATE staged_chunk")
        place.run(_CHUNKS, self._audiences, body, 1, old)
        place.run("VACUUM ANALYZE staged_chunk")
        place.run(_CHUNKS, self._audiences, body, old + 1, count)
        place.checkpoint()

    def fill_rows(self) -> None:
        """The same events as rows. Without a log meanwhile: only how they are read is measured."""
        place, old = self.place, int(self._events * VACUUMED)
        place.run("ALTER TABLE event_row SET UNLOGGED")
        place.run("ALTER TABLE event_row DROP CONSTRAINT event_row_pkey")
        place.run(_ROWS, self._audiences, 1, old)
        place.run("ALTER TABLE event_row ADD PRIMARY KEY (audience_id, id)")
        place.run("VACUUM ANALYZE event_row")
        place.run(_ROWS, self._audiences, old + 1, self._events)
        place.checkpoint()

    def flushes_ms(self) -> float:
        """The statement that counting rows is compared with: which audiences are to flush."""
        settings = self.place.deployment.settings
        with transaction(self.place.deployment.engine) as tx:
            return _usual_ms(lambda: audiences_due(tx, settings))

    def check_ms(self) -> float:
        """The whole check: which audiences are to flush, and which lists to deliver."""
        settings = self.place.deployment.settings
        with transaction(self.place.deployment.engine) as tx:
            return _usual_ms(lambda: (audiences_due(tx, settings), lists_due(tx, settings)))

    def count_ms(self) -> float:
        query = "SELECT audience_id, count(*) FROM event_row GROUP BY audience_id"
        with self._textbook.connect() as connection:
            connection.execute(sa.text(query)).all()  # warms up, as with ours
            start = perf_counter()
            connection.execute(sa.text(query)).all()
            return (perf_counter() - start) * 1e3


def _usual_ms(check: Callable[[], object]) -> float:
    """The median of some repeats, the first of which only warms up."""
    taken = []
    for _ in range(REPEATS + 1):
        start = perf_counter()
        check()
        taken.append((perf_counter() - start) * 1e3)
    return median(taken[1:])


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    """The ratio is judged with few large audiences, the time itself with many (design 9)."""
    few, many = FEW_AUDIENCES, sizes.waiting_audiences
    rows = []
    for audiences, bodies in ((few, ("usual",)), (many, tuple(BODIES))):
        taken = _taken(ground, sizes, audiences, bodies)
        for body, rounds in taken.items():
            where = f"{sizes.waiting:,} events, {audiences:,} audiences, {body} bodies"
            rows += _rows(where, rounds, sizes, ratio=audiences == few)
    return rows


def _taken(
    ground: Ground, sizes: Sizes, audiences: int, bodies: tuple[str, ...]
) -> dict[str, dict[str, list[float]]]:
    with ground.place(flush_messages=NOT_DUE) as place:
        waiting = Waiting(place, sizes.waiting, audiences)
        waiting.fill_audiences()
        waiting.fill_rows()
        taken = {}
        for body in bodies:
            waiting.fill_chunks(BODIES[body])
            taken[body] = harness.interleave(
                sizes.rounds,
                {
                    "which audiences to flush": waiting.flushes_ms,
                    "the whole check": waiting.check_ms,
                    "count(*) group by": waiting.count_ms,
                },
            )
        waiting.close()
    return taken


def _rows(where: str, taken: dict[str, list[float]], sizes: Sizes, *, ratio: bool) -> list[Row]:
    flushes, counts = taken["which audiences to flush"], taken["count(*) group by"]
    return [
        Row(
            f"due check / count(*), {where}",
            [theirs / ours for ours, theirs in zip(flushes, counts, strict=True)],
            "x",
            at_least(40) if sizes.judged and ratio else None,
            ours=f"{median(flushes):.1f} ms",
            yardstick=f"{median(counts):.0f} ms",
            rounds={"ours ms": flushes, "yardstick ms": counts},
        ),
        Row(
            "  the same, absolute",
            flushes,
            "ms",
            at_most(15) if sizes.judged and not ratio else None,
        ),
        Row("  with the check for lists to deliver", taken["the whole check"], "ms"),
    ]
