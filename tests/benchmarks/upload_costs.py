"""What an upload takes by itself, from a round of many workers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.benchmarks.costs import Measured
from tests.benchmarks.evidence import Cost, Costs, Figures, figure
from tests.benchmarks.harness import brief
from tests.benchmarks.loads import Amounts

CREW = "2 workers"


def uploading(figures: Figures, cost: Measured) -> Costs:
    """Of each cost of an upload what its events, chunks, records and requests do not explain."""
    measured = figure(figures, "workers", "measured")
    crew = figure(measured, "crews", CREW)
    one = _one_upload(measured, crew)
    workers, postgres, log = _explained(one, cost)
    us = figure(crew, "seconds") / figure(crew, "uploads") * 1e6
    cores: Mapping[str, float] = figure(crew, "cores")
    busy = sum(share for name, share in cores.items() if name.startswith("workers"))
    watched = "CPU of Postgres, also for our own looks"
    written = figure(crew, "wal_bytes_per_event") * one.events
    return {
        "upload_us": _rest("CPU of workers", "us", busy * us, workers),
        "postgres_upload_us": _rest(watched, "us", figure(cores, "postgres") * us, postgres),
        "wal_upload_bytes": _rest("WAL", "bytes", written, log),
        "messages_per_upload": _messages(crew),
    }


def _messages(crew: Mapping[str, Any]) -> Cost:
    ran = sum(each["ran"] for each in figure(crew, "tasks").values())
    uploads = figure(crew, "uploads")
    return Cost(ran / uploads, f"workers, {CREW}: {ran:,} tasks ran for {uploads:,} uploads")


def _one_upload(measured: Mapping[str, Any], crew: Mapping[str, Any]) -> Amounts:
    """Staged before, so without calls; its records are its events: hardly any fold there."""
    uploads = figure(crew, "uploads")
    events = figure(measured, "events") / uploads
    requests = figure(crew, "requests_per_s") * figure(crew, "seconds") / uploads
    chunks = figure(measured, "chunks") / uploads
    return Amounts(0, events, chunks, records=events, requests=requests, uploads=1)


def _explained(one: Amounts, cost: Measured) -> tuple[float, float, float]:
    """The CPU of workers, that of Postgres, and the log that the parts of one upload account for.

    All was staged before the round and a checkpoint; in the round it is deleted.
    """
    workers = one.costs(
        event=cost.flush_us,
        chunk=cost.flush_chunk_us,
        record=cost.record_us,
        request=cost.request_us,
    )
    postgres = one.costs(
        event=cost.postgres_flush_us,
        chunk=cost.postgres_flush_chunk_us,
        record=cost.postgres_record_us,
        request=cost.postgres_request_us,
    )
    log = one.costs(
        event=cost.wal_image_bytes,
        chunk=cost.wal_image_chunk_bytes,
        record=cost.wal_record_bytes,
        request=cost.wal_request_bytes,
    )
    return workers, postgres, log


def _rest(what: str, unit: str, whole: float, known: float) -> Cost:
    source = (
        f"workers, {CREW}: {what}, {brief(whole)} {unit} an upload, less {brief(known)} that its"
        " events, chunks, records and requests cost"
    )
    return Cost(max(0.0, whole - known), source)
