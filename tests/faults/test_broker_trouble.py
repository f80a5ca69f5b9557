"""The broker killed, silent, or flooded with hints: rows 11, 13 and 14 of the fault matrix.

What has to happen stands in Postgres, so no trouble of the broker costs more than time.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import requests
from celery import Celery

from app.sandbox.embedded_valkey import EmbeddedValkey
from app.sandbox.stack import free_port
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import PINFOLD, Fleet, happens, read_log
from tests.faults.aftermath import (
    SENT_TWICE,
    assert_all_is_right,
    make_busy,
    stage_both,
    writes_go_on,
)
from tests.service import Service
from tests.workshop import sha1_hex
from workers.configuration import configuration

NOT_MADE = "SELECT count(*) FROM customer_list WHERE pinterest_list_id IS NULL"
TIMEOUT_S = 10.0
"""Of one attempt to speak to the broker."""


@pytest.fixture
def broker() -> Iterator[EmbeddedValkey]:
    """A durable broker of the test's own, that may be killed."""
    with tempfile.TemporaryDirectory(prefix="pinfold-test-") as directory:
        server = EmbeddedValkey(Path(directory))
        server.start()
        try:
            yield server
        finally:
            if server.pid is not None:
                os.kill(server.pid, signal.SIGCONT)
            server.stop()


@pytest.fixture
def busy(fleets: FleetMaker, broker: EmbeddedValkey) -> Fleet:
    fleet = fleets(broker.url(), PINFOLD_RECORDS_PER_REQUEST="120")
    make_busy(fleet)
    return fleet


def test_a_broker_killed_again_and_again_stops_no_worker_and_loses_nothing(
    busy: Fleet, broker: EmbeddedValkey
) -> None:
    worker, beat = busy.worker(), busy.beat()
    stage_both(busy)
    for _ in range(3):
        writes_go_on(busy)
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        happens(broker.died)
        broker.start()
    assert_all_is_right(busy)
    assert not worker.died()
    assert not beat.died()
    assert busy.count(SENT_TWICE) == 0


@contextmanager
def silent(broker: EmbeddedValkey) -> Iterator[None]:
    """Within it, the broker takes connections and answers nobody."""
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


@pytest.fixture
def api(busy: Fleet) -> Iterator[Service]:
    """`pinfold api`, among the processes of the fleet."""
    service = Service(busy.deployment, free_port(0))
    command = (*PINFOLD, "api", "--port", str(service.port))
    busy.start("api", command, "listening on")
    happens(partial(is_ready, service))
    yield service
    service.close()


def is_ready(service: Service) -> bool:
    with suppress(requests.ConnectionError):
        return service.get("/readyz").ok
    return False


def accept(api: Service, secret: str, *audiences: str) -> float:
    """Have one event accepted for each audience, in one call; how many seconds that took."""
    events = [
        {"audience": each, "operation": "add", "email": f"crm.{each}@example.org"}
        for each in audiences
    ]
    began = time.monotonic()
    answer = api.post("/in/crm", secret, json=events)
    assert (answer.status_code, answer.json()["accepted"]) == (200, len(events))
    return time.monotonic() - began


def test_a_silent_broker_holds_up_no_intake_and_nobody_who_publishes_for_long(
    busy: Fleet, broker: EmbeddedValkey, api: Service
) -> None:
    worker, beat = busy.worker(), busy.beat()
    secret = api.source("crm", "events", activate_unknown=True)
    with silent(broker):
        stage_both(busy, 2_000)
        # new audiences have two lists each to ring for, of which only the first ring is waited for
        assert TIMEOUT_S < accept(api, secret, "31009", "31010", "31011") < 2 * TIMEOUT_S
        assert accept(api, secret, "31009") < TIMEOUT_S
        done = busy.pinfold("flush", "Spring sale")  # has a minute: three tries of ten seconds
        assert done.returncode == 0, done.stderr
    happens(lambda: busy.count(NOT_MADE) == 0)
    assert_all_is_right(busy)
    assert "cannot ring for pinfold.deliver" in read_log(busy.directory / "api.log")
    for audience in ("31009", "31010", "31011"):
        assert sha1_hex(f"crm.{audience}@example.org") in busy.members(f"{audience}-EMAIL")
    assert not worker.died()
    assert not beat.died()


def test_hints_that_come_five_times_in_parallel_and_in_any_order_send_nothing_twice(
    busy: Fleet,
) -> None:
    busy.simulator.faults.clear()
    busy.simulator.faults.script("slow", times=None, operation="patch", seconds=0.25)
    for name in ("first", "second"):
        busy.worker(name)
    stage_both(busy, 3_000)
    hints = [("pinfold.check_due", ())]
    hints += [("pinfold.flush", (row.id,)) for row in busy.ask("SELECT id FROM audience")]
    hints += [("pinfold.deliver", (row.id,)) for row in busy.ask("SELECT id FROM customer_list")]
    chance = random.Random(14)
    with Celery("hints", config_source=configuration(busy.deployment.settings)) as publisher:

        def ring() -> None:
            for task, arguments in chance.sample(hints * 5, 5 * len(hints)):
                publisher.send_task(task, args=arguments, expires=60)

        assert_all_is_right(busy, meanwhile=ring)
    assert busy.count(SENT_TWICE) == 0
    assert_each_list_got_one_request_after_another(busy)


def assert_each_list_got_one_request_after_another(fleet: Fleet) -> None:
    moments: dict[str | None, list[float]] = {}
    for request in fleet.simulator.books.requests():
        if request.operation == "patch":
            moments.setdefault(request.list_id, []).append(request.received_at)
    assert len(moments) == 4
    for arrived in moments.values():
        # each answer took a quarter of a second, so requests side by side would be nearer
        assert all(later - earlier > 0.2 for earlier, later in itertools.pairwise(arrived))
