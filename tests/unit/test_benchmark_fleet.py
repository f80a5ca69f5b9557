"""The fleet table follows from its inputs as a hand with a pencil works it out."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from app.settings import Settings
from tests.benchmarks import assumptions, reports
from tests.benchmarks import fleet as calculation
from tests.benchmarks.costs import SEEN, Limits, Measured
from tests.benchmarks.fleet import fleet, fleets, markdown
from tests.benchmarks.harness import Row, Sizes
from tests.benchmarks.loads import (
    DAY,
    FLUSH_MESSAGES,
    FLUSHES_A_DAY_BY_AGE,
    GROUPS,
    LOADS,
    Load,
    requests_per_upload,
)

COST = Measured(
    stage_us=4.0,
    stage_chunk_us=20.0,
    join_chunk_us=4.0,
    flush_us=10.0,
    flush_chunk_us=6.0,
    record_us=1.0,
    request_us=10_000.0,
    upload_us=100_000.0,
    postgres_stage_us=1.5,
    postgres_stage_chunk_us=3.0,
    postgres_join_chunk_us=0.5,
    postgres_flush_us=0.5,
    postgres_flush_chunk_us=1.5,
    postgres_record_us=0.5,
    postgres_request_us=5_000.0,
    postgres_upload_us=20_000.0,
    wal_stage_bytes=30.0,
    wal_stage_chunk_bytes=120.0,
    wal_join_chunk_bytes=12.0,
    wal_image_bytes=20.0,
    wal_image_chunk_bytes=68.0,
    wal_record_bytes=20.0,
    wal_request_bytes=4_000.0,
    wal_upload_bytes=10_000.0,
    wire_record_bytes=40.0,
    wire_request_bytes=1_000.0,
    commits_per_call=1.0,
    commits_per_request=3.0,
    commits_per_upload=10.0,
    messages_per_upload=7.0,
)
LOAD = Load(864e6, 100)
"""10,000 events a second, 30,000 at the peak; 0.3 uploads a second then, by count."""


def test_an_audience_is_uploaded_by_count_where_enough_waits_and_else_by_age() -> None:
    assert LOAD.uploads_at_peak == pytest.approx(0.3)
    assert Load(1e6, 100).uploads_at_peak * DAY == pytest.approx(800), "at any hour alike"
    assert Load(100, 100).uploads_at_peak * DAY == pytest.approx(300), "no more than events"


def test_the_last_request_of_each_group_of_an_upload_is_not_full() -> None:
    # 33,600 and 8,400 addresses, 22,400 and 5,600 devices
    assert requests_per_upload(70_000, 1_900) == 18 + 5 + 12 + 3
    assert requests_per_upload(70_000, 50_000) == 4
    assert sum(GROUPS.values()) == pytest.approx(1)


def test_the_figures_of_one_load_are_those_worked_out_by_hand() -> None:
    sized = fleet(LOAD, 1_900, COST, Limits())
    # 21,000 records and 3,000 chunks a second; 0.3 uploads of 38 requests
    assert sized.requests_s == pytest.approx(11.4)
    assert sized.connections == 2  # of 6 requests a second each
    assert sized.intake_cores == pytest.approx((0.12 + 0.06) / 0.5)
    assert sized.worker_cores == pytest.approx((0.3 + 0.03 + 0.021 + 0.114 + 0.03) / 0.5)
    assert sized.postgres_cores == pytest.approx((0.06 + 0.015 + 0.0105 + 0.057 + 0.006) / 0.5)
    assert sized.wal_mb_s == pytest.approx(1.5 + 0.6 + 0.42 + 0.0456 + 0.003)
    assert sized.commits_s == pytest.approx(300 + 34.2 + 3.0)
    assert sized.broker_messages_s == pytest.approx(2.1)
    assert sized.network_mbit_s == pytest.approx((0.84 + 0.0114) * 8)
    assert sized.databases == 1


def test_nine_tenths_of_pinterests_limit_are_used() -> None:
    sized = fleet(Load(8_640e6, 1_000), 1_900, COST, Limits())
    assert sized.requests_s == pytest.approx(114)
    assert sized.connections == 19  # 18 at 400 a minute


def test_large_requests_ask_for_fewer_connections_and_less_of_everything_but_the_records() -> None:
    small, large = (fleet(LOAD, size, COST, Limits()) for size in (1_900, 50_000))
    assert large.requests_s == pytest.approx(1.2)
    assert large.connections == 1
    assert large.worker_cores < small.worker_cores
    assert large.intake_cores == small.intake_cores


def test_the_bottleneck_names_pinterests_limit_first_and_then_what_one_database_lacks() -> None:
    assert fleet(LOAD, 1_900, COST, Limits()).bottleneck == "Pinterest's limit: 2 connections"
    narrow = replace(Limits(), postgres_wal_mb_s=0.5)
    sized = fleet(LOAD, 1_900, COST, narrow)
    assert sized.databases == 6
    assert sized.bottleneck == (
        "Pinterest's limit: 2 connections; then the log of Postgres: 6 databases, each with a "
        "share of the connections"
    )
    slow_broker = replace(Limits(), broker_messages_s=1.0)
    assert fleet(LOAD, 50_000, COST, slow_broker).bottleneck == "the broker: 3 of them"
    both = replace(narrow, broker_messages_s=1.0)
    assert fleet(LOAD, 50_000, COST, both).bottleneck == (
        "the log of Postgres: 6 databases, each with a share of the connections; then the broker: "
        "3 of them"
    )


def test_what_fits_on_one_machine_takes_one_and_else_each_part_has_its_own() -> None:
    # 0.36 cores of intake, 0.99 of workers, 0.297 of Postgres
    assert fleet(LOAD, 1_900, COST, Limits()).machines == "1 for everything"
    small = replace(Limits(), machine_cores=0.5)
    assert fleet(LOAD, 1_900, COST, small).machines == (
        "5: 3 for intake and workers, 1 for Postgres, 1 for the broker"
    )
    narrow = replace(Limits(), postgres_wal_mb_s=0.5)
    assert fleet(LOAD, 1_900, COST, narrow).machines.startswith("8: ")


def test_a_small_load_has_no_bottleneck_and_says_what_would_be_the_first() -> None:
    narrow = replace(Limits(), network_mbit_s=1.0)
    said = fleet(Load(1e6, 100), 1_900, COST, narrow).bottleneck
    assert said.startswith("none; first would be the way to Pinterest, at ")


def test_the_table_has_a_row_for_every_load_at_both_request_sizes() -> None:
    lines = markdown(fleets(COST, Limits())).splitlines()
    assert len(lines) == 2 + 2 * len(LOADS)
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| 1,000,000 | 100 | 1,900 | 1 |")
    assert lines[-1].startswith("| 10,000,000,000 | 10,000 | 50,000 |")


def test_every_figure_that_was_seen_says_where_it_comes_from() -> None:
    figures = set(Measured.__dataclass_fields__) - {"sources"}
    assert set(SEEN.sources) == figures


def test_the_command_reckons_with_the_figures_of_a_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calculation.main([str(tmp_path)])
    as_seen, lacking = capsys.readouterr().out.split("Not measured there")
    assert "stage_us" in lacking
    rows = [
        Row(f"stage, {call} a call: of it {what}", [us], "us")
        for call, us in (("1k", 500.0), ("10k", 100.0))
        for what in ("our processor", "the stopwatch, about", "waiting")
    ]
    reports.write(tmp_path / "steps.json", reports.report({}, Sizes(), rows))
    calculation.main([str(tmp_path)])
    measured, lacking = capsys.readouterr().out.split("Not measured there")
    assert measured != as_seen
    assert "stage_us" not in lacking
    assert "flush_us" in lacking


# What is taken for granted.


@pytest.mark.parametrize("name", [each.name for each in fields(Limits)])
def test_every_limit_stands_in_the_table_of_what_is_assumed(name: str) -> None:
    other = replace(Limits(), **{name: 7.0})
    assert assumptions.assumptions(other) != assumptions.assumptions(Limits())


@pytest.mark.parametrize(
    "name",
    [
        *("PEAK", "FOLDED", "CHUNK_EVENTS", "FLUSH_MESSAGES", "FLUSHES_A_DAY_BY_AGE"),
        *("UTILISATION", "WRITES_PER_MINUTE"),
    ],
)
def test_every_constant_stands_in_the_table_of_what_is_assumed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = assumptions.assumptions(Limits())
    monkeypatch.setattr(assumptions, name, 7)
    after = assumptions.assumptions(Limits())
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
    assert all(why for _, _, why in before)


def test_an_audience_is_due_as_the_settings_have_it() -> None:
    usual = {name: Settings.model_fields[name].default for name in ("flush_messages", "flush_age")}
    assert usual["flush_messages"] == FLUSH_MESSAGES
    assert DAY / usual["flush_age"] == FLUSHES_A_DAY_BY_AGE
