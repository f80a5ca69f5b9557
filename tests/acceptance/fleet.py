"""A fleet: real processes of one installation, with short times, always ended with the test.

Workers, beat, Flower and intake are started as people start them; `pinfold` is run as a command.
All of them see only the environment made here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from app.audiences import activate
from app.books import read_books
from app.connections import add_connection
from app.database import transaction
from app.deployment import Deployment
from app.formats import own
from app.keyring import new_key
from app.sandbox.children import Child
from app.sandbox.embedded_postgres import EmbeddedPostgres
from app.sandbox.pinterest import PinterestSimulator
from app.sandbox.sample_traffic import Reckoning, sample_calls
from app.settings import PREFIX, load_settings
from app.staging import Intake, stage
from tests.acceptance.publishing import is_bound
from tests.acceptance.turnstile import Target
from tests.workshop import Workshop, environment_of

ROOT = Path(__file__).resolve().parents[2]
PINFOLD = (sys.executable, "-m", "workers.console")
CELERY = (sys.executable, "-m", "celery", "-A", "workers")
TOKEN = "pina_test"
AD_ACCOUNT = "549770000001"
TIMES = {
    "PINFOLD_CONNECT_TIMEOUT": "0.5",
    "PINFOLD_READ_TIMEOUT": "2",
    "PINFOLD_CALL_DEADLINE": "3",
    "PINFOLD_DEAD_MAN": "4",
    "PINFOLD_LEASE": "5",
    "PINFOLD_QUARANTINE": "6",
    "PINFOLD_FLUSH_AGE": "8",
    "PINFOLD_CHECK_INTERVAL": "1",
    "PINFOLD_BACKOFF_FIRST": "0.5",
}
BEAT_S = float(TIMES["PINFOLD_CHECK_INTERVAL"])
FAST = {
    "PINFOLD_WRITES_PER_MINUTE": "60000",
    "PINFOLD_RECORDS_PER_REQUEST": "200",
    "PINFOLD_FLUSH_MESSAGES": "1",
}
PATIENT = {
    "PINFOLD_READ_TIMEOUT": "20",
    "PINFOLD_CALL_DEADLINE": "25",
    "PINFOLD_DEAD_MAN": "30",
    "PINFOLD_LEASE": "35",
    "PINFOLD_QUARANTINE": "40",
    "PINFOLD_FLUSH_AGE": "60",
}
"""So that no request is given up because the machine is slow."""
GRACE_S = 120.0
"""For a worker to stop, as in docker-compose.yml. Now and then one with nothing left to do takes
half a minute: its pool waits for the main process to count results, which has stopped counting."""
READY_S = 60.0
DRAINED_S = 90.0


@dataclass
class Fleet:
    """One installation: its addresses, its processes, what it must have sent in the end."""

    directory: Path
    environment: dict[str, str]
    simulator: PinterestSimulator
    children: list[Child] = field(default_factory=list)
    reckoning: Reckoning = field(default_factory=Reckoning)
    names: dict[str, str] = field(default_factory=dict)
    """Of the audiences, by upstream id."""

    @cached_property
    def deployment(self) -> Deployment:
        """This process's access to the installation, with the same settings as its workers."""
        ours = {name: text for name, text in self.environment.items() if name.startswith(PREFIX)}
        return Deployment(load_settings(ours))

    def launch(self, name: str, command: Iterable[str], sign: str, **environment: str) -> Child:
        """Start a process that is ready once its log shows ``sign``, without waiting for that."""
        log = self.directory / f"{name}.log"
        child = Child(
            name,
            list(command),
            env=self.environment | environment,
            log=log,
            directory=self.directory,
            ready=lambda: sign in read_log(log),
            patience=READY_S,
            grace=GRACE_S,
            death_signal=signal.SIGKILL,
        )
        self.children.append(child)
        child.launch()
        return child

    def start(self, name: str, command: Iterable[str], sign: str, **environment: str) -> Child:
        """Start a process and wait until its log shows ``sign``."""
        child = self.launch(name, command, sign, **environment)
        child.wait_ready()
        return child

    def worker(
        self,
        name: str = "worker",
        *,
        processes: int = 2,
        level: str = "INFO",
        **environment: str,
    ) -> Child:
        options = ("--concurrency", str(processes), "-n", f"{name}@fleet", "-l", level)
        command = (*CELERY, "worker", *options)
        return self.start(name, command, f"{name}@fleet ready", **environment)

    def beat(self, name: str = "beat", *, level: str = "INFO", **environment: str) -> Child:
        command = (*CELERY, "beat", "--pidfile=", "-l", level)
        return self.start(name, command, "beat: Starting", **environment)

    def flower(self, port: int, *more: str, level: str = "INFO") -> Child:
        options = ("--address=127.0.0.1", f"--port={port}", *more, "-l", level)
        return self.start("flower", (*CELERY, "flower", *options), "Connected to")

    def intake(self, name: str = "intake", **environment: str) -> Child:
        child = self.start(name, (*PINFOLD, "intake"), "intake reads", **environment)
        happens(lambda: is_bound(self.environment["PINFOLD_BROKER_URL"]))
        return child

    def pinfold(
        self,
        *arguments: str,
        given: bytes = b"",
        cwd: Path | None = None,
        **environment: str | None,
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; a variable given as None is left out."""
        return run_pinfold(
            arguments, without_nothing(self.environment | environment), given, cwd or self.directory
        )

    def connect(self, **settings: Any) -> None:
        add_connection(self.deployment, "main", AD_ACCOUNT, TOKEN, **settings)

    def activate(self, upstream_id: str, name: str) -> None:
        activate(self.deployment, name, upstream_id, None)
        self.names[upstream_id] = name

    def stage_traffic(self, upstream_id: str, messages: int, seed: int = 1) -> None:
        """Invent traffic for an audience, reckon who must be a member in the end, and stage it."""
        for call in sample_calls(upstream_id, messages, seed, self.reckoning):
            self.stage(call)

    def stage(self, messages: list[dict[str, Any]]) -> int:
        """Stage messages in our own form; returns how many were accepted."""
        intake = Intake(self.deployment, "test")
        events = [event for message in messages for event in own.read(message).events]
        return stage(intake, events).accepted

    def waiting(self) -> int:
        return sum(book.waiting for book in read_books(self.deployment))

    def drained(self, seconds: float = DRAINED_S) -> bool:
        """Whether everything staged was sent, or booked otherwise, in time."""
        return eventually(lambda: self.waiting() == 0, seconds)

    def unbalanced(self) -> list[str]:
        """The lists whose books do not balance."""
        books = read_books(self.deployment)
        return [f"{book.audience}-{book.list_type}" for book in books if not book.balanced]

    def strangers(self) -> dict[str, tuple[int, int]]:
        """Per list where Pinterest and the reckoning differ: who is missing, who is too many.

        The placeholder that a list was created with is nobody.
        """
        found = {}
        for upstream_id, name in self.names.items():
            for list_type in ("EMAIL", "MAID"):
                due = self.reckoning.members((upstream_id, list_type))
                there = self.members(f"{name}-{list_type}")
                if len(due - there) or len(there - due) > 1:
                    found[f"{name}-{list_type}"] = (len(due - there), len(there - due))
        return found

    def lists(self, name: str) -> list[dict[str, Any]]:
        return [item for item in self.simulator.books.lists() if item["name"] == name]

    def members(self, name: str) -> set[str]:
        """The members, in hex, of the one list of a name at Pinterest, if there is one."""
        found = self.lists(name)
        assert len(found) <= 1, f"{len(found)} lists are called {name}"
        return {who for item in found for who in self.simulator.books.membership(item["id"])}

    def writes(self, operation: str = "patch") -> int:
        """How many requests of a kind arrived at Pinterest."""
        return sum(r.operation == operation for r in self.simulator.books.requests())

    def ask(self, query: str, **values: Any) -> list[Any]:
        with transaction(self.deployment.engine) as tx:
            return list(tx.execute(sa.text(query), values))

    def count(self, query: str, **values: Any) -> int:
        return int(self.ask(query, **values)[0][0])

    def stop(self) -> None:
        for child in reversed(self.children):
            if child.pid is not None:
                os.killpg(child.pid, signal.SIGCONT)
            child.ask_to_stop()
        for child in reversed(self.children):
            child.stop()
        self.deployment.engine.dispose()


def make_fleet(
    directory: Path,
    database_url: str,
    broker_url: str | None,
    simulator: PinterestSimulator,
    **settings: str,
) -> Fleet:
    """An installation with a key, a simulated Pinterest, and times that form a short chain."""
    addresses = {
        "PINFOLD_DATABASE_URL": database_url,
        "PINFOLD_KEYS": new_key(),
        "PINFOLD_PINTEREST_URL": simulator.base_url,
        "PINFOLD_ALLOW_PLAIN_HTTP": "1",
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(ROOT),  # the code beside these tests, also in a copy of the project
    }
    if broker_url is not None:
        addresses["PINFOLD_BROKER_URL"] = broker_url
    simulator.behaviour.writes_per_minute = simulator.behaviour.reads_per_minute = None
    simulator.behaviour.processing_seconds = 0.0
    return Fleet(directory, TIMES | FAST | addresses | settings, simulator)


def run_pinfold(
    arguments: Iterable[str], environment: Mapping[str, str], given: bytes, cwd: Path
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PINFOLD, *arguments],
        env=dict(environment),
        input=given,
        capture_output=True,
        cwd=cwd,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def run_for(
    workshop: Workshop, directory: Path, *arguments: str, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run `pinfold` with the settings of a workshop."""
    environment = environment_of(workshop.deployment.settings) | {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
    }
    return run_pinfold(arguments, environment | changes, b"", directory)


def without_nothing(environment: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if value is not None}


def start_and_see_it_fail(
    fleet: Fleet, *command: str, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CELERY, *command],
        env=without_nothing(fleet.environment | environment),
        cwd=fleet.directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def assert_refused_with(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ended.returncode != 0
    assert "Traceback" not in ended.stdout + ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("pinfold:")]
    for word in words:
        assert word in line


def kill(child: Child) -> None:
    """End a process and all it started at once, as a power cut would."""
    assert child.pid is not None
    os.killpg(child.pid, signal.SIGKILL)
    assert eventually(child.died)


def exit_code(child: Child) -> int:
    """With what a process ended that was asked to."""
    happens(child.died)
    assert child._process is not None
    return int(child._process.wait())


def database_through(port: int, database_url: str) -> tuple[str, Target]:
    """The address of a database by way of a turnstile's port, and what the turnstile leads to."""
    url = sa.make_url(database_url)
    place = str(url.query.get("host", url.host))
    target = f"{place}/.s.PGSQL.5432" if place.startswith("/") else (place, url.port or 5432)
    through = url.set(host="127.0.0.1", port=port, query={})
    return through.render_as_string(hide_password=False), target


def pool_of(child: Child) -> list[psutil.Process]:
    """The processes of a worker that do its tasks."""
    assert child.pid is not None
    return psutil.Process(child.pid).children(recursive=True)


def read_log(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def eventually(condition: Callable[[], bool], seconds: float = READY_S) -> bool:
    """Whether a condition came true in time; asked ten times a second."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def happens(condition: Callable[[], bool], seconds: float = READY_S) -> None:
    """Wait for a condition; fails when it does not come true in time."""
    assert eventually(condition, seconds), "it did not happen in time"


def crash(server: EmbeddedPostgres) -> None:
    """End Postgres at once, without a checkpoint: what it starts with is its log."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGQUIT)
    happens(server.died)
