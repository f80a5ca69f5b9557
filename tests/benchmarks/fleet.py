"""What a fleet has to be, from what one event costs: a calculation, no measurement.

    python -m tests.benchmarks.fleet [DIRECTORY]

DIRECTORY has figures that were written down, by default those of docs/performance.md. Everything is
sized for the peak, and for half of what the machines could do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from app.pinterest.pacing import MINUTE, spacing
from tests.benchmarks import reports
from tests.benchmarks.costing import FILES, costs_from, seen_before
from tests.benchmarks.costs import Limits, Measured
from tests.benchmarks.loads import LOADS, Amounts, Load, peak

MB = 1e6
UTILISATION = 0.5
"""Of cores."""
WRITES_PER_MINUTE = 400
"""Of one connection, which is a person and an app."""
REQUEST_SIZES = (1_900, 50_000)
"""Records."""

Used = Mapping[str, float]
"""How much of one is used, by what it is."""


@dataclass(frozen=True)
class Fleet:
    """One line of the table: what a load asks for at its peak, cores at UTILISATION."""

    load: Load
    records_per_request: int
    requests_s: float
    connections: int
    intake_cores: float
    worker_cores: float
    postgres_cores: float
    wal_mb_s: float
    commits_s: float
    broker_messages_s: float
    network_mbit_s: float
    databases: int
    machines: str
    bottleneck: str


def fleet(load: Load, records_per_request: int, cost: Measured, limits: Limits) -> Fleet:
    """Size everything for the peak of a load."""
    at_peak = peak(load, records_per_request)
    sized = Fleet(
        load=load,
        records_per_request=records_per_request,
        requests_s=at_peak.requests,
        connections=ceil(at_peak.requests * spacing(WRITES_PER_MINUTE, MINUTE)),
        intake_cores=_cores(at_peak.costs(event=cost.stage_us, chunk=cost.stage_chunk_us)),
        worker_cores=_cores(_workers_us(at_peak, cost)),
        postgres_cores=_cores(_postgres_us(at_peak, cost)),
        wal_mb_s=_wal_bytes(at_peak, cost) / MB,
        commits_s=_commits(at_peak, cost),
        broker_messages_s=at_peak.costs(upload=cost.messages_per_upload),
        network_mbit_s=_wire_bytes(at_peak, cost) * 8 / MB,
        databases=1,
        machines="",
        bottleneck="",
    )
    return _judged(sized, limits)


def _cores(us: float) -> float:
    """Cores at UTILISATION, for so much CPU a second."""
    return us / 1e6 / UTILISATION


def _workers_us(at_peak: Amounts, cost: Measured) -> float:
    return at_peak.costs(
        event=cost.flush_us,
        chunk=cost.join_chunk_us + cost.flush_chunk_us,
        record=cost.record_us,
        request=cost.request_us,
        upload=cost.upload_us,
    )


def _postgres_us(at_peak: Amounts, cost: Measured) -> float:
    return at_peak.costs(
        event=cost.postgres_stage_us + cost.postgres_flush_us,
        chunk=cost.postgres_stage_chunk_us
        + cost.postgres_join_chunk_us
        + cost.postgres_flush_chunk_us,
        record=cost.postgres_record_us,
        request=cost.postgres_request_us,
        upload=cost.postgres_upload_us,
    )


def _wal_bytes(at_peak: Amounts, cost: Measured) -> float:
    return at_peak.costs(
        event=cost.wal_stage_bytes + cost.wal_image_bytes,
        chunk=cost.wal_stage_chunk_bytes + cost.wal_join_chunk_bytes + cost.wal_image_chunk_bytes,
        record=cost.wal_record_bytes,
        request=cost.wal_request_bytes,
        upload=cost.wal_upload_bytes,
    )


def _commits(at_peak: Amounts, cost: Measured) -> float:
    return at_peak.costs(
        call=cost.commits_per_call,
        request=cost.commits_per_request,
        upload=cost.commits_per_upload,
    )


def _wire_bytes(at_peak: Amounts, cost: Measured) -> float:
    return at_peak.costs(record=cost.wire_record_bytes, request=cost.wire_request_bytes)


def _judged(sized: Fleet, limits: Limits) -> Fleet:
    """Say how many databases it takes, and what is short first."""
    of_one_database = {
        "the CPU of Postgres": sized.postgres_cores / limits.postgres_cores,
        "the log of Postgres": sized.wal_mb_s / limits.postgres_wal_mb_s,
        "the commits of Postgres": sized.commits_s / limits.postgres_commits_s,
    }
    others = {
        "the broker": sized.broker_messages_s / limits.broker_messages_s,
        "the way to Pinterest": sized.network_mbit_s / limits.network_mbit_s,
    }
    databases = ceil(max(of_one_database.values()))
    return replace(
        sized,
        databases=databases,
        machines=_machines(sized, databases, limits),
        bottleneck=_in_words(sized, databases, of_one_database, others),
    )


def _machines(sized: Fleet, databases: int, limits: Limits) -> str:
    """How many there are to buy, without one that stands by for each that may fail."""
    plain = sized.intake_cores + sized.worker_cores
    if databases == 1 and plain + sized.postgres_cores <= limits.machine_cores:
        return "1 for everything"
    workers = ceil(plain / limits.machine_cores)
    brokers = ceil(sized.broker_messages_s / limits.broker_messages_s)
    return (
        f"{workers + databases + brokers}: {workers} for intake and workers,"
        f" {databases} for Postgres, {brokers} for the broker"
    )


def _in_words(sized: Fleet, databases: int, of_one_database: Used, others: Used) -> str:
    """Pinterest's limit asks for people and accounts, which no machine can replace: it is first."""
    words = []
    if sized.connections > 1:
        words.append(f"Pinterest's limit: {sized.connections:,} connections")
    if databases > 1:
        first, _ = _tightest(of_one_database)
        words.append(f"{first}: {databases} databases, each with a share of the connections")
    words += [f"{name}: {ceil(used)} of them" for name, used in others.items() if used > 1]
    first, used = _tightest({**of_one_database, **others})
    return "; then ".join(words) or f"none; first would be {first}, at {used:.2%} of one"


