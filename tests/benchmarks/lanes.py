"""The lanes of one connection, filled with requests to send, and what came of sending them."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from app.bodies import pack_digests
from app.keyring import batch_purpose
from app.pinterest.pacing import MINUTE, spacing
from tests.benchmarks.delivery_crew import Crew
from tests.benchmarks.end_to_end import deliver_everything
from tests.benchmarks.http_intake import percentile
from tests.benchmarks.installation import LOG_END, LOGGED, Place, activate_all
from tests.benchmarks.watching import cpu_seconds

WRITES_PER_MINUTE = 400
ALLOWED = 1 / spacing(WRITES_PER_MINUTE, MINUTE)
"""Requests a second that our pace allows."""
SEVERAL = 8
SPARE = 1.5
"""Requests in the lanes of a case, over what the limit allows in its time."""
DIGEST_BYTES = 20

_FILL = """
    WITH cut AS (
        INSERT INTO upload (audience_id, reason, message_count, email_read, email_not_forwarded,
                            email_folded, maid_read, maid_not_forwarded, maid_folded)
        SELECT audience_id, 'asked', %(records)s, %(records)s, 0, 0, 0, 0, 0
        FROM customer_list WHERE id = %(list_id)s RETURNING id
    )
    INSERT INTO batch (upload_id, customer_list_id, operation, record_count, payload)
    SELECT cut.id, %(list_id)s, 'ADD', %(records)s, %(payload)s
    FROM cut, generate_series(1, %(batches)s)
"""
_SENT = """
    SELECT extract(epoch FROM started_at)::float8, extract(epoch FROM settled_at)::float8, state
    FROM attempt ORDER BY started_at
"""


class Case(NamedTuple):
    round_trip_ms: int
    records: int
    lists: int
    workers: int

    @property
    def name(self) -> str:
        lists = "one list alone" if self.lists == 1 else f"{self.lists} lists"
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{self.round_trip_ms} ms, {self.records:,} records, {lists}, {workers}"


class Lanes:
    """The lists of one connection, whose lanes are filled for each case."""

    def __init__(self, place: Place, postgres_pid: int | None, seconds: float) -> None:
        self._place, self._postgres_pid, self._seconds = place, postgres_pid, seconds
        activate_all(place, SEVERAL // 2)
        deliver_everything(place.deployment)
        with place.session.cursor() as cursor:
            cursor.execute("SELECT id FROM customer_list ORDER BY id")
            self._list_ids = [list_id for (list_id,) in cursor.fetchall()]
        assert len(self._list_ids) == SEVERAL

    def take(self, case: Case, workers: Crew) -> dict[str, Any]:
        """Let some workers of a crew deliver for a while; the figures of that, for JSON."""
        list_ids = self._list_ids[: case.lists]
        cutting_wal_bytes = self._fill(list_ids, case.records)
        place = self._place
        log_start = place.ask(LOG_END)
        postgres_before = self._postgres_cpu()
        worker_cpu_s = workers.work(list_ids, case.workers, self._seconds)
        postgres_cpu_s = self._postgres_cpu() - postgres_before
        wal_bytes = place.ask(LOGGED, log_start)
        sent = self._sent()
        took_ms = [(ended - began) * 1e3 for began, ended in sent]
        return case._asdict() | {
            "requests": len(sent),
            "requests_per_s": pace([started for started, _ in sent]),
            "allowed_per_s": ALLOWED,
            "request_p50_ms": percentile(took_ms, 0.5),
            "request_longest_ms": max(took_ms),
            "worker_cpu_s": worker_cpu_s,
            "postgres_cpu_s": postgres_cpu_s,
            "wal_bytes": wal_bytes,
            "cutting_wal_bytes_per_request": cutting_wal_bytes,
        }

    def _fill(self, list_ids: list[int], records: int) -> float:
        """Empty all lanes and fill those; nothing is saved up of the time without requests.

        What a batch took of the log of Postgres when it was filled in, in bytes.
        """
        place = self._place
        place.run("TRUNCATE batch, upload, attempt, observation CASCADE")
        seal = place.deployment.keyring.seal
        batches = int(ALLOWED * self._seconds * SPARE) // len(list_ids) + 1
        log_start = place.ask(LOG_END)
        for list_id in list_ids:
            random = os.urandom(DIGEST_BYTES * records)
            digests = [random[at : at + DIGEST_BYTES] for at in range(0, len(random), DIGEST_BYTES)]
            payload = seal(pack_digests(digests), batch_purpose(list_id))
            values = {"list_id": list_id, "records": records, "payload": payload}
            with place.session.cursor() as cursor:
                cursor.execute(_FILL, values | {"batches": batches})
        wal_bytes: float = place.ask(LOGGED, log_start)
        # no checkpoint: what is cut is sent before the next one, and no page is logged anew
        place.run("VACUUM ANALYZE batch, upload, attempt, observation, customer_list, budget")
        place.run("UPDATE budget SET next_slot_at = clock_timestamp()")
        return wal_bytes / (batches * len(list_ids))

    def _sent(self) -> list[tuple[float, float]]:
        """When each request began and ended; all of them have to be accepted, and some left."""
        with self._place.session.cursor() as cursor:
            cursor.execute(_SENT)
            attempts = cursor.fetchall()
        assert {state for *_, state in attempts} == {"sent"}, "not every request was accepted"
        assert self._place.ask("SELECT count(*) FROM batch WHERE state = 'waiting'"), (
            "lanes ran dry"
        )
        return [(began, ended) for began, ended, _ in attempts]

    def _postgres_cpu(self) -> float:
        return cpu_seconds(self._postgres_pid) if self._postgres_pid else 0.0


def pace(began: list[float]) -> float:
    """Requests a second, from one's beginning to that of the next."""
    return (len(began) - 1) / (began[-1] - began[0]) if len(began) > 1 else 0.0
