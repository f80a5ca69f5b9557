"""The benchmarks of workers see what they claim to: whose CPU, who waits, who was overtaken."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psutil
import psycopg2
import psycopg2.errors
import pytest

from app.sandbox.embedded_postgres import PostgresServer
from tests.acceptance.fleet import happens
from tests.benchmarks import lanes, slow_link, upload_order, workers
from tests.benchmarks.delivery_crew import crew
from tests.benchmarks.harness import Sizes
from tests.benchmarks.installation import Ground, Place
from tests.benchmarks.lanes import ALLOWED, Case, Lanes
from tests.benchmarks.pinterest_process import running_pinterest
from tests.benchmarks.upload_order import Upload
from tests.benchmarks.upload_rounds import PER_AUDIENCE
from tests.benchmarks.watching import CpuMeter, WaitWatch, cpu_seconds

BURN = "import time\nwhile time.process_time() < 0.3: pass"


@pytest.fixture
def ground(postgres: PostgresServer, migrated_template: str) -> Ground:
    return Ground(postgres, migrated_template)


@pytest.fixture
def place(ground: Ground) -> Iterator[Place]:
    with ground.place() as place:
        yield place


# The order of uploads.


def test_the_places_lost_are_those_of_who_was_overtaken_most() -> None:
    assert upload_order.places_lost([7, 8, 9, 10], [7, 8, 9, 10]) == 0
    assert upload_order.places_lost([7, 8, 9, 10], [8, 9, 7, 10]) == 2
    assert upload_order.places_lost([7, 8, 9, 10], [10, 7, 8, 9]) == 1


def test_the_rank_correlation_is_spearmans() -> None:
    assert upload_order.rank_correlation([1, 2, 3, 4], [1, 2, 3, 4]) == 1
    assert upload_order.rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert upload_order.rank_correlation([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(0.6)


def test_who_is_first_cut_after_the_second_upload_of_another_waited_for_it() -> None:
    fair = [Upload(1, 1.0, 9.0), Upload(2, 2.0, 9.0), Upload(1, 3.0, 9.0)]
    assert upload_order.waited_for_a_second(fair) == (0, 0)
    unfair = [Upload(1, 1.0, 9.0), Upload(1, 2.0, 9.0), Upload(2, 3.0, 9.0), Upload(3, 4.0, 9.0)]
    assert upload_order.waited_for_a_second(unfair) == (2, 1)
    assert upload_order.waited_for_a_second(unfair[::-1]) == (2, 1)
    assert upload_order.waited_for_a_second([*unfair, *fair[2:]]) == (2, 2)


def test_the_figures_of_a_round_follow_from_its_moments() -> None:
    uploads = [Upload(5, 10.0, 14.0), Upload(6, 11.0, 13.0), Upload(5, 15.0, 16.0)]
    found = upload_order.figures([6, 5], uploads, began=6.0)
    assert found["seconds"] == 10.0
    assert (found["uploads"], found["second_uploads"]) == (3, 1)
    assert found["places_lost_when_cut"] == 1
    assert found["places_lost_when_accepted"] == 0
    assert found["cut_to_accepted_p50_ms"] == 2_000
    assert found["cut_to_accepted_p99_ms"] == 4_000


# What is watched.


def test_the_cpu_of_a_family_includes_those_that_have_ended() -> None:
    script = f"{sys.executable} -c '{BURN}'; echo burnt; read until_told"
    with subprocess.Popen(
        ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as family:
        assert family.stdin
        assert family.stdout
        meter = CpuMeter({"family": family.pid, "nobody here": None})
        began = time.monotonic()
        assert family.stdout.readline() == "burnt\n"
        happens(lambda: not psutil.Process(family.pid).children())
        assert cpu_seconds(family.pid) >= 0.28
        cores = meter.read()
        seconds = time.monotonic() - began
        family.stdin.write("end\n")
        family.stdin.flush()
    assert cores["family"] * seconds >= 0.25
    assert cores["everybody"] > 0
    assert "nobody here" not in cores
    assert cpu_seconds(family.pid) == 0


def test_a_session_that_waits_for_a_lock_is_seen_with_what_it_waits_for(place: Place) -> None:
    url = place.deployment.settings.require_database_url()
    with (
        closing(psycopg2.connect(url.replace("+psycopg2", ""))) as holder,
        holder.cursor() as cursor,
        WaitWatch(url) as watch,
        watch.looking(),
    ):
        cursor.execute("UPDATE connection SET name = name")
        waiting = threading.Thread(
            target=lambda: place.run("UPDATE connection SET name = 'another'")
        )
        waiting.start()
        try:
            happens(lambda: watch.waits.longest_lock_s > 0.05)
        finally:
            holder.rollback()
            waiting.join()
    found: dict[str, Any] = watch.waits.figures()
    assert 0 < found["share_of_looks_with_a_lock_wait"] <= 1
    assert set(found["lock_waits_by_relation"]) == {"connection"}
    assert found["share_of_sessions"]["Lock:transactionid"] > 0
    assert found["share_of_sessions"]["Client:ClientRead"] > 0, "the holder is in a transaction"
    assert found["deadlocks"] == 0


def test_a_deadlock_is_counted(place: Place) -> None:
    url = place.deployment.settings.require_database_url().replace("+psycopg2", "")
    sessions = [psycopg2.connect(url) for _ in range(2)]
    victims: list[str] = []

    def take(session: Any, key: int) -> None:
        try:
            session.cursor().execute(f"SELECT pg_advisory_xact_lock({key})")
        except psycopg2.errors.DeadlockDetected as deadlock:
            victims.append(str(deadlock))
            session.rollback()

    with WaitWatch(url) as watch, closing(sessions[0]), closing(sessions[1]):
        pids = [session.info.backend_pid for session in sessions]
        take(sessions[0], 0)
        take(sessions[1], 1)
        meeting = threading.Thread(target=take, args=(sessions[0], 1))
        meeting.start()
        happens(lambda: place.ask("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        take(sessions[1], 0)
        meeting.join()
        for session in sessions:
            session.close()
        gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
        happens(lambda: place.ask(gone, pids) == 0)
    assert len(victims) == 1
    assert watch.waits.deadlocks == 1


def test_the_cpu_of_a_family_includes_those_that_live() -> None:
    burn = f"{BURN}\nprint(flush=True)\ninput()"
    script = f"{sys.executable} -c '{burn}'; true"  # one more command: the shell stays the parent
    with subprocess.Popen(
        ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as family:
        assert family.stdout
        assert family.stdout.readline() == "\n"
        assert psutil.Process(family.pid).children()
        assert cpu_seconds(family.pid) >= 0.28
        family.communicate("end\n")


# Real workers.


def test_tasks_are_counted_by_name_and_those_in_vain_beside_them() -> None:
    log = """
        Task pinfold.deliver[0a-1] received
        Task pinfold.deliver[0a-1] succeeded in 0.02s: '2 requests'
        Task pinfold.deliver[0a-2] succeeded in 0.01s: '0 requests'
        Task pinfold.deliver[0a-3] succeeded in 1e-05s: 'not free, or nothing to do'
        Task pinfold.flush[0a-4] succeeded in 0.3s: '10 messages into 2 batches (count)'
    """
    counted = {"deliver": {"ran": 3, "in_vain": 2}, "flush": {"ran": 1, "in_vain": 0}}
    assert workers.tasks_in(log) == counted
    with pytest.raises(AssertionError, match="failed"):
        workers.tasks_in("Task pinfold.flush[0a] raised unexpected: ValueError()")


@pytest.mark.slow
def test_a_crew_uploads_everything_and_its_figures_are_of_that(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = {"flush,upkeep": 1, "deliver": 1}
    monkeypatch.setattr(workers, "CREWS", {"apart": apart})
    measured = workers.measurements(ground, Sizes(events=2 * 3 * PER_AUDIENCE))
    taken = measured["crews"]["apart"]
    assert measured["audiences"] == 3
    assert measured["chunks"] == 3, "one call of 1,500 events"
    assert taken["uploads"] == 3 + taken["second_uploads"]
    assert taken["tasks"]["flush"]["ran"] >= taken["uploads"]
    assert taken["tasks"]["deliver"]["ran"] >= 2 * 3
    assert 0 < taken["cut_to_accepted_p50_ms"] <= taken["seconds"] * 1e3
    assert {"workers of flush,upkeep", "workers of deliver", "everybody"} <= set(taken["cores"])
    assert taken["cores"]["workers of deliver"] > 0
    assert taken["waits"]["looks"] > 0
    assert taken["wal_bytes_per_event"] > 0
    rows = {row.what: row for row in workers.rows(measured)}
    assert rows["apart: accepted"].figures == [taken["events_per_s"]]
    worker_s = sum(taken["cores"][name] for name in taken["cores"] if "workers" in name)
    (cpu_ms,) = rows["  CPU of workers for an upload"].figures
    assert cpu_ms == pytest.approx(worker_s * taken["seconds"] / taken["uploads"] * 1e3)
    assert rows["  deadlocks"].is_met


# A slow link.


def test_the_cases_are_one_list_alone_and_several_with_two_and_four_workers() -> None:
    cases = slow_link.cases(50)
    assert [case.name for case in cases[:3]] == [
        "50 ms, 1,900 records, one list alone, 1 worker",
        "50 ms, 1,900 records, 8 lists, 2 workers",
        "50 ms, 1,900 records, 8 lists, 4 workers",
    ]
    assert {case.records for case in cases} == {1_900, 50_000}


def test_the_pace_is_that_from_one_beginning_to_the_next() -> None:
    assert lanes.pace([10.0, 10.5, 11.0, 12.0]) == 1.5
    assert lanes.pace([10.0]) == 0


@pytest.mark.slow
def test_a_crew_delivers_at_the_pace_that_the_limit_allows_and_one_list_in_order(
    ground: Ground,
) -> None:
    with (
        running_pinterest(lanes.WRITES_PER_MINUTE) as pinterest,
        ground.place(pinterest_url=pinterest.base_url, check_interval=0.000_001) as place,
    ):
        filled = Lanes(place, None, 2.0)
        with crew(place.deployment.settings, 2) as workers_of_two:
            several = filled.take(Case(0, 40, 8, 2), workers_of_two)
            alone = filled.take(Case(0, 40, 1, 2), workers_of_two)
        overlapping = place.ask(
            "SELECT count(*) FROM attempt a JOIN attempt b ON a.id < b.id"
            " AND b.started_at < a.settled_at"
        )
        assert place.ask("SELECT count(DISTINCT customer_list_id) FROM attempt") == 1
    assert overlapping == 0
    for taken in (several, alone):
        assert 3 <= taken["requests"] <= ALLOWED * 2.0 + 3
        assert 0 < taken["requests_per_s"] < ALLOWED * 1.3
        assert 0 < taken["request_p50_ms"] <= taken["request_longest_ms"]
        assert taken["worker_cpu_s"] > 0
    assert several["wal_bytes"] > 0
    digests = 40 * lanes.DIGEST_BYTES
    assert digests < several["cutting_wal_bytes_per_request"] < 10 * digests


def test_lanes_that_run_dry_are_noticed(ground: Ground) -> None:
    with (
        running_pinterest() as pinterest,
        ground.place(pinterest_url=pinterest.base_url, check_interval=0.000_001) as place,
    ):
        filled = Lanes(place, None, 1.0)
        place.run(
            "INSERT INTO attempt (customer_list_id, purpose, record_count, epoch, state,"
            " settled_at) SELECT id, 'ADD', 1, 1, 'sent', now() FROM customer_list LIMIT 1"
        )
        with pytest.raises(AssertionError, match="dry"):
            filled._sent()
        place.run("UPDATE attempt SET state = 'unknown'")
        with pytest.raises(AssertionError, match="not every"):
            filled._sent()


def test_the_rows_say_what_share_of_the_allowed_pace_was_reached_and_the_cpu_by_size() -> None:
    figures = {"requests_per_s": 3.0, "allowed_per_s": 6.0, "request_p50_ms": 200.0}
    figures |= {"request_longest_ms": 900.0, "requests": 10, "wal_bytes": 1.0}
    figures |= {"worker_cpu_s": 0.19, "postgres_cpu_s": 0.095}
    taken = [Case(200, 1_900, 1, 1)._asdict() | figures]
    rows = {row.what: row for row in slow_link.rows({"cases": taken})}
    share = rows[
        "requests of what the limit allows: 200 ms, 1,900 records, one list alone, 1 worker"
    ]
    assert share.figures == [0.5]
    assert (share.ours, share.yardstick) == ("3.00/s", "6.00/s")
    assert share.is_met is None, "one list alone is bound by the round trip"
    (worker,) = rows["CPU of worker for a million records, 1,900 a request"].figures
    assert worker == pytest.approx(10.0)
    (postgres,) = rows["CPU of postgres for a million records, 1,900 a request"].figures
    assert postgres == pytest.approx(5.0)


def test_the_limit_has_to_be_the_bottleneck_for_several_lists_with_four_workers() -> None:
    figures = {"requests_per_s": 5.4, "allowed_per_s": 6.0, "request_p50_ms": 200.0}
    figures |= {"request_longest_ms": 900.0, "requests": 10, "wal_bytes": 1.0}
    figures |= {"worker_cpu_s": 0.19, "postgres_cpu_s": 0.095}
    taken = [case._asdict() | figures for case in slow_link.cases(200)]
    judged = {row.what: row.is_met for row in slow_link.rows({"cases": taken}) if row.must}
    what = "requests of what the limit allows: 200 ms, 1,900 records, 8 lists, 4 workers"
    assert judged == {what: False}