def _tightest(used: Used) -> tuple[str, float]:
    return max(used.items(), key=lambda each: each[1])


COLUMNS: dict[str, Callable[[Fleet], str]] = {
    "events a day": lambda each: f"{each.load.events_a_day:,.0f}",
    "audiences": lambda each: f"{each.load.audiences:,}",
    "records a request": lambda each: f"{each.records_per_request:,}",
    "connections": lambda each: f"{each.connections:,}",
    "machines": lambda each: each.machines,
    "intake cores": lambda each: _brief(each.intake_cores),
    "worker cores": lambda each: _brief(each.worker_cores),
    "Postgres cores": lambda each: _brief(each.postgres_cores),
    "WAL MB/s": lambda each: _brief(each.wal_mb_s),
    "commits/s": lambda each: _brief(each.commits_s),
    "broker messages/s": lambda each: _brief(each.broker_messages_s),
    "Mbit/s to Pinterest": lambda each: _brief(each.network_mbit_s),
    "bottleneck": lambda each: each.bottleneck,
}


def fleets(cost: Measured, limits: Limits) -> list[Fleet]:
    """Every load, at every request size."""
    return [fleet(load, size, cost, limits) for load in LOADS for size in REQUEST_SIZES]


def markdown(rows: Sequence[Fleet]) -> str:
    lines = [list(COLUMNS), ["---"] * len(COLUMNS)]
    lines += [[cell(each) for cell in COLUMNS.values()] for each in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _brief(value: float) -> str:
    """Two digits that count, whole numbers above ten."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and below it which costs nobody measured there."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fleet")
    parser.add_argument(
        "directory", nargs="?", type=Path, default=reports.PUBLISHED, help="with the figures"
    )
    cost = costs_from(reports.read_all(parser.parse_args(arguments).directory, FILES))
    print(markdown(fleets(cost, Limits())))
    if lacking := seen_before(cost):
        print(f"\nNot measured there, but as seen before: {', '.join(lacking)}.")


if __name__ == "__main__":
    main()
