"""The benchmarks of small chunks and of bloat measure what they say, on a small scale."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from app.flush import flush_once
from app.sandbox.embedded_postgres import PostgresServer
from tests.benchmarks import bloat, small_chunks
from tests.benchmarks.bloat import Cycles, run_cycles
from tests.benchmarks.events import Sample
from tests.benchmarks.installation import Ground
from tests.benchmarks.small_chunks import PORTIONS, Grown, SingleEvents, grow


@pytest.fixture
def ground(postgres: PostgresServer, migrated_template: str) -> Ground:
    return Ground(postgres, migrated_template)


def test_single_events_are_joined_as_they_come_and_are_all_there(ground: Ground) -> None:
    with ground.place(flush_messages=1) as place:
        backlog = SingleEvents(place, 20)
        grown = grow(backlog, 400, joined=True)
        backlog.close()
        assert grown.events == [400 * number for number in range(1, PORTIONS + 1)]
        assert place.ask("SELECT sum(message_count) FROM staged_chunk") == 400 * PORTIONS
        assert max(grown.chunks) < 20 * 30
        assert all(figure > 0 for figure in grown.due_ms + grown.status_ms + grown.joining_us)
        audience_id = place.ask("SELECT min(id) FROM audience")
        cut = flush_once(place.deployment, audience_id)
    assert cut is not None
    assert cut.messages == 400 * PORTIONS // 20


def test_beside_it_the_same_backlog_is_left_as_it_came(ground: Ground) -> None:
    with ground.place() as place:
        backlog = SingleEvents(place, 20)
        grown = grow(backlog, 100, joined=False)
        backlog.close()
    assert grown.chunks == grown.events
    assert grown.joining_us == []


def test_the_rows_say_whether_twice_the_backlog_costs_more() -> None:
    flat, steep = [10.0] * PORTIONS, [float(number) for number in range(1, PORTIONS + 1)]
    numbers = list(range(1, PORTIONS + 1))
    grown = asdict(Grown(numbers, numbers, flat, steep, flat, flat, flat))
    measured = {"joined": grown, "as they came": grown, "audiences": 10, "judged": True}
    told = {row.what.strip(): row for row in small_chunks.rows(measured)}
    assert told["due check, twice the backlog"].is_met
    assert told["status, twice the backlog"].is_met is False
    assert {len(row.figures) for row in told.values()} == {1}
    unjudged = small_chunks.rows(measured | {"judged": False})
    assert {row.is_met for row in unjudged} == {None}


def test_nothing_waits_after_a_cycle_and_what_the_tables_take_is_measured(ground: Ground) -> None:
    with ground.place(flush_messages=1) as place:
        taken = run_cycles(place, Sample(1_000, 4), 3)
        assert place.ask("SELECT count(*) FROM staged_chunk") == 0
        assert place.ask("SELECT count(*) FROM batch WHERE state = 'waiting'") == 0
        assert place.ask("SELECT sum(message_count) FROM upload") == 3_000
    assert taken.live_mb > 0
    assert len(taken.changing_mb) == 3
    assert taken.history_bytes_per_event > 0
    assert taken.cycles_between_visits > 0


def test_tables_that_keep_growing_are_not_met() -> None:
    more = {"events": 1, "judged": True}
    steady = asdict(Cycles(1.0, [5.0] * 100, 4.0, 10.0)) | more
    growing = asdict(Cycles(1.0, [float(number) for number in range(1, 101)], 4.0, 10.0)) | more
    assert [row.is_met for row in bloat.rows(steady)] == [True, None, True, None]
    assert [row.is_met for row in bloat.rows(growing)] == [False, None, False, None]
