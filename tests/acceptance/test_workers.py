"""Real workers and beat: events in, the right members at Pinterest, whatever happens on the way."""

from __future__ import annotations

import itertools
import re
from functools import partial
from pathlib import Path

import orjson
import psutil
import pytest

from app.books import read_books
from app.keyring import new_key
from app.sandbox.embedded_valkey import EmbeddedValkey
from app.sandbox.pinterest import PinterestSimulator
from app.sandbox.stack import free_port
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import (
    GRACE_S,
    Fleet,
    assert_refused_with,
    happens,
    kill,
    pool_of,
    read_log,
    start_and_see_it_fail,
)
from tests.acceptance.task_events import watched_tasks
from tests.acceptance.turnstile import Turnstile
from tests.canaries import CONTROL

UNKNOWN = "SELECT count(*) FROM attempt WHERE state = 'unknown'"
IN_FLIGHT = "SELECT count(*) FROM attempt WHERE state = 'in_flight'"
SENT_TWICE = """
    SELECT count(*) FROM (SELECT batch_id FROM attempt WHERE batch_id IS NOT NULL
                           GROUP BY batch_id HAVING count(*) > 1) AS again
"""


@pytest.fixture
def busy(make: FleetMaker) -> Fleet:
    """Two audiences that that flush at once, and a Pinterest that takes its time."""
    fleet = make()
    fleet.connect()
    fleet.activate("31001", "Spring sale")
    fleet.activate("31002", "Lapsed buyers")
    fleet.simulator.faults.script("slow", times=None, operation="patch", seconds=0.25)
    return fleet


def stage_both(fleet: Fleet) -> None:
    fleet.stage_traffic("31001", 4_000, seed=1)
    fleet.stage_traffic("31002", 4_000, seed=2)


def assert_all_is_right(fleet: Fleet) -> None:
    assert fleet.drained()
    assert fleet.strangers() == {}
    assert fleet.unbalanced() == []
    for book in read_books(fleet.deployment):
        assert processed(fleet, f"{book.audience}-{book.list_type}") <= book.charged


def processed(fleet: Fleet, name: str) -> int:
    """The records that Pinterest says it took for a list."""
    (found,) = fleet.lists(name)
    return int(found["num_uploaded_user_records"] + found["num_removed_user_records"])


def test_events_become_members_and_every_batch_is_sent_once(fleet: Fleet) -> None:
    fleet.activate("31001", "Spring sale")
    fleet.worker(CONTROL)  # its log tells its name, which the search for canaries must come by
    fleet.beat()
    fleet.stage_traffic("31001", 4_000)
    assert_all_is_right(fleet)
    assert fleet.count(SENT_TWICE) == 0
    for book in read_books(fleet.deployment):
        assert processed(fleet, f"{book.audience}-{book.list_type}") == book.charged


def test_known_address_arrives_as_its_known_digest(fleet: Fleet) -> None:
    fleet.activate("31001", "VIP")
    fleet.worker(processes=1)
    fleet.beat()
    message = {"audience": "31001", "operation": "add", "email": " Ana.Ruiz@example.org "}
    assert fleet.stage([message]) == 1
    assert fleet.drained()
    assert "7ac429373cf077cc6f61eb587d3e66c108a21716" in fleet.members("VIP-EMAIL")


def test_a_switched_off_kind_gets_no_list_and_no_request(make: FleetMaker) -> None:
    fleet = make()
    fleet.connect(forward_email=False)
    fleet.activate("31001", "VIP")
    fleet.worker(processes=1)
    fleet.beat()
    fleet.stage_traffic("31001", 2_000)
    assert fleet.drained()
    assert fleet.lists("VIP-EMAIL") == []
    assert fleet.members("VIP-MAID") >= fleet.reckoning.members(("31001", "MAID"))
    assert fleet.unbalanced() == []


def test_a_worker_killed_in_the_middle_loses_and_spoils_nothing(busy: Fleet) -> None:
    worker = busy.worker()
    busy.beat()
    stage_both(busy)
    happens(lambda: busy.writes() > 4 and busy.count(IN_FLIGHT) > 0)
    kill(worker)
    assert busy.count(IN_FLIGHT) > 0, "the worker was not in the middle of anything"
    busy.worker("second")
    assert_all_is_right(busy)
    assert busy.count(UNKNOWN) > 0


