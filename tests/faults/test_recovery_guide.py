"""docs/recovery.md on a living installation: its own commands, run by real processes."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from app.sandbox.embedded_postgres import PostgresServer
from app.sandbox.embedded_valkey import EmbeddedValkey
from app.sandbox.postgres_binaries import find_binaries
from app.sandbox.sample_traffic import sample_calls
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import PINFOLD, ROOT, Fleet, happens, kill
from tests.faults.backups import dump, lose, restore

pytestmark = pytest.mark.slow

GUIDE = (ROOT / "docs" / "recovery.md").read_text(encoding="utf-8")
PATIENCE_S = 300.0


def the_block() -> str:
    found = re.search(
        r"test_recovery_guide\.py runs this block -->\n```sh\n(.*?)\n```", GUIDE, re.S
    )
    assert found
    return found[1]


def run_block(fleet: Fleet, block: str) -> subprocess.CompletedProcess[str]:
    """Paste a block into a shell that finds Pinfold and the tools of Postgres; say yes."""
    wrapper = fleet.directory / "bin" / "pinfold"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(PINFOLD)} "$@"\n')
    wrapper.chmod(0o755)
    url = sa.make_url(fleet.environment["PINFOLD_DATABASE_URL"])
    server = {
        "PGHOST": str(url.query.get("host", url.host)),
        "PGPORT": str(url.port or 5432),
        "PGUSER": str(url.username),
        "PGPASSWORD": str(url.password or ""),
    }
    path = f"{wrapper.parent}:{find_binaries()}:{fleet.environment['PATH']}"
    return subprocess.run(
        ["sh", "-eu", "-c", block],
        cwd=fleet.directory,
        env=fleet.environment | server | {"PATH": path},
        input="y\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


class Upstream:
    """The system that sends membership events, and can send again what it sent since a backup."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.since: list[list[dict[str, object]]] = []

    def send(self, upstream_id: str, messages: int, seed: int) -> None:
        for call in sample_calls(upstream_id, messages, seed, self.fleet.reckoning):
            self.fleet.stage(call)
            self.since.append(call)

    def send_again(self) -> None:
        for call in self.since:
            self.fleet.stage(call)


def assert_sound(fleet: Fleet) -> None:
    """Everybody is where they belong, and Pinterest got no more than was charged, nothing twice."""
    assert fleet.drained(PATIENCE_S)
    assert fleet.strangers() == {}
    assert fleet.unbalanced() == []
    books = fleet.simulator.books
    for row in fleet.ask("SELECT pinterest_list_id, charged FROM customer_list"):
        assert books.records_applied(row.pinterest_list_id) <= row.charged
    for made in (books.lists(), books.audiences()):
        assert max(Counter(each["name"] for each in made).values()) == 1


def test_a_living_installation_is_restored_by_the_commands_of_the_guide(
    fleet: Fleet, postgres: PostgresServer
) -> None:
    url = fleet.environment["PINFOLD_DATABASE_URL"]
    upstream = Upstream(fleet)
    fleet.activate("31001", "VIP")
    worker, beat = fleet.worker(), fleet.beat()
    upstream.send("31001", 3_000, 1)
    happens(lambda: fleet.writes() > 3, PATIENCE_S)
    fleet.ask("UPDATE process SET seen_at = seen_at - interval '1 hour' RETURNING 1")  # last night
    taken = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    dump(url, fleet.directory / "pinfold.dump")
    upstream.since = upstream.since[-1:]  # "since an hour before": some of it was accepted already
    upstream.send("31001", 3_000, 2)
    fleet.activate("31002", "New")
    upstream.send("31002", 1_000, 3)
    assert fleet.drained(PATIENCE_S)
    upstream.send("31001", 500, 4)
    kill(worker)
    kill(beat)
    fleet.deployment.engine.dispose()
    lose(postgres, url)

    block, filled = re.subn(
        r"database=\S+ taken=\S+",
        f"database={sa.make_url(url).database} taken={taken}",
        the_block(),
    )
    assert filled == 1
    ran = run_block(fleet, block)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "recovered: " in ran.stdout
    fleet.activate("31002", "New")
    upstream.send_again()
    fleet.worker("again")
    fleet.beat("beat again")
    assert_sound(fleet)


@pytest.fixture
def elsewhere(postgres: PostgresServer) -> Iterator[str]:
    """The address of a database that does not exist yet, in the new place."""
    name = f"pinfold_elsewhere_{uuid4().hex}"
    yield postgres.url(name)
    postgres.drop_database(name)


def test_everything_moves_to_another_database_another_broker_and_other_workers(
    fleet: Fleet,
    fleets: FleetMaker,
    postgres: PostgresServer,
    valkey: EmbeddedValkey,
    elsewhere: str,
    tmp_path: Path,
) -> None:
    upstream = Upstream(fleet)
    fleet.activate("31001", "VIP")
    worker, beat = fleet.worker(), fleet.beat()
    upstream.send("31001", 3_000, 1)
    happens(lambda: fleet.writes() > 3, PATIENCE_S)
    worker.stop()
    beat.stop()
    upstream.send("31001", 500, 2)
    dump(fleet.environment["PINFOLD_DATABASE_URL"], tmp_path / "pinfold.dump")
    restore(postgres, elsewhere, tmp_path / "pinfold.dump")
    moved = fleets(
        valkey.url(1),
        PINFOLD_DATABASE_URL=elsewhere,
        PINFOLD_KEYS=fleet.environment["PINFOLD_KEYS"],
    )
    moved.reckoning, moved.names = fleet.reckoning, fleet.names
    moved.worker("elsewhere")
    moved.beat("beat elsewhere")
    assert_sound(moved)
    assert moved.count("SELECT count(*) FROM attempt WHERE state = 'unknown'") == 0
