"""One round of uploads: everything waits, workers come, and all of it is accepted in the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from time import monotonic, sleep
from typing import Any, NamedTuple

import requests
from celery import Celery

from app.connections import add_connection
from app.sandbox.embedded_valkey import EmbeddedValkey
from app.sandbox.pinterest import DEFAULT_AD_ACCOUNT, DEFAULT_TOKEN
from app.staging import Intake, stage
from tests.benchmarks.events import Sample
from tests.benchmarks.installation import Place, fill_audiences, fill_lists
from tests.benchmarks.pinterest_process import RunningPinterest
from tests.benchmarks.upload_order import Upload, figures
from tests.benchmarks.watching import CpuMeter, WaitWatch
from workers.configuration import configuration

PER_AUDIENCE = 500
"""Events. All that an upload takes by itself shows, and it still has several requests."""
PER_CALL = 10_000
"""Over 1,000 audiences these are chunks of ten events: small ones."""
CONNECTIONS = 10
"""Each paces its requests by one row of the budget, as it would for ten people."""
LOOK_EVERY_S = 0.1
PATIENCE_S = 600.0


class Stand(NamedTuple):
    """Everything that a round runs on."""

    place: Place
    broker: EmbeddedValkey
    pinterest: RunningPinterest
    postgres_pid: int | None

    @property
    def pids(self) -> dict[str, int | None]:
        """Of all but the workers; None where a server was not started here."""
        simulator = self.pinterest.pid
        return {"postgres": self.postgres_pid, "broker": self.broker.pid, "simulator": simulator}


class Rounds:
    """One sample, staged once and put back for every round."""

    def __init__(self, stand: Stand, events: int) -> None:
        self._stand, self._place = stand, stand.place
        self.events, self.audiences = events, events // PER_AUDIENCE
        sample = Sample(events, self.audiences)
        for number in range(1, CONNECTIONS):
            name = f"connection {number}"
            add_connection(stand.place.deployment, name, DEFAULT_AD_ACCOUNT, DEFAULT_TOKEN)
        fill_audiences(stand.place, sample.upstream_ids)
        fill_lists(stand.place)
        intake = Intake(stand.place.deployment, "benchmark")
        for call in sample.calls(PER_CALL):
            stage(intake, call)
        stand.place.run("CREATE TABLE kept_chunk AS SELECT * FROM staged_chunk")
        self.chunks = int(stand.place.ask("SELECT count(*) FROM kept_chunk"))

    def take(self, workers: Callable[[], AbstractContextManager[dict[str, int]]]) -> dict[str, Any]:
        """Let workers upload everything; the figures of that.

        ``workers`` starts them, and yields the process ids of those who are ready by their names.
        """
        due = self._put_back()
        url = self._place.deployment.settings.require_database_url()
        log_start = self._place.ask("SELECT pg_current_wal_insert_lsn()")
        with WaitWatch(url) as watch, workers() as pids, watch.looking():
            meter = CpuMeter(self._stand.pids | pids)
            began = self._place.ask("SELECT extract(epoch FROM clock_timestamp())::float8")
            self._wait_until_accepted()
            cores = meter.read()
        wal = self._place.ask("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", log_start)
        self._check_counts()
        order = figures(due, self._uploads(), began)
        seconds = order["seconds"]
        return order | {
            "events_per_s": self.events / seconds,
            "requests_per_s": self._place.ask("SELECT count(*) FROM attempt") / seconds,
            "cores": cores,
            "wal_bytes_per_event": float(wal) / self.events,
            "waits": watch.waits.figures(),
        }

    def _put_back(self) -> list[int]:
        """Everything waits again, and nothing was uploaded; the audiences as they fall due."""
        place = self._place
        place.run("TRUNCATE staged_chunk, batch, upload, attempt, observation CASCADE")
        place.run("DELETE FROM sweep")
        place.run("UPDATE audience SET last_upload_at = NULL, drain_to = NULL")
        place.run("UPDATE customer_list SET served_at = NULL")
        place.run(
            "INSERT INTO staged_chunk OVERRIDING SYSTEM VALUE SELECT * FROM kept_chunk ORDER BY id"
        )
        place.run("VACUUM ANALYZE staged_chunk, audience, customer_list, batch, upload, attempt")
        place.checkpoint()
        self._stand.broker.flush()
        with place.session.cursor() as cursor:
            cursor.execute("SELECT audience_id FROM kept_chunk GROUP BY 1 ORDER BY min(id)")
            return [audience_id for (audience_id,) in cursor.fetchall()]

    def _wait_until_accepted(self) -> None:
        """Ring for the due check as beat does, until nothing waits any more."""
        settings = self._place.deployment.settings
        bell = Celery("benchmark")
        bell.conf.update(configuration(settings))
        began = monotonic()
        rings = 0
        while not self._is_accepted():
            took = monotonic() - began
            assert took < PATIENCE_S, "not everything was accepted in time"
            if took >= rings * settings.check_interval:
                bell.send_task("pinfold.check_due")
                rings += 1
            sleep(LOOK_EVERY_S)
        bell.close()

    def _is_accepted(self) -> bool:
        cut = self._place.ask("SELECT coalesce(sum(message_count), 0) FROM upload")
        if cut < self.events:
            return False
        return not self._place.ask("SELECT count(*) FROM batch WHERE state = 'waiting'")

    def _check_counts(self) -> None:
        """Pinterest counted as many records as we have charged, and one that each list began with.

        Each round is charged on top of those before it.
        """
        assert self._place.ask("SELECT count(*) FROM batch WHERE state <> 'sent'") == 0
        summary = requests.get(f"{self._stand.pinterest.inspect_url}/summary", timeout=60).json()
        counted = sum(each["records_applied"] - 1 for each in summary["lists"])
        assert counted == self._place.ask("SELECT sum(charged) FROM customer_list")

    def _uploads(self) -> list[Upload]:
        """What was cut, and when Pinterest had accepted all of it."""
        with self._place.session.cursor() as cursor:
            cursor.execute(
                "SELECT audience_id, extract(epoch FROM cut_at)::float8,"
                "       extract(epoch FROM max(attempt.settled_at))::float8"
                "  FROM upload JOIN attempt ON attempt.upload_id = upload.id GROUP BY upload.id"
                " ORDER BY upload.cut_at"
            )
            return [Upload(*row) for row in cursor.fetchall()]
