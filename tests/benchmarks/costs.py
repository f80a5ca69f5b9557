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
    flush_us: float
    """Of a worker that flushes, per event."""
    flush_chunk_us: float
    record_us: float
    """Of a worker that delivers, per record sent."""
    request_us: float
    """Of a worker that delivers, per request: its transactions, and its share of the turn."""
    upload_us: float
    """Of workers, per upload: the tasks, also those that find nothing to do."""
    postgres_event_us: float
    """Staged, cut and deleted."""
    postgres_chunk_us: float
    postgres_record_us: float
    postgres_request_us: float
    postgres_upload_us: float
    wal_event_bytes: float
    """Staged, cut and deleted."""
    wal_chunk_bytes: float
    wal_record_bytes: float
    """Of the batch that holds it."""
    wal_request_bytes: float
    wire_record_bytes: float
    wire_request_bytes: float
    commits_per_request: float
    commits_per_upload: float
    messages_per_upload: float
    """Through the broker."""
    sources: dict[str, str] = field(default_factory=dict)
    """Where each figure comes from, by its name."""


STAGE = "`stage` in calls of 10,000, from chunks of 2, 10, 100 and 1,000 events"
FLUSH = "flushes of 100,000 messages, from chunks of 10, 100 and 1,000 events"
SLOW_LINK = "group slow-link over no distance, from requests of 1,900 and of 50,000 records"
WORKERS = "group workers, 2 workers: what of an upload is neither of events nor of requests"

SEEN = Measured(
    stage_us=1.5,
    stage_chunk_us=13.5,
    flush_us=1.0,
    flush_chunk_us=16.0,
    record_us=0.2,
    request_us=11_000.0,
    upload_us=48_000.0,
    postgres_event_us=0.4,
    postgres_chunk_us=6.0,
    postgres_record_us=0.1,
    postgres_request_us=5_500.0,
    postgres_upload_us=12_000.0,
    wal_event_bytes=78.0,
    wal_chunk_bytes=380.0,
    wal_record_bytes=24.0,
    wal_request_bytes=2_000.0,
    wire_record_bytes=41.0,
    wire_request_bytes=3_000.0,
    commits_per_request=4.0,
    commits_per_upload=12.0,
    messages_per_upload=7.5,
    sources={
        "stage_us": f"{STAGE} (0.6); as much again for HTTP and JSON, rounded up",
        "stage_chunk_us": STAGE,
        "flush_us": FLUSH,
        "flush_chunk_us": FLUSH,
        "record_us": SLOW_LINK,
        "request_us": SLOW_LINK,
        "upload_us": WORKERS,
        "postgres_event_us": f"{STAGE} (0.2); {FLUSH} (0.2)",
        "postgres_chunk_us": f"{STAGE} (4); {FLUSH} (2)",
        "postgres_record_us": SLOW_LINK,
        "postgres_request_us": SLOW_LINK,
        "postgres_upload_us": WORKERS,
        "wal_event_bytes": f"{STAGE} (39); its page once more when it is deleted hours later (39)",
        "wal_chunk_bytes": f"{STAGE}, the same",
        "wal_record_bytes": "20 bytes of digest in a sealed batch, and those of its row and pages",
        "wal_request_bytes": SLOW_LINK,
        "wire_record_bytes": "40 hexadecimal digits and a comma",
        "wire_request_bytes": "by count: heads, the answer, and a TLS handshake every few requests",
        "commits_per_request": "by count: slot, charge, settle, and a share of the turn's two",
        "commits_per_upload": "by count: two of the flush, two of each task in vain",
        "messages_per_upload": "group workers: tasks that ran for an upload of two lists",
    },
)
"""On two noisy cores, before the first run of the whole: to be replaced by what that says."""


@dataclass(frozen=True)
class Limits:
    """What one of each can do for long. Rounded, of plain cloud machines; not measured here."""

    postgres_cores: float = 32.0
    """Of one machine, of which UTILISATION is used."""
    postgres_wal_mb_s: float = 100.0
    """A network volume with 250 MB/s also writes pages back, and a replica reads along."""
    postgres_commits_s: float = 5_000.0
    """With a flush of 1 to 2 ms, some ten commits in each."""
    broker_messages_s: float = 10_000.0
    """RabbitMQ's quorum queues; Valkey does several times as many."""
    network_mbit_s: float = 5_000.0
    """Half of 10 Gbit/s."""
