"""The HTTP service under load while Postgres, or it itself, is restarted: nothing lost or invented.

The real service in processes of its own, on a Postgres of the test's own that may be crashed.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from app.database import transaction
from app.sandbox.children import Child
from app.sandbox.embedded_postgres import EmbeddedPostgres
from app.sandbox.pinterest import PinterestSimulator
from app.sandbox.stack import free_port
from tests.acceptance.callers import AUDIENCE, CALLERS, KEYED, UNKEYED, Caller, Doors, Load
from tests.acceptance.fleet import (
    PINFOLD,
    Fleet,
    crash,
    eventually,
    exit_code,
    happens,
    make_fleet,
    pool_of,
    read_log,
)
from tests.workshop import Workshop

PROCESSES = 2
ANSWERS = 1_000
"""Between two interruptions."""
GONE_S = 5.0
HELD_S = 1.0
"""For which calls under way cannot be answered after SIGTERM; far less than its patience."""
ESTABLISHED = "01"

pytestmark = [
    pytest.mark.slow,
]


@dataclass(frozen=True)
class Api:
    """The running service, and the installation it belongs to."""

    fleet: Fleet
    child: Child
    port: int
    doors: Doors

    def received(self) -> Counter[str]:
        """Events by way in, as the receipts say."""
        rows = self.fleet.ask("SELECT source, sum(accepted) AS n FROM receipt GROUP BY source")
        return Counter({row.source: int(row.n) for row in rows})

    def workers(self) -> list[psutil.Process]:
        return [each for each in pool_of(self.child) if self._listens(each)]

    def _listens(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return any(
                line.laddr.port == self.port and line.status == psutil.CONN_LISTEN
                for line in process.net_connections("tcp")
            )
        return False


@pytest.fixture
def api(
    tmp_path: Path, own_postgres: EmbeddedPostgres, simulator: PinterestSimulator
) -> Iterator[Api]:
    """The service with an audience, letting in callers."""
    settings = {"PINFOLD_RECORDS_PER_REQUEST": "5000", "TMPDIR": str(tmp_path)}
    fleet = make_fleet(tmp_path, own_postgres.url(), None, simulator, **settings)
    try:
        fleet.connect()
        fleet.activate(AUDIENCE, "VIP")
        doors = Doors.made_in(fleet.deployment)
        port = free_port(0)
        command = (*PINFOLD, "api", "--port", str(port), "--processes", str(PROCESSES))
        child = fleet.start("api", command, "listening on")
        happens(lambda: all_serve(fleet, port))
        yield Api(fleet, child, port, doors)
    finally:
        fleet.stop()


def all_serve(fleet: Fleet, port: int) -> bool:
    """Whether each process has said that it is ready; each says so when it is asked."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError):
        connection.request("GET", "/readyz")
        connection.getresponse().read()
    connection.close()
    return fleet.count("SELECT count(*) FROM process WHERE kind = 'api'") == PROCESSES


def stop(server: EmbeddedPostgres) -> None:
    """End all sessions and stop Postgres in good order."""
    server.stop()


def answers(load: Load, status: int, more: int) -> None:
    """Wait for so many more answers of a status."""
    before = load.answered(status)

    def enough() -> bool:
        load.check()
        return load.answered(status) >= before + more

    happens(enough)


def test_postgres_restarted_under_load_costs_no_answered_call_and_doubles_no_keyed_one(
    api: Api, own_postgres: EmbeddedPostgres
) -> None:
    with Load(api.port, api.doors, insisting=True) as load:
        for end in (crash, stop, crash, stop):
            answers(load, 200, ANSWERS)
            end(own_postgres)
            answers(load, 503, CALLERS)
            own_postgres.start()
        answers(load, 200, ANSWERS)
        load.end()
    received, accepted, calls = api.received(), load.accepted(), load.calls()
    for way in ("token", "source"):
        assert calls[f"{way} {KEYED}"] > ANSWERS // 4
        assert received[f"{way} {KEYED}"] == accepted[f"{way} {KEYED}"]
        assert received[f"{way} {UNKEYED}"] >= accepted[f"{way} {UNKEYED}"] > 0
    remembered = "SELECT count(*) FROM message_key WHERE source = :source"
    for label in (f"token {KEYED}", f"source {KEYED}"):
        assert api.fleet.count(remembered, source=label) == calls[label]
    assert load.statuses() == {200, 503}
    assert_members_are_right(api, load)


def assert_members_are_right(api: Api, load: Load) -> None:
    """Upload everything; then Pinterest has whom it must, and the books balance."""
    workshop = Workshop(api.fleet.deployment, api.fleet.simulator)
    workshop.assert_books_balance()
    audience_id = api.fleet.count("SELECT id FROM audience")
    workshop.deliver_all()
    while api.fleet.count("SELECT count(*) FROM staged_chunk"):
        assert workshop.flush(audience_id) is not None
        workshop.deliver_all()
    for list_type in ("EMAIL", "MAID"):
        assert len(load.members(list_type)) > ANSWERS
        assert workshop.members(f"VIP-{list_type}") == load.members(list_type)
    workshop.assert_books_balance()
    assert api.fleet.waiting() == 0


def test_sigterm_answers_every_call_that_was_received(api: Api) -> None:
    callers = [Caller(number, api.port, api.doors) for number in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS) as threads:
        with transaction(api.fleet.deployment.engine) as tx:
            tx.exec_driver_sql("LOCK TABLE receipt")  # so that no call can be answered
            posted = [threads.submit(caller.call_once) for caller in callers]
            happens(lambda: unread_bytes(api.port) == [0] * CALLERS)
            api.child.ask_to_stop()
            happens(lambda: not api.workers())
            held = not eventually(lambda: any(each.done() for each in posted), HELD_S)
            assert held, "a call was given up"
        assert [each.result() for each in posted] == [200] * CALLERS
    assert exit_code(api.child) == 0
    assert list(api.fleet.directory.glob("pinfold-api-*")) == []
    assert api.received() == {f"token {KEYED}": CALLERS}


def unread_bytes(port: int) -> list[int]:
    """How much waits to be read of each connection to a port, by the kernel's own account."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        if int(local.partition(":")[2], 16) == port and state == ESTABLISHED:
            found.append(int(queues.partition(":")[2], 16))
    return found


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_whatever_ends_it_at_full_load_all_that_was_committed_was_answered(
    api: Api, name: str
) -> None:
    family = pool_of(api.child)
    assert len(api.workers()) == PROCESSES
    with Load(api.port, api.doors, insisting=False) as load:
        answers(load, 200, ANSWERS)
        assert api.child.pid is not None
        os.kill(api.child.pid, signal.Signals[name])
        assert eventually(lambda: not any(map(runs, family)), GONE_S), "a process is left behind"
        happens(load.is_over)
        load.end()
    assert load.statuses() <= {200, 503}
    assert api.received() == load.accepted()
    assert "Traceback" not in read_log(api.child.log)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", api.port))


def runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
