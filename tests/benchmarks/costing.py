"""What things cost, from what was measured: the inputs of the fleet table. Pure.

Each formula gives some costs with the words that say how. Two figures of the same thing at two
sizes make a line: what the thing takes by itself, and what each of its parts takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from statistics import mean, median
from typing import Any

from tests.benchmarks.costs import COUNTED, SEEN, Measured
from tests.benchmarks.evidence import Cost, Costs, Figures, NotMeasured, figure, line, row
from tests.benchmarks.harness import brief
from tests.benchmarks.http_intake import CPU_OF_SERVICE
from tests.benchmarks.slow_link import RECORDS
from tests.benchmarks.steps import PROCESSOR, SMALL_CHUNKS, WAITING, WATCHING
from tests.benchmarks.upload_costs import uploading

FILES = ("bench", "steps", "slow-link", "small-chunks", "workers")
"""The reports that formulas take figures from."""
FEW, MANY = 10, 100
"""Events to a chunk, as calls of 1,000 and of 10,000 over 100 audiences make them."""
SEEN_BEFORE = "seen before: "
"""How the source of a cost begins that was not derived."""


def costs_from(figures: Figures) -> Measured:
    """Every cost that the reports have the figures for; the others are as in SEEN and say so."""
    cost = replace(SEEN, sources={name: _as_seen(name) for name in SEEN.sources})
    # an upload comes last: what its parts cost is taken off what it took
    for formula in (
        *(_staging, _staging_over_http, _joining, _flushing, _log_of_chunks),
        *(_delivering, _log_of_delivery, uploading),
    ):
        with suppress(NotMeasured):
            cost = _with(cost, formula(figures, cost))
    return cost


def seen_before(cost: Measured) -> list[str]:
    """The costs that were not derived from any figure."""
    return [name for name, source in cost.sources.items() if source.startswith(SEEN_BEFORE)]


def _as_seen(name: str) -> str:
    return SEEN.sources[name] if name in COUNTED else SEEN_BEFORE + SEEN.sources[name]


def _with(cost: Measured, found: Costs) -> Measured:
    values: dict[str, Any] = {name: each.value for name, each in found.items()}
    sources = cost.sources | {name: each.source for name, each in found.items()}
    return replace(cost, **values, sources=sources)


# Chunks.


def _staging(figures: Figures, _: Measured) -> Costs:
    paths = ("stage, 1k a call", "stage, 10k a call")
    own = _of_paths(figures, paths, PROCESSOR, ("stage_us", "stage_chunk_us"))
    event = own["stage_us"]
    doubled = Cost(event.value * 2, f"{event.source}; as much again for HTTP and JSON")
    names = ("postgres_stage_us", "postgres_stage_chunk_us")
    return {**own, "stage_us": doubled, **_of_paths(figures, paths, WAITING, names)}


def _staging_over_http(figures: Figures, cost: Measured) -> Costs:
    """The service's own CPU, HTTP and JSON included, in the place of what was doubled."""
    us = median(row(figures, "bench", f"  {CPU_OF_SERVICE}, 10,000 events a call").figures)
    source = (
        f"bench: {CPU_OF_SERVICE} over HTTP, {brief(us)} us with {MANY} events a chunk,"
        f" less 1/{MANY} of a chunk"
    )
    return {"stage_us": Cost(max(0.0, us - cost.stage_chunk_us / MANY), source)}


def _joining(figures: Figures, _: Measured) -> Costs:
    joined = figure(figures, "small-chunks", "measured", "joined")
    us, own, log = (
        mean(figure(joined, name)) for name in ("joining_us", "joining_cpu_us", "joining_wal_bytes")
    )
    said = f"small-chunks: joining single events, {len(figure(joined, 'events'))} passes"
    return {
        "join_chunk_us": Cost(own, f"{said}: our processor, on average"),
        "postgres_join_chunk_us": Cost(
            max(0.0, us - own), f"{said}: waiting for Postgres, on average"
        ),
        "wal_join_chunk_bytes": Cost(log, f"{said}: WAL, on average"),
    }


def _flushing(figures: Figures, _: Measured) -> Costs:
    events = figure(figures, "steps", "sizes", "events")
    paths = (SMALL_CHUNKS, f"flush of {events:,}")
    return {
        **_of_paths(figures, paths, PROCESSOR, ("flush_us", "flush_chunk_us")),
        **_of_paths(figures, paths, WAITING, ("postgres_flush_us", "postgres_flush_chunk_us")),
    }


