"""Small chunks: single events to many audiences, and what the due check and status cost then.

An upstream that sends one event a call makes a chunk of each. They come in portions, and after each
beat has them joined as it does once a minute; autovacuum's visit in between is made here, so that
nobody has to wait for it. Beside it stands the same backlog with nothing joined. It is one pass
without rounds: rows tell of the last size only.
"""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass, field
from time import perf_counter, process_time
from typing import Any

from app.bodies import flag, pack_chunk
from app.compacting import compact_once
from app.copying import copy_rows
from app.events import Kind
from app.identities import RAW
from app.keyring import chunk_purpose
from app.status import read_status
from app.tables import staged_chunk
from tests.benchmarks import harness
from tests.benchmarks.due_check import Waiting
from tests.benchmarks.events import START_US
from tests.benchmarks.harness import Row, Sizes, at_most
from tests.benchmarks.installation import LOG_END, LOGGED, Ground, Place

PORTIONS = 10
SHARE = 10
"""Of the events that wait in the due check's group, one in so many."""
_ADDRESS = "francisca.{:07d}@example.org"
_ROW = struct.Struct(">hiqihihihi")
_COLUMNS = ("audience_id", "message_count", "email_count", "maid_count", "body")
_MORE = """
    INSERT INTO staged_chunk (audience_id, message_count, email_count, maid_count, body)
    SELECT audience_id, message_count, email_count, maid_count, body
    FROM generate_series(1, %s), one_each ORDER BY random()
"""


@dataclass
class Grown:
    """What was measured after each portion."""

    events: list[int] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    due_ms: list[float] = field(default_factory=list)
    status_ms: list[float] = field(default_factory=list)
    joining_us: list[float] = field(default_factory=list)
    """For each event of the portion, and of it what this process computed."""
    joining_cpu_us: list[float] = field(default_factory=list)
    joining_wal_bytes: list[float] = field(default_factory=list)


class SingleEvents:
    """A backlog of single events, real ones: each body can be opened."""

    def __init__(self, place: Place, audiences: int) -> None:
        self.place, self._audiences = place, audiences
        self._waiting = Waiting(place, 0, audiences)
        self._waiting.fill_audiences()
        place.run("CREATE UNLOGGED TABLE one_each AS TABLE staged_chunk WITH NO DATA")
        place.run("ALTER TABLE one_each ALTER body SET STORAGE EXTERNAL")
        with place.session.cursor() as cursor:
            copy_rows(cursor, staged_chunk, _COLUMNS, map(self._row, range(1, audiences + 1)))
        place.run("INSERT INTO one_each TABLE staged_chunk")
        place.run("TRUNCATE staged_chunk")

    def close(self) -> None:
        self._waiting.close()

    def add(self, events: int) -> None:
        self.place.run(_MORE, events // self._audiences)

    def wait_a_minute(self) -> None:
        """For what joins: it rests between two passes, and beat rings once a minute."""
        self.place.run("UPDATE sweep SET finished_at = finished_at - interval '1 minute'")

    def vacuum(self) -> None:
        self.place.run("VACUUM ANALYZE staged_chunk")

    def due_ms(self) -> float:
        return self._waiting.flushes_ms()

    def status_ms(self) -> float:
        start = perf_counter()
        status = read_status(self.place.deployment)
        assert len(status.audiences) == self._audiences
        return (perf_counter() - start) * 1e3

    def chunks(self) -> int:
        return int(self.place.ask("SELECT count(*) FROM staged_chunk"))

    def _row(self, audience_id: int) -> bytes:
        flags = bytes([flag(add=True, form=RAW, kind=Kind.EMAIL)])
        plain = pack_chunk(flags, [START_US], [_ADDRESS.format(audience_id)])
        body = self.place.deployment.keyring.seal(plain, chunk_purpose(audience_id))
        return _ROW.pack(5, 8, audience_id, 2, 1, 2, 1, 2, 0, len(body)) + body


def grow(backlog: SingleEvents, portion: int, *, joined: bool) -> Grown:
    """Let the backlog grow portion by portion, with or without joining after each."""
    grown = Grown()
    for number in range(1, PORTIONS + 1):
        backlog.add(portion)
        backlog.vacuum()
        if joined:
            backlog.wait_a_minute()
            log_start = backlog.place.ask(LOG_END)
            start, computing = perf_counter(), process_time()
            compact_once(backlog.place.deployment)
            grown.joining_us.append((perf_counter() - start) / portion * 1e6)
            grown.joining_cpu_us.append((process_time() - computing) / portion * 1e6)
            grown.joining_wal_bytes.append(backlog.place.ask(LOGGED, log_start) / portion)
            backlog.vacuum()
        grown.events.append(portion * number)
        grown.chunks.append(backlog.chunks())
        grown.due_ms.append(backlog.due_ms())
        grown.status_ms.append(backlog.status_ms())
        harness.tell(
            f"{portion * number:,} events in {grown.chunks[-1]:,} chunks: "
            f"due check {grown.due_ms[-1]:.0f} ms, status {grown.status_ms[-1]:.0f} ms"
        )
    return grown


def measurements(ground: Ground, sizes: Sizes) -> dict[str, Any]:
    """The same backlog, joined as beat does and left as it came; figures that JSON takes."""
    portion = sizes.waiting // SHARE // PORTIONS
    taken: dict[str, Any] = {"audiences": sizes.waiting_audiences, "judged": sizes.judged}
    for name, joined in (("joined", True), ("as they came", False)):
        with ground.place() as place:
            harness.tell(f"single events, {name}")
            backlog = SingleEvents(place, sizes.waiting_audiences)
            taken[name] = asdict(grow(backlog, portion, joined=joined))
            backlog.close()
    return taken


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    return rows(measurements(ground, sizes))


def rows(measured: dict[str, Any]) -> list[Row]:
    joined, single = Grown(**measured["joined"]), Grown(**measured["as they came"])
    half = PORTIONS // 2
    what = f"{joined.events[-1]:,} single events, {measured['audiences']:,} audiences"

    def flat(name: str, figures: list[float]) -> Row:
        """All that came against half of it. Figures of other sizes would be no rounds of it."""
        return Row(
            f"  {name}, twice the backlog",
            [figures[-1] / figures[half - 1]],
            "x",
            at_most(1.5) if measured["judged"] else None,
        )

    return [
        Row(f"due check, {what}, joined", joined.due_ms[-1:], "ms"),
        Row("  as they came", single.due_ms[-1:], "ms"),
        flat("due check", joined.due_ms),
        Row(f"status, {what}, joined", joined.status_ms[-1:], "ms"),
        Row("  as they came", single.status_ms[-1:], "ms"),
        flat("status", joined.status_ms),
        Row("  chunks that remain", [float(joined.chunks[-1])], "chunks"),
        Row("  joining the last portion, an event", joined.joining_us[-1:], "us"),
        Row("  of it our processor", joined.joining_cpu_us[-1:], "us"),
        Row("  WAL of joining the last portion, an event", joined.joining_wal_bytes[-1:], "B"),
    ]
