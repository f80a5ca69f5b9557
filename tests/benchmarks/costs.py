"""What things cost and what one of each can do: the inputs of the fleet table."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measured:
    """What things cost on one core, and where each figure comes from. CPU in microseconds."""

    stage_us: float
    """Of intake, per event: from the body to the commit."""
    stage_chunk_us: float
    """Of intake, per chunk: the events of one call for one audience."""
    join_chunk_us: float
    """Of a worker that joins small chunks, per chunk: all times that it is packed anew."""
    flush_us: float
    """Of a worker that flushes, per event."""
    flush_chunk_us: float
    record_us: float
    """Of a worker that delivers, per record sent."""
    request_us: float
    """Of a worker that delivers, per request: its transactions, and its share of the turn."""
    upload_us: float
    """Of workers, per upload: the tasks, also those that find nothing to do."""
    postgres_stage_us: float
    postgres_stage_chunk_us: float
    postgres_join_chunk_us: float
    postgres_flush_us: float
    """Read, cut and deleted, per event."""
    postgres_flush_chunk_us: float
    postgres_record_us: float
    postgres_request_us: float
    postgres_upload_us: float
    wal_stage_bytes: float
    """Staged and deleted, per event."""
    wal_stage_chunk_bytes: float
    wal_join_chunk_bytes: float
    wal_image_bytes: float
    """Its page once more: what is deleted after a checkpoint has its whole page logged."""
    wal_image_chunk_bytes: float
    wal_record_bytes: float
    """Of the batch that holds it, cut and sent."""
    wal_request_bytes: float
    wal_upload_bytes: float
    wire_record_bytes: float
    wire_request_bytes: float
    commits_per_call: float
    commits_per_request: float
    commits_per_upload: float
    messages_per_upload: float
    """Through the broker."""
    sources: dict[str, str] = field(default_factory=dict)
    """Where each figure comes from, by its name."""


STAGE = "`stage` in calls of 10,000, from chunks of 2, 10, 100 and 1,000 events"
FLUSH = "flushes of 100,000 messages, from chunks of 10, 100 and 1,000 events"
JOINING = "group small-chunks: single events, joined once a minute, on average"
SLOW_LINK = "group slow-link over no distance, from requests of 1,900 and of 50,000 records"
WORKERS = "group workers, 2 workers: what of an upload is neither of events nor of requests"

SEEN = Measured(
    stage_us=1.5,
    stage_chunk_us=13.5,
    join_chunk_us=20.0,
    flush_us=1.0,
    flush_chunk_us=16.0,
    record_us=0.2,
    request_us=11_000.0,
    upload_us=48_000.0,
    postgres_stage_us=0.2,
    postgres_stage_chunk_us=4.0,
    postgres_join_chunk_us=20.0,
    postgres_flush_us=0.2,
    postgres_flush_chunk_us=2.0,
    postgres_record_us=0.1,
    postgres_request_us=5_500.0,
    postgres_upload_us=12_000.0,
    wal_stage_bytes=39.0,
    wal_stage_chunk_bytes=190.0,
    wal_join_chunk_bytes=300.0,
    wal_image_bytes=39.0,
    wal_image_chunk_bytes=190.0,
    wal_record_bytes=24.0,
    wal_request_bytes=2_000.0,
    wal_upload_bytes=16_000.0,
    wire_record_bytes=41.0,
    wire_request_bytes=3_000.0,
    commits_per_call=1.0,
    commits_per_request=4.0,
    commits_per_upload=12.0,
    messages_per_upload=7.5,
    sources={
        "stage_us": f"{STAGE} (0.6); as much again for HTTP and JSON, rounded up",
        "stage_chunk_us": STAGE,
        "join_chunk_us": JOINING,
        "flush_us": FLUSH,
        "flush_chunk_us": FLUSH,
        "record_us": SLOW_LINK,
        "request_us": SLOW_LINK,
        "upload_us": WORKERS,
        "postgres_stage_us": STAGE,
        "postgres_stage_chunk_us": STAGE,
        "postgres_join_chunk_us": JOINING,
        "postgres_flush_us": FLUSH,
        "postgres_flush_chunk_us": FLUSH,
        "postgres_record_us": SLOW_LINK,
        "postgres_request_us": SLOW_LINK,
        "postgres_upload_us": WORKERS,
        "wal_stage_bytes": STAGE,
        "wal_stage_chunk_bytes": STAGE,
        "wal_join_chunk_bytes": JOINING,
        "wal_image_bytes": f"{STAGE}, as much again",
        "wal_image_chunk_bytes": f"{STAGE}, as much again",
        "wal_record_bytes": "20 bytes of digest in a sealed batch, and those of its row and pages",
        "wal_request_bytes": SLOW_LINK,
        "wal_upload_bytes": f"{WORKERS}; 25 audiences",
        "wire_record_bytes": "40 hexadecimal digits and a comma",
        "wire_request_bytes": "by count: heads, the answer, and a TLS handshake every few requests",
        "commits_per_call": "by count",
        "commits_per_request": "by count: slot, charge, settle, and a share of the turn's two",
        "commits_per_upload": "by count: two of the flush, two of each task in vain",
        "messages_per_upload": "group workers: tasks that ran for an upload of two lists",
    },
)
"""On two noisy cores, before the first run of the whole: in the place of what was not measured."""
COUNTED = (
    *("wire_record_bytes", "wire_request_bytes"),
    *("commits_per_call", "commits_per_request", "commits_per_upload"),
)
"""These come from the code, and no run says them better."""


@dataclass(frozen=True)
class Limits:
    """What one of each can do for long; why, says ``assumptions``. Not measured here."""

    machine_cores: float = 8.0
    """Of a machine for intake, for workers, or for everything where that is enough."""
    postgres_cores: float = 32.0
    """Of one machine, of which UTILISATION is used."""
    postgres_wal_mb_s: float = 100.0
    postgres_commits_s: float = 5_000.0
    broker_messages_s: float = 10_000.0
    network_mbit_s: float = 5_000.0
