"""A fleet that is upgraded while it works: processes of two versions side by side, under load.

The older version is real, from this project's history: it has workers, beat and `pinfold stage`,
and no service yet. Upstream never pauses once the newer version's service takes its calls.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha1
from pathlib import Path

import orjson
import pytest
from celery import Celery

from app.books import read_books
from app.revisions import needed_revision, steps
from app.sandbox.children import Child
from app.sandbox.pinterest import PinterestSimulator
from app.sandbox.stack import free_port
from tests import history
from tests.acceptance.callers import AUDIENCE, KEYED, UNKEYED, Caller, Doors
from tests.acceptance.fleet import (
    AD_ACCOUNT,
    PATIENT,
    PINFOLD,
    TOKEN,
    Fleet,
    assert_refused_with,
    happens,
    make_fleet,
    read_log,
    start_and_see_it_fail,
)
from tests.catalog import migrate_to
from tests.faults.order import assert_each_list_was_sent_to_in_order
from tests.workshop import Workshop

CALLERS = 3
PACE_S = 0.05
SOME = 5
"""Calls, or turns of a worker, after which something has gone on working."""
LONG_S = 180.0
SENT = re.compile(r"Task pinfold\.deliver\[.*succeeded in .*: '[1-9]\d* requests'")
NEWEST, NEEDED = steps()[-1].revision, needed_revision()

pytestmark = [
    pytest.mark.slow,
]


class Upstream:
    """Callers that never pause."""

    def __init__(self, doors: Doors, port: int) -> None:
        self.callers = [Caller(number, port, doors) for number in range(CALLERS)]
        self._ended = threading.Event()
        self._threads = ThreadPoolExecutor(CALLERS)
        self._running = [self._threads.submit(self._call, caller) for caller in self.callers]

    def _call(self, caller: Caller) -> None:
        calls = caller.calls_to_make()
        while not self._ended.wait(PACE_S):
            assert caller.is_taken(next(calls), insisting=True)

    def goes_on(self) -> None:
        """Wait for some more calls to be taken."""
        before = self._taken()

        def taken() -> bool:
            for run in self._running:
                if run.done():
                    run.result()
            return self._taken() >= before + SOME

        happens(taken, LONG_S)

    def _taken(self) -> int:
        return sum(caller.statuses[200] for caller in self.callers)

    def end(self) -> None:
        self._ended.set()
        self._threads.shutdown()
        for caller in self.callers:
            caller.hang_up()
        for run in self._running:
            run.result()

    def accepted(self) -> int:
        return sum(caller.accepted.total() for caller in self.callers)

    def statuses(self) -> set[int]:
        return {status for caller in self.callers for status in caller.statuses}

    def members(self, list_type: str) -> set[str]:
        place = (AUDIENCE, list_type)
        return set().union(*(caller.reckoning.members(place) for caller in self.callers))


@dataclass
class Version:
    """The processes of one version in a fleet."""

    fleet: Fleet
    name: str
    environment: dict[str, str]
    port: int = field(default_factory=lambda: free_port(0))
    children: list[Child] = field(default_factory=list)

    def start(self) -> None:
        self.children += [
            self.fleet.worker(self.name, **self.environment),
            self.fleet.beat(f"{self.name}-beat", **self.environment),
        ]

    def serve(self) -> None:
        command = (*PINFOLD, "api", "--port", str(self.port))
        api = self.fleet.start(f"{self.name}-api", command, "listening on", **self.environment)
        self.children.append(api)
        happens(self._is_ready)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with closing(connection), suppress(OSError):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False

    def stop(self) -> None:
        for child in self.children:
            child.ask_to_stop()
        happens(lambda: all(child.died() for child in self.children), LONG_S)

    def delivers(self) -> None:
        """Wait for its worker to send some more."""
        log = self.fleet.directory / f"{self.name}.log"
        before = len(SENT.findall(read_log(log)))
        happens(lambda: len(SENT.findall(read_log(log))) >= before + SOME, LONG_S)

    def pinfold(self, *arguments: str) -> str:
        done = self.fleet.pinfold(*arguments, **self.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def older_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("older")
    history.unpack_older(directory)
    return directory


@pytest.fixture
def fleet(
    tmp_path: Path, empty_database: str, valkey_url: str, simulator: PinterestSimulator
) -> Iterator[Fleet]:
    """An installation without a schema."""
    settings = PATIENT | {"PINFOLD_RECORDS_PER_REQUEST": "20", "TMPDIR": str(tmp_path)}
    made = make_fleet(tmp_path, empty_database, valkey_url, simulator, **settings)
    yield made
    made.stop()


@pytest.fixture
def older(fleet: Fleet, older_code: Path) -> Version:
    return Version(fleet, "older", {"PYTHONPATH": str(older_code)})


@pytest.fixture
def newer(fleet: Fleet) -> Version:
    return Version(fleet, "newer", {})


def connect_and_activate(version: Version) -> None:
    """By its own commands: newer code would ask for columns that are not there yet."""
    token = version.fleet.directory / "pinterest.token"
    token.write_text(TOKEN)
    version.pinfold(
        *("connection", "add", "main", "--ad-account", AD_ACCOUNT, "--token-file", str(token))
    )
    version.pinfold("audience", "activate", "VIP", "--id", AUDIENCE, "--no-wait")


def doors_made_by(version: Version) -> Doors:
    secrets = {}
    for name in (KEYED, UNKEYED):
        secrets[f"token {name}"] = version.pinfold("token", "add", name).strip()
        made = version.pinfold("source", "add", name, "--format", "mparticle")
        secrets[f"source {name}"] = made.strip()
    return Doors(secrets)


def let_receipts_grow_old(fleet: Fleet) -> None:
    """Whatever worker looks next drops them and carries their sums."""
    Workshop(fleet.deployment, fleet.simulator).execute(
        "UPDATE receipt SET received_at = received_at - interval '9 days'"
    )
    Celery(broker=fleet.environment["PINFOLD_BROKER_URL"]).send_task("pinfold.tidy", queue="upkeep")


def carried(fleet: Fleet, table: str) -> bool:
    return fleet.count(f"SELECT count(*) FROM {table}") > 0


@dataclass
class Backlog:
    """What is handed to `pinfold stage` before there is a service."""

    version: Version
    emails: list[str] = field(default_factory=list)

    def grow(self) -> None:
        """Some more people enter."""
        more = [f"early.person{len(self.emails) + number}@example.org" for number in range(100)]
        events = [{"audience": AUDIENCE, "operation": "add", "email": email} for email in more]
        file = self.version.fleet.directory / f"early-{len(self.emails)}.ndjson"
        file.write_bytes(b"\n".join(map(orjson.dumps, events)))
        self.version.pinfold("stage", str(file))
        self.emails += more

    def members(self, list_type: str) -> set[str]:
        emails = self.emails if list_type == "EMAIL" else []
        return {sha1(email.encode()).hexdigest() for email in emails}


@pytest.mark.history
def test_a_fleet_upgraded_under_load_keeps_every_promise(
    fleet: Fleet, older: Version, newer: Version
) -> None:
    assert history.OLDER_REVISION in older.pinfold("migrate")
    connect_and_activate(older)
    older.start()
    backlog = Backlog(older)
    for _ in range(SOME):
        backlog.grow()
    happens(lambda: fleet.count("SELECT count(*) FROM attempt WHERE state = 'sent'") > SOME)
    let_receipts_grow_old(fleet)
    happens(partial(carried, fleet, "carried"))
    older.pinfold("books", "--check")

    backlog.grow()
    told = newer.pinfold("migrate")
    assert f"stands at revision {NEEDED}" in told
    assert f"left out: {NEWEST}" in told
    assert "worker older@fleet" in told
    newer.serve()
    upstream = Upstream(doors_made_by(newer), newer.port)
    try:
        upstream.goes_on()
        older.delivers()
        newer.start()
        for version in (older, newer):
            version.delivers()
        upstream.goes_on()
        let_receipts_grow_old(fleet)
        newer.pinfold("books", "--check")
        assert "older@fleet" in migrations_according_to(newer)

        older.stop()
        newer.delivers()
        assert migrations_according_to(newer) == f"{NEWEST} was left out"
        assert f"stands at revision {NEWEST}" in newer.pinfold("migrate")
        assert migrations_according_to(newer) == "up to date"
        let_receipts_grow_old(fleet)
        happens(partial(carried, fleet, "carried_sum"))
        newer.pinfold("books", "--check")
        upstream.goes_on()
        newer.delivers()
    finally:
        upstream.end()
    assert fleet.drained(LONG_S)
    assert_every_promise_was_kept(fleet, upstream, backlog)
    assert_an_older_worker_is_turned_away(fleet, older)


def migrations_according_to(version: Version) -> str:
    """What `doctor` finds."""
    findings = orjson.loads(version.fleet.pinfold("doctor", "--json").stdout)
    (found,) = [finding["found"] for finding in findings if finding["what"] == "migrations"]
    return str(found)


def assert_every_promise_was_kept(fleet: Fleet, upstream: Upstream, backlog: Backlog) -> None:
    assert upstream.statuses() == {200}, "a service was away"
    assert sum(caller.unanswered for caller in upstream.callers) == 0
    books = read_books(fleet.deployment)
    assert sum(book.received for book in books) == upstream.accepted() + len(backlog.emails)
    assert all(book.balanced for book in books)
    workshop = Workshop(fleet.deployment, fleet.simulator)
    for list_type in ("EMAIL", "MAID"):
        members = upstream.members(list_type)
        assert members
        assert workshop.members(f"VIP-{list_type}") == members | backlog.members(list_type)
    workshop.assert_charges_cover_what_was_sent()
    assert_each_list_was_sent_to_in_order(workshop)
    assert fleet.count("SELECT count(*) FROM attempt WHERE state NOT IN ('sent', 'refused')") == 0


def assert_an_older_worker_is_turned_away(fleet: Fleet, older: Version) -> None:
    ended = start_and_see_it_fail(fleet, "worker", **older.environment)
    needs = f"this version needs {history.OLDER_REVISION}"
    assert_refused_with(ended, f"stands at revision {NEWEST}", needs)


def test_older_processes_are_not_waited_for_where_a_person_says_so(
    fleet: Fleet, empty_database: str, newer: Version
) -> None:
    migrate_to(empty_database, NEEDED)
    Workshop(fleet.deployment, fleet.simulator).execute(
        "INSERT INTO process (name, kind, key_ids) VALUES ('worker w@old:1', 'worker', '{}')"
    )
    assert "worker w@old:1, seen" in newer.pinfold("migrate")
    told = newer.pinfold("migrate", "--contract-anyway")
    assert f"stands at revision {NEWEST}" in told
    assert "left out" not in told


def test_a_worker_runs_on_a_database_ahead_of_it_as_long_as_that_serves_it(
    fleet: Fleet, newer: Version
) -> None:
    newer.pinfold("migrate")
    workshop = Workshop(fleet.deployment, fleet.simulator)
    workshop.execute("UPDATE alembic_version SET version_num = '9999'")
    fleet.worker("served", processes=1)
    assert "stands at revision 9999" in newer.pinfold("migrate")
    workshop.execute("UPDATE oldest_code SET revision = '9998'")
    ended = start_and_see_it_fail(fleet, "worker")
    assert_refused_with(ended, "from 9998 on", f"this one is of {NEEDED}", "run a newer one")