def test_the_cap_holds_while_workers_die_and_answers_get_lost(make: FleetMaker) -> None:
    cap = 1_500
    fleet = make(PINFOLD_RECORDS_PER_REQUEST="100")
    fleet.connect(record_cap=cap)
    fleet.activate("31001", "Spring sale")
    fleet.simulator.faults.probability(
        {"drop_after": 0.1, "server_error_after": 0.1, "slow": 0.3},
        seed=5,
        operation="patch",
        options={"slow": {"seconds": 0.2}},
    )
    worker = fleet.worker()
    fleet.beat()
    fleet.stage_traffic("31001", 6_000)
    happens(lambda: fleet.writes() > 4 and fleet.count(IN_FLIGHT) > 0)
    kill(worker)
    fleet.worker("second")
    assert fleet.drained()
    assert fleet.unbalanced() == []
    for book in read_books(fleet.deployment):
        assert book.over_cap > 0
        assert processed(fleet, f"{book.audience}-{book.list_type}") <= book.charged <= cap
    assert all(item["sent"] <= cap for item in status_lists(fleet))
    assert "full" in fleet.pinfold("status").stdout


def status_lists(fleet: Fleet) -> list[dict[str, int]]:
    status = orjson.loads(fleet.pinfold("status", "--json").stdout)
    return [item for audience in status["audiences"] for item in audience["lists"]]


def test_two_workers_at_once_send_nothing_twice_and_each_list_in_order(busy: Fleet) -> None:
    stage_both(busy)
    busy.worker("first")
    busy.worker("second")
    busy.beat()
    assert_all_is_right(busy)
    assert busy.count(SENT_TWICE) == 0
    by_list: dict[str | None, list[tuple[float, int]]] = {}
    for request in busy.simulator.books.requests():
        if request.operation == "patch":
            assert request.applied_at is not None
            by_list.setdefault(request.list_id, []).append(
                (request.received_at, request.record_count)
            )
    assert len(by_list) == 4
    for sent in by_list.values():
        moments = [moment for moment, _ in sent]
        # each answer took a quarter of a second, so requests side by side would be nearer
        assert all(later - earlier > 0.2 for earlier, later in itertools.pairwise(moments))


def test_two_beats_are_harmless(fleet: Fleet) -> None:
    fleet.activate("31001", "Spring sale")
    fleet.worker()
    fleet.beat("beat")
    fleet.beat("another-beat")
    fleet.stage_traffic("31001", 2_000)
    assert_all_is_right(fleet)
    assert fleet.count(SENT_TWICE) == 0


def _wrote_more_than(fleet: Fleet, count: int) -> bool:
    return fleet.writes() > count


def test_an_emptied_broker_costs_one_beat_at_most(make: FleetMaker, valkey: EmbeddedValkey) -> None:
    interval = 3.0
    fleet = make(PINFOLD_CHECK_INTERVAL=str(interval), PINFOLD_RECORDS_PER_REQUEST="120")
    fleet.connect()
    fleet.activate("31001", "Spring sale")
    fleet.activate("31002", "Lapsed buyers")
    fleet.simulator.faults.script("slow", times=None, operation="patch", seconds=0.1)
    fleet.worker(processes=1)
    fleet.beat()
    stage_both(fleet)
    happens(lambda: fleet.writes() > 4)
    for _ in range(3):
        before = fleet.writes()
        valkey.flush()
        happens(partial(_wrote_more_than, fleet, before + 5))
    assert_all_is_right(fleet)
    arrivals = [r.received_at for r in fleet.simulator.books.requests() if r.operation == "patch"]
    longest = max(b - a for a, b in itertools.pairwise(arrivals))
    assert longest < interval + 2.5


def test_sigterm_at_load_leaves_no_request_without_a_known_end(busy: Fleet) -> None:
    worker = busy.worker()
    busy.beat()
    stage_both(busy)
    happens(lambda: busy.writes() > 4 and busy.count(IN_FLIGHT) > 0)
    worker.ask_to_stop()
    happens(worker.died, GRACE_S)
    assert busy.waiting() > 0, "it stopped only when nothing was left"
    assert busy.count(UNKNOWN) + busy.count(IN_FLIGHT) == 0
    busy.worker("second")
    assert_all_is_right(busy)
    assert busy.count(SENT_TWICE) == 0


