"""The costs of the fleet table come back from figures that were made of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from tests.benchmarks import page, reports
from tests.benchmarks.costing import FILES, SEEN_BEFORE, costs_from, seen_before
from tests.benchmarks.costs import COUNTED, SEEN, Measured
from tests.benchmarks.evidence import line
from tests.benchmarks.harness import Row, Sizes

KNOWN = replace(
    SEEN,
    stage_us=3.0,
    stage_chunk_us=10.0,
    join_chunk_us=2.5,
    flush_us=0.75,
    flush_chunk_us=15.0,
    record_us=0.25,
    request_us=7_000.0,
    upload_us=60_000.0,
    postgres_stage_us=0.125,
    postgres_stage_chunk_us=8.0,
    postgres_join_chunk_us=3.5,
    postgres_flush_us=0.25,
    postgres_flush_chunk_us=3.0,
    postgres_record_us=0.15,
    postgres_request_us=4_000.0,
    postgres_upload_us=9_000.0,
    wal_stage_bytes=41.0,
    wal_stage_chunk_bytes=280.0,
    wal_join_chunk_bytes=210.0,
    wal_image_bytes=42.0,
    wal_image_chunk_bytes=150.0,
    wal_record_bytes=22.0,
    wal_request_bytes=1_700.0,
    wal_upload_bytes=12_000.0,
    messages_per_upload=6.5,
)
WATCHED_US = 0.125
"""What the stopwatch takes of an event."""
STAGED_US = 0.5
"""Of an event, without HTTP and JSON."""
DERIVED = {name for name in asdict(SEEN) if name not in {*COUNTED, "sources"}}
EVENTS, CHUNKS, REQUESTS = 500, 50, 4
"""Of one upload."""
UPLOADS, SECONDS = 20, 5.0


def _chunked(event: float, chunk: float) -> tuple[float, float]:
    """What an event takes, with ten and with a hundred to a chunk."""
    return event + chunk / 10, event + chunk / 100


def _bench(cost: Measured) -> dict[str, Any]:
    over_http = _chunked(cost.stage_us, cost.stage_chunk_us)[1]
    what = "  CPU of the service for an event, 10,000 events a call"
    rows = [Row(what, [9.0, over_http, 0.0], "us")]
    for name, of_event, of_chunk in (
        (
            "WAL of an event, staged and deleted, {}",
            *(cost.wal_stage_bytes, cost.wal_stage_chunk_bytes),
        ),
        ("disk of an event, {} a call", cost.wal_image_bytes, cost.wal_image_chunk_bytes),
    ):
        for call, size in zip(("1k", "10k"), _chunked(of_event, of_chunk), strict=True):
            rounds = {"ours B": [size], "yardstick B": [1e6]}
            rows.append(Row(name.format(call), [0.1], "x", rounds=rounds))
    return reports.report({}, Sizes(), rows)


def _steps(cost: Measured) -> dict[str, Any]:
    rows = []
    for few, many, event, chunk, postgres, postgres_chunk in (
        (
            *("stage, 1k a call", "stage, 10k a call", STAGED_US, cost.stage_chunk_us),
            *(cost.postgres_stage_us, cost.postgres_stage_chunk_us),
        ),
        (
            *("flush, 10 a chunk", "flush of 1,000,000", cost.flush_us, cost.flush_chunk_us),
            *(cost.postgres_flush_us, cost.postgres_flush_chunk_us),
        ),
    ):
        own, waiting = _chunked(event, chunk), _chunked(postgres, postgres_chunk)
        for path, processor_us, waiting_us in zip((few, many), own, waiting, strict=True):
            rows.append(Row(f"{path}: all of it", [1e6], "us"))
            rows.append(Row(f"{path}: of it our processor", [processor_us + WATCHED_US], "us"))
            rows.append(Row(f"{path}: of it the stopwatch, about", [WATCHED_US], "us"))
            rows.append(Row(f"{path}: of it waiting", [waiting_us], "us"))
    return reports.report({}, Sizes(), rows)


def _slow_link(cost: Measured) -> dict[str, Any]:
    """Among other cases, whose figures no cost comes from."""
    cases = []
    for shape in ((0, 8, 4), (0, 1, 1), (200, 1, 1), (0, 1, 2)):
        for records in (1_900, 50_000):
            alone = shape == (0, 1, 1)
            requests, odd = 48, 1.0 if alone else 3.0
            worker_us = cost.request_us + records * cost.record_us
            postgres_us = cost.postgres_request_us + records * cost.postgres_record_us
            wal = cost.wal_request_bytes + records * cost.wal_record_bytes
            case = dict(zip(("round_trip_ms", "lists", "workers"), shape, strict=True))
            cases.append(
                case
                | {
                    "records": records,
                    "requests": requests,
                    "worker_cpu_s": worker_us * odd * requests / 1e6,
                    "postgres_cpu_s": postgres_us * odd * requests / 1e6,
                    "wal_bytes": wal * 0.25 * odd * requests,
                    "cutting_wal_bytes_per_request": wal * 0.75 * odd,
                }
            )
    return {"measured": {"cases": cases}}


def _small_chunks(cost: Measured) -> dict[str, Any]:
    shares = (0.5, 1.5)
    joined = {
        "events": [1, 2],
        "joining_us": [
            (cost.join_chunk_us + cost.postgres_join_chunk_us) * share for share in shares
        ],
        "joining_cpu_us": [cost.join_chunk_us * share for share in shares],
        "joining_wal_bytes": [cost.wal_join_chunk_bytes * share for share in shares],
    }
    return {"measured": {"joined": joined, "as they came": joined | {"joining_us": [9.0]}}}


def _workers(cost: Measured) -> dict[str, Any]:
    workers_us = EVENTS * (cost.flush_us + cost.record_us) + CHUNKS * cost.flush_chunk_us
    workers_us += REQUESTS * cost.request_us + cost.upload_us
    postgres_us = EVENTS * (cost.postgres_flush_us + cost.postgres_record_us)
    postgres_us += CHUNKS * cost.postgres_flush_chunk_us
    postgres_us += REQUESTS * cost.postgres_request_us + cost.postgres_upload_us
    wal = EVENTS * (cost.wal_image_bytes + cost.wal_record_bytes)
    wal += CHUNKS * cost.wal_image_chunk_bytes
    wal += REQUESTS * cost.wal_request_bytes + cost.wal_upload_bytes
    cores = UPLOADS / SECONDS / 1e6
    crew = {
        "seconds": SECONDS,
        "uploads": UPLOADS,
        "requests_per_s": REQUESTS * UPLOADS / SECONDS,
        "cores": {
            "everybody": 2.0,
            "postgres": postgres_us * cores,
            "workers of flush": workers_us * cores / 4,
            "workers of deliver": workers_us * cores * 3 / 4,
        },
        "tasks": {
            "flush": {"ran": 50, "in_vain": 30},
            "deliver": {"ran": int(cost.messages_per_upload * UPLOADS) - 50, "in_vain": 9},
        },
        "wal_bytes_per_event": wal / EVENTS,
    }
    other = crew | {"seconds": SECONDS * 9}
    counts = {"events": EVENTS * UPLOADS, "chunks": CHUNKS * UPLOADS, "audiences": UPLOADS}
    return {"measured": counts | {"crews": {"1 worker": other, "2 workers": crew}}}


def _figures(cost: Measured = KNOWN) -> dict[str, Any]:
    return {
        "bench": _bench(cost),
        "steps": _steps(cost),
        "slow-link": _slow_link(cost),
        "small-chunks": _small_chunks(cost),
        "workers": _workers(cost),
    }


def _values(cost: Measured) -> dict[str, float]:
    return {name: value for name, value in asdict(cost).items() if name != "sources"}


def test_figures_made_of_known_costs_give_these_costs_back() -> None:
    assert all(getattr(KNOWN, name) != getattr(SEEN, name) for name in DERIVED)
    found = costs_from(_figures())
    assert _values(found) == pytest.approx(_values(KNOWN))
    assert seen_before(found) == []


def test_without_any_figures_the_costs_are_as_seen_and_say_so() -> None:
    found = costs_from({})
    assert _values(found) == _values(SEEN)
    assert set(seen_before(found)) == DERIVED
    assert all(found.sources[name] == SEEN.sources[name] for name in COUNTED)


OF_STEPS = {
    *("stage_chunk_us", "postgres_stage_us", "postgres_stage_chunk_us"),
    *("flush_us", "flush_chunk_us", "postgres_flush_us", "postgres_flush_chunk_us"),
}
OF_BENCH = {
    *("wal_stage_bytes", "wal_stage_chunk_bytes"),
    *("wal_image_bytes", "wal_image_chunk_bytes"),
}
OF_SLOW_LINK = {
    *("record_us", "request_us", "postgres_record_us", "postgres_request_us"),
    *("wal_record_bytes", "wal_request_bytes"),
}
OF_SMALL_CHUNKS = {"join_chunk_us", "postgres_join_chunk_us", "wal_join_chunk_bytes"}
OF_WORKERS = {"upload_us", "postgres_upload_us", "wal_upload_bytes", "messages_per_upload"}


@pytest.mark.parametrize(
    ("file", "lacking"),
    [
        ("steps", OF_STEPS),
        ("bench", OF_BENCH),
        ("slow-link", OF_SLOW_LINK),
        ("small-chunks", OF_SMALL_CHUNKS),
        ("workers", OF_WORKERS),
    ],
)
def test_what_a_missing_file_would_give_is_as_seen_and_says_so(
    file: str, lacking: set[str]
) -> None:
    figures = _figures()
    del figures[file]
    found = costs_from(figures)
    assert set(seen_before(found)) == lacking
    for name in lacking:
        assert getattr(found, name) == getattr(SEEN, name)
        assert found.sources[name] == SEEN_BEFORE + SEEN.sources[name]


def test_a_figure_that_an_older_report_lacks_is_as_seen_and_its_others_are_not() -> None:
    figures = _figures()
    for case in figures["slow-link"]["measured"]["cases"]:
        del case["cutting_wal_bytes_per_request"]
    del figures["workers"]["measured"]["chunks"]
    found = costs_from(figures)
    assert set(seen_before(found)) == OF_WORKERS | {"wal_record_bytes", "wal_request_bytes"}


def test_where_http_was_not_measured_it_is_taken_to_cost_as_much_again() -> None:
    figures = _figures()
    del figures["bench"]
    found = costs_from(figures)
    assert found.stage_us == pytest.approx(2 * STAGED_US)
    assert "as much again for HTTP" in found.sources["stage_us"]
    assert "as much again" not in costs_from(_figures()).sources["stage_us"]


def test_a_source_names_the_figures_so_that_a_reader_can_reckon_again() -> None:
    sources = costs_from(_figures()).sources
    assert sources["stage_chunk_us"] == (
        "steps: stage, 1k a call and stage, 10k a call, our processor without the stopwatch; "
        "1.50 us with 10 events a chunk, 0.60 with 100: the difference over 1/10 - 1/100"
    )
    assert "7475 us a request of 1,900 records, 19,500 of 50,000" in sources["request_us"]
    # 500 events at 0.75 and 0.25, 50 chunks at 15, 4 requests at 7,000; and 60,000 more
    assert "CPU of workers, 89,250 us an upload, less 29,250" in sources["upload_us"]
    assert sources["messages_per_upload"].endswith("130 tasks ran for 20 uploads")


def test_no_cost_is_below_zero_where_noise_is_larger_than_it() -> None:
    figures = _figures()
    crew = figures["workers"]["measured"]["crews"]["2 workers"]
    crew["cores"] |= {"postgres": 0.001, "workers of flush": 0.0, "workers of deliver": 0.001}
    crew["wal_bytes_per_event"] = 1.0
    found = costs_from(figures)
    assert (found.upload_us, found.postgres_upload_us, found.wal_upload_bytes) == (0, 0, 0)


def test_a_line_goes_through_its_points_and_neither_falls_nor_begins_below_zero() -> None:
    assert line((1, 5.0), (3, 9.0)) == (3.0, 2.0)
    assert line((1, 5.0), (3, 4.0)) == (5.0, 0.0)
    assert line((1, 1.0), (3, 9.0)) == (0.0, 4.0)


def test_the_rows_that_costs_come_from_are_in_the_figures_of_the_page() -> None:
    """A row that was renamed would let its cost be as seen, and nobody would notice."""
    figures = page.read_figures(page.FIGURES)
    assert set(FILES) <= figures.keys()
    found = costs_from(figures)
    assert seen_before(found) == []
    assert "as much again" not in found.sources["stage_us"]
