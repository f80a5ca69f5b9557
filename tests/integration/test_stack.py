from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests

from app.keyring import KeyRing
from app.sandbox.children import Child, StackError
from app.sandbox.stack import (
    ServingOptions,
    SimulatorOptions,
    Stack,
    Stopped,
    free_port,
    serving_children,
    stop_on_signals,
)
from app.settings import load_settings
from tests.integration.processes import alive, eventually, supervisor

NOTHING = (sys.executable, "-c", "")
SUPERVISOR = """
import sys, time
from pathlib import Path
from app.sandbox.stack import Stack, Stopped, stop_on_signals
from tests.integration.test_stack import NOTHING, stand_ins
try:
    with (
        stop_on_signals(),
        Stack(
            Path(sys.argv[1]),
            database_url=None,
            broker_url=None,
            environment={},
            migration=NOTHING,
            children=stand_ins,
        ) as stack,
    ):
        print("up", flush=True)
        while True:
            stack.tick()
            time.sleep(0.02)
except Stopped as stopped:
    print(stopped, flush=True)
"""


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pinfold-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made) / "state"


def stand_ins(options: ServingOptions) -> list[Child]:
    """A child that writes down its environment and waits."""
    program = "import json, os, sys, time; print(json.dumps(dict(os.environ)), flush=True)\n"
    program += "while True: time.sleep(60)"
    log = options.state / "logs" / "worker.log"
    command = [sys.executable, "-c", program]
    return [Child("worker", command, env=options.environment, log=log, first_pause=0.01)]


def stack(state: Path, **options: object) -> Stack:
    settings: dict[str, Any] = {
        "database_url": None,
        "broker_url": None,
        "environment": {},
        "migration": NOTHING,
        "children": stand_ins,
    }
    return Stack(state, **(settings | options))


def test_a_stack_starts_what_is_not_named_and_writes_it_down(state: Path) -> None:
    with stack(state) as running:
        assert [part.name for part in running.describe()] == ["valkey", "postgres", "worker"]
        run_file = state / "run.json"
        assert run_file.stat().st_mode & 0o777 == 0o600
        run = json.loads(run_file.read_text())
        settings = load_settings(run["environment"])
        psycopg2.connect(settings.require_database_url().replace("+psycopg2", "")).close()
        assert KeyRing.parse(settings.require_keys()).key_ids
        assert run["pid"] == os.getpid()
        assert run["children"] == {part.name: part.pid for part in running.describe()}
    assert not run_file.exists()


def test_the_key_is_private_and_stays_the_same(state: Path) -> None:
    with stack(state):
        first = (state / "key").read_text()
        assert (state / "key").stat().st_mode & 0o777 == 0o600
    with stack(state):
        assert (state / "key").read_text() == first


def test_named_services_and_keys_are_used_instead_of_own_ones(state: Path) -> None:
    named = {"database_url": "postgresql://db/x", "broker_url": "amqp://mq"}
    with stack(state, environment={"PINFOLD_KEYS": "mine"}, **named) as running:
        assert [part.name for part in running.describe()] == ["worker"]
        assert set(running.addresses.values()) == set(named.values())
        assert not (state / "key").exists()


def test_children_get_the_given_environment_and_the_addresses_only(state: Path) -> None:
    given = {"PATH": "/bin", "PINFOLD_LOG_LEVEL": "DEBUG", "PINFOLD_DATABASE_URL_FILE": "/gone"}
    with stack(state, environment=given) as running:
        log = state / "logs" / "worker.log"
        assert eventually(lambda: log.read_text().endswith("\n"))
        told = json.loads(log.read_text())
    told.pop("LC_CTYPE", None)  # Python's own
    assert told == {
        "LANG": "C.UTF-8",
        "PATH": "/bin",
        "PINFOLD_LOG_LEVEL": "DEBUG",
        **running.addresses,
    }


def test_the_simulator_takes_the_place_of_pinterest(state: Path) -> None:
    named = {"database_url": "postgresql://db/x", "broker_url": "amqp://mq"}
    with stack(state, simulator=SimulatorOptions(), **named) as running:
        assert [part.name for part in running.describe()] == ["simulator", "worker"]
        settings = load_settings(running.addresses)
        assert requests.get(settings.pinterest_url + "/ad_accounts", timeout=5).status_code == 401


@pytest.mark.parametrize("name", ["valkey", "postgres", "worker"])
def test_whatever_dies_is_restarted(state: Path, name: str) -> None:
    with stack(state) as running:

        def pid() -> int | None:
            return next(part.pid for part in running.describe() if part.name == name)

        killed = pid()
        os.kill(killed or 0, signal.SIGKILL)
        assert eventually(lambda: name in running.tick())
        assert pid() not in (None, killed)
        assert json.loads((state / "run.json").read_text())["children"][name] == pid()
        if name == "postgres":
            url = running.addresses["PINFOLD_DATABASE_URL"].replace("+psycopg2", "")
            assert eventually(lambda: connects(url))


def connects(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


def test_a_second_stack_is_refused_and_the_first_goes_on(state: Path) -> None:
    with stack(state) as running:
        with pytest.raises(StackError, match=r"is in use by process"), stack(state):
            pass
        assert (state / "run.json").exists()
        assert running.tick() == []


def test_a_failed_migration_ends_the_start_and_leaves_nothing(state: Path) -> None:
    failing = (sys.executable, "-c", "raise SystemExit(1)")
    refused = stack(state, migration=failing)
    with pytest.raises(StackError, match=r"migration ended with code 1; see .*migration\.log"):
        refused.__enter__()
    assert refused.describe() == []
    with stack(state):
        pass


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_everything_in_order(state: Path, name: str) -> None:
    with supervisor(SUPERVISOR, state) as (process, family):
        process.send_signal(signal.Signals[name])
        assert eventually(lambda: not (state / "run.json").exists())
        process.send_signal(signal.SIGINT)  # impatience changes nothing
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert process.stdout.read().strip() == name
        assert alive(family) == []
    assert "database system is shut down" in (state / "postgres.log").read_text()


def test_kill_9_leaves_no_process_and_the_next_start_works(state: Path) -> None:
    with supervisor(SUPERVISOR, state) as (process, family):
        assert len(family) > 4
        process.kill()
        assert eventually(lambda: not alive(family), seconds=5)
    with stack(state) as running:
        assert None not in [part.pid for part in running.describe()]


def test_signals_mean_what_they_meant_before_once_the_stack_is_gone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_the_first_signal_counts() -> None:
    def impatient() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals():
        impatient()


def test_flower_takes_the_next_port_when_its_own_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port < free_port(port) <= port + 100


def test_celery_runs_as_its_users_expect(state: Path) -> None:
    children = serving_children(ServingOptions({}, state, 3, 5556))
    assert [child.name for child in children] == ["worker", "beat", "flower"]
    assert [child.log for child in children] == [
        state / "logs" / f"{name}.log" for name in ("worker", "beat", "flower")
    ]
    without = serving_children(ServingOptions({}, state, 3, None))
    assert [child.name for child in without] == ["worker", "beat"]