def _of_paths(figures: Figures, paths: tuple[str, str], step: str, names: tuple[str, str]) -> Costs:
    few, many = (_of_path(figures, path, step) for path in paths)
    what = f"steps: {' and '.join(paths)}, {step.removeprefix('of it ')}"
    if step == WAITING:
        what += " (for Postgres: the disk is in it, what Postgres does meanwhile is not)"
    else:
        what += " without the stopwatch"
    return _of_chunks(what, "us", few, many, names)


def _of_path(figures: Figures, path: str, step: str) -> float:
    us = median(row(figures, "steps", f"{path}: {step}").figures)
    if step == PROCESSOR:
        us -= median(row(figures, "steps", f"{path}: {WATCHING}").figures)
    return max(0.0, us)


def _log_of_chunks(figures: Figures, _: Measured) -> Costs:
    def costs(rows: tuple[str, str], note: str, names: tuple[str, str]) -> Costs:
        few, many = (median(row(figures, "bench", each).rounds["ours B"]) for each in rows)
        return _of_chunks(f"bench: {rows[0]} and 10k{note}", "bytes", few, many, names)

    written = "WAL of an event, staged and deleted, 1k", "WAL of an event, staged and deleted, 10k"
    kept = "disk of an event, 1k a call", "disk of an event, 10k a call"
    whole = ": its pages, most of which are logged whole when it is deleted after a checkpoint"
    return {
        **costs(written, "", ("wal_stage_bytes", "wal_stage_chunk_bytes")),
        **costs(kept, whole, ("wal_image_bytes", "wal_image_chunk_bytes")),
    }


def _of_chunks(what: str, unit: str, few: float, many: float, names: tuple[str, str]) -> Costs:
    """What an event and a chunk take, from what an event took with few and with many to a chunk."""
    event, chunk = line((1 / MANY, many), (1 / FEW, few))
    said = f"{what}; {brief(few)} {unit} with {FEW} events a chunk, {brief(many)} with {MANY}"
    return {
        names[0]: Cost(event, f"{said}: the latter less 1/{MANY} of a chunk"),
        names[1]: Cost(chunk, f"{said}: the difference over 1/{FEW} - 1/{MANY}"),
    }


# Requests.


def _delivering(figures: Figures, _: Measured) -> Costs:
    found: dict[str, Cost] = {}
    for whose, prefix in (("worker", ""), ("postgres", "postgres_")):
        small, large = (_per_request(case, f"{whose}_cpu_s") * 1e6 for case in _alone(figures))
        names = f"{prefix}request_us", f"{prefix}record_us"
        found |= _of_requests(f"CPU of {whose}", "us", small, large, names)
    return found


def _log_of_delivery(figures: Figures, _: Measured) -> Costs:
    """Of its batch when it was cut, and of its way to Pinterest."""
    small, large = (
        figure(case, "cutting_wal_bytes_per_request") + _per_request(case, "wal_bytes")
        for case in _alone(figures)
    )
    names = "wal_request_bytes", "wal_record_bytes"
    return _of_requests("WAL of cutting and of sending it", "bytes", small, large, names)


def _alone(figures: Figures) -> list[Mapping[str, Any]]:
    """The cases of one list and one worker over no distance, by size: nobody looks in vain."""
    cases = figure(figures, "slow-link", "measured", "cases")
    alone = {
        each["records"]: each
        for each in cases
        if (each["round_trip_ms"], each["lists"], each["workers"]) == (0, 1, 1)
    }
    return [figure(alone, records) for records in RECORDS]


def _per_request(case: Mapping[str, Any], name: str) -> float:
    return float(figure(case, name) / figure(case, "requests"))


def _of_requests(what: str, unit: str, small: float, large: float, names: tuple[str, str]) -> Costs:
    few, many = RECORDS
    request, record = line((few, small), (many, large))
    said = (
        f"slow-link, 0 ms, one list, one worker: {what}, {brief(small)} {unit} a request of"
        f" {few:,} records, {brief(large)} of {many:,}"
    )
    return {
        names[0]: Cost(request, f"{said}: the former less {few:,} records"),
        names[1]: Cost(record, f"{said}: the difference over {many - few:,}"),
    }