def test_a_frozen_worker_never_sends_late(make: FleetMaker, simulator: PinterestSimulator) -> None:
    with Turnstile(("127.0.0.1", simulator.port)) as turnstile:
        fleet = make(
            PINFOLD_PINTEREST_URL=f"http://127.0.0.1:{turnstile.port}/v5",
            PINFOLD_CONNECT_TIMEOUT="3",
            PINFOLD_READ_TIMEOUT="3.5",
            PINFOLD_CALL_DEADLINE="4",
            PINFOLD_DEAD_MAN="5",
            PINFOLD_LEASE="6",
            PINFOLD_QUARANTINE="7",
        )
        fleet.connect(forward_device_id=False)
        fleet.activate("31001", "VIP")
        first = fleet.worker("first", processes=1)
        fleet.beat()
        happens(
            lambda: (
                fleet.count(
                    "SELECT count(*) FROM customer_list WHERE pinterest_audience_id IS NOT NULL"
                )
                == 1
            )
        )
        turnstile.away()  # no connection is kept from the turn before
        turnstile.open()
        turnstile.hang()
        fleet.stage([{"audience": "31001", "operation": "add", "email": "ana.ruiz@example.org"}])
        frozen: list[psutil.Process] = []

        def freeze() -> bool:
            frozen[:] = [
                process for process in pool_of(first) if is_dialling(process, turnstile.port)
            ]
            for process in frozen:
                process.suspend()
            return bool(frozen)

        happens(freeze)
        turnstile.open()  # the kernel goes on dialling for the frozen process, and gets through
        happens(lambda: not is_dialling(frozen[0], turnstile.port))
        fleet.worker("second", processes=1)
        assert fleet.drained()
        assert fleet.writes() == 1
        frozen[0].resume()
        happens(lambda: not frozen[0].is_running())
        assert fleet.writes() == 1
        assert fleet.count(UNKNOWN) == 1
        assert "signal 14 (SIGALRM)" in read_log(first.log)


def is_dialling(process: psutil.Process, port: int) -> bool:
    return any(
        line.raddr and line.raddr.port == port and line.status == psutil.CONN_SYN_SENT
        for line in process.net_connections("tcp")
    )


def test_every_task_argument_is_a_row_id(fleet: Fleet) -> None:
    with watched_tasks(fleet.environment["PINFOLD_BROKER_URL"]) as seen:
        fleet.activate("31001", "Spring sale")
        fleet.worker()
        fleet.beat()
        fleet.stage_traffic("31001", 2_000)
        assert fleet.drained()
        happens(lambda: {"pinfold.flush", "pinfold.deliver"} <= {task.name for task in seen()})
    for task in seen():
        assert re.fullmatch(r"[(\[](\d+,?)?[)\]]", task.args), task
        assert task.kwargs == "{}", task


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_a_pool_that_no_timer_can_guard_is_refused(fleet: Fleet, pool: str) -> None:
    ended = start_and_see_it_fail(fleet, "worker", f"--pool={pool}")
    assert_refused_with(ended, "--pool=prefork")


def test_a_worker_with_a_wrong_key_refuses_to_start(fleet: Fleet) -> None:
    wrong = new_key()
    ended = start_and_see_it_fail(fleet, "worker", PINFOLD_KEYS=wrong)
    assert_refused_with(ended, "wrong key", "PINFOLD_KEYS")
    assert wrong not in ended.stderr


def test_a_worker_without_a_key_refuses_to_start(fleet: Fleet) -> None:
    ended = start_and_see_it_fail(fleet, "worker", PINFOLD_KEYS=None)
    assert_refused_with(ended, "PINFOLD_KEYS", "pinfold keys new")


def test_a_worker_refuses_to_start_without_its_database(fleet: Fleet, fresh_database: str) -> None:
    ended = start_and_see_it_fail(
        fleet, "worker", PINFOLD_DATABASE_URL=fresh_database.replace("pinfold_test_", "absent_")
    )
    assert_refused_with(ended, "Postgres cannot be reached")


def test_a_broken_setting_is_refused_by_name(fleet: Fleet) -> None:
    ended = start_and_see_it_fail(fleet, "worker", PINFOLD_LEASE="1")
    assert_refused_with(ended, "lease", "dead_man")


def test_beat_and_flower_start_without_a_key(make: FleetMaker, tmp_path: Path) -> None:
    fleet = make()
    del fleet.environment["PINFOLD_KEYS"]
    beat = fleet.beat()
    flower = fleet.flower(free_port(0))
    assert beat.pid is not None
    assert flower.pid is not None
    happens(lambda: "Sending due task what is due" in read_log(beat.log))
