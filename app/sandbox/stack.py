"""The whole service on one machine, started and ended as one: `pinfold up`, `make demo`.

Start: broker and database (those not named by an address), migration, simulator, worker, beat,
Flower, the HTTP service. Stop: HTTP, beat and Flower, the worker (which finishes its tasks), the
simulator, then database and broker. What runs is written to ``<state>/run.json``, where
``app.settings`` finds it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from app import keyring
from app.sandbox.children import Child, StackError
from app.sandbox.claim import Claim
from app.sandbox.embedded_postgres import EmbeddedPostgres
from app.sandbox.embedded_valkey import EmbeddedValkey
from app.sandbox.pinterest import DEFAULT_APP_ID, DEFAULT_APP_SECRET

HERE = "127.0.0.1"
MIGRATION = (sys.executable, "-m", "workers.console", "migrate")
CELERY = (sys.executable, "-m", "celery", "-A", "workers")
API = (sys.executable, "-m", "workers.console", "api")
MINIMAL_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
REPLACED = ("PINFOLD_DATABASE_URL_FILE", "PINFOLD_BROKER_URL_FILE")
MIGRATION_PATIENCE_S = 300.0
WORKER_GRACE_S = 30.0
"""For running tasks at the end; killing them later costs nothing but a repeated look."""
PORTS_TRIED = 100
UNASSIGNED = 10_000, 30_000
"""Below what Linux and macOS assign to outgoing connections."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked us to stop; its text is the signal's name."""


class Running(NamedTuple):
    """One line of ``Stack.describe``. ``pid`` is None between a death and the restart."""

    name: str
    pid: int | None
    log: Path


@dataclass(frozen=True)
class SimulatorOptions:
    """How to run the Pinterest simulator. The next free port is taken, any without one."""

    port: int | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServingOptions:
    """What the processes that do the work are started with; a part without a port is left out."""

    environment: dict[str, str]
    state: Path
    concurrency: int
    flower_port: int | None
    api_port: int | None = None


def serving_children(options: ServingOptions) -> list[Child]:
    """Worker, beat, Flower and the HTTP service, in the order in which they start."""
    worker = [
        "worker",
        "-l",
        "INFO",
        "--concurrency",
        str(options.concurrency),
        "-E",
        "-n",
        "worker@embedded",
    ]
    commands = {
        "worker": [*CELERY, *worker, "--without-mingle", "--without-gossip"],
        "beat": [*CELERY, "beat", "-l", "INFO", "--pidfile="],
    }
    if options.flower_port is not None:
        address = f"--address={HERE}"
        commands["flower"] = [*CELERY, "flower", address, f"--port={options.flower_port}"]
    if options.api_port is not None:
        commands["api"] = [*API, f"--host={HERE}", f"--port={options.api_port}"]
    return [
        Child(
            name,
            command,
            env=options.environment,
            log=options.state / "logs" / f"{name}.log",
            directory=options.state,
            grace=WORKER_GRACE_S if name == "worker" else 10,
            # A supervisor that was killed takes database and broker with it, so a worker that
            # first finished its tasks (SIGTERM) would wait for them in vain, and long. Tasks are
            # safe to kill at any point; Celery has the kernel kill the pool with the worker.
            death_signal=signal.SIGKILL if name == "worker" else signal.SIGTERM,
        )
        for name, command in commands.items()
    ]


class Stack:
    """All processes of one state directory, as a context manager. Use it from the main thread.

    ``environment`` is what the children get beside the addresses; nothing else of ours reaches
    them. A named ``database_url`` or ``broker_url`` is used instead of starting one; ``fresh``
    begins with an empty database and broker. ``migration`` and ``children`` say what is run;
    tests pass stand-ins.
    """

    def __init__(
        self,
        state: Path,
        *,
        database_url: str | None,
        broker_url: str | None,
        environment: dict[str, str],
        worker_concurrency: int = 2,
        flower_port: int | None = 5555,
        api_port: int | None = None,
        simulator: SimulatorOptions | None = None,
        fresh: bool = False,
        migration: Sequence[str] = MIGRATION,
        children: Callable[[ServingOptions], list[Child]] = serving_children,
    ) -> None:
        self._state = state.resolve()
        named = {"PINFOLD_DATABASE_URL": database_url, "PINFOLD_BROKER_URL": broker_url}
        self.addresses = {name: url for name, url in named.items() if url is not None}
        """The settings (``PINFOLD_...``) that lead to what this stack runs."""
        self.flower_url: str | None = None
        self.api_url: str | None = None
        self._environment = environment
        self._concurrency = worker_concurrency
        self._flower_port, self._api_port = flower_port, api_port
        self._simulator, self._migration, self._serving = simulator, migration, children
        self._fresh = fresh
        self._children: list[Child] = []
        self._exits = ExitStack()

    def __enter__(self) -> Stack:
        """Start everything. Raises StackError, with nothing left running, when a part cannot."""
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, in order; signals are disregarded until nothing runs."""
        self._stop()

    def tick(self) -> list[str]:
        """Restart what died, after its pause; returns the names of what was restarted.

        Call it every fraction of a second. Raises StackError for a child that keeps dying.
        """
        restarted = [child.name for child in self._children if child.revive()]
        if restarted:
            self._write_run_file()
        return restarted

    def describe(self) -> list[Running]:
        """What runs, in the order of its start."""
        return [Running(child.name, child.pid, child.log) for child in self._children]

    def _start(self) -> None:
        self._claim_state()
        self._start_services()
        self._provide_keys()
        if self._simulator is not None:
            self._start_simulator(self._simulator)
        self._child("migration", self._migration).run(MIGRATION_PATIENCE_S)
        self._start_serving()
        self._exits.callback(self._run_file.unlink, missing_ok=True)
        self._write_run_file()

    def _claim_state(self) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        claim = Claim(self._state)
        claim.take(self._state)
        self._exits.callback(claim.release)
        self._run_file.unlink(missing_ok=True)  # of a supervisor that was killed
        self.logs.mkdir(mode=0o700, exist_ok=True)

    def _start_services(self) -> None:
        """Both at once: Valkey loads while Postgres makes its files."""
        valkey = postgres = None
        if "PINFOLD_BROKER_URL" not in self.addresses:
            valkey = EmbeddedValkey(self._state)
            self._exits.callback(valkey.stop)
            self._children.append(valkey.launch())
        if "PINFOLD_DATABASE_URL" not in self.addresses:
            postgres = EmbeddedPostgres(self._state)
            self._exits.callback(postgres.stop)
            self._children.append(postgres.start())
            if self._fresh:
                postgres.drop_database("pinfold")
                postgres.create_database("pinfold")
            self.addresses["PINFOLD_DATABASE_URL"] = postgres.url()
        if valkey is not None:
            valkey.wait_ready()
            if self._fresh:
                valkey.flush()
            self.addresses["PINFOLD_BROKER_URL"] = valkey.url()

    def _provide_keys(self) -> None:
        """Make keys on first use, unless the caller's environment names some."""
        if {"PINFOLD_KEYS", "PINFOLD_KEYS_FILE"} & self._environment.keys():
            return
        path = self._state / "key"
        if not path.exists():
            _write_private(path, f"{keyring.new_key()}\n")
        self.addresses["PINFOLD_KEYS_FILE"] = str(path)

    def _start_simulator(self, options: SimulatorOptions) -> None:
        port = free_port(options.port or 0)
        command = [sys.executable, "-m", "app.sandbox.pinterest", "--port", str(port)]
        simulator = self._child(
            "simulator", [*command, *options.arguments], ready=lambda: _answers(port)
        )
        self._exits.callback(simulator.stop)
        simulator.start()
        self._children.append(simulator)
        self.addresses["PINFOLD_PINTEREST_URL"] = f"http://{HERE}:{port}/v5"
        self.addresses["PINFOLD_ALLOW_PLAIN_HTTP"] = "1"
        self.addresses["PINFOLD_CONSENT_URL"] = f"http://{HERE}:{port}/oauth/"
        self.addresses["PINFOLD_APP_ID"] = DEFAULT_APP_ID
        self.addresses["PINFOLD_APP_SECRET"] = DEFAULT_APP_SECRET

    def _start_serving(self) -> None:
        flower_port = None if self._flower_port is None else free_port(self._flower_port)
        api_port = None if self._api_port is None else free_port(self._api_port)
        self.flower_url = None if flower_port is None else f"http://{HERE}:{flower_port}"
        self.api_url = None if api_port is None else f"http://{HERE}:{api_port}"
        environment = self._child_environment()
        clients = self._serving(
            ServingOptions(environment, self._state, self._concurrency, flower_port, api_port)
        )
        self._exits.callback(_stop_together, clients)
        for child in clients:
            child.start()
            self._children.append(child)

    def _child(
        self, name: str, argv: Sequence[str], ready: Callable[[], bool] = lambda: True
    ) -> Child:
        return Child(
            name,
            argv,
            env=self._child_environment(),
            log=self.logs / f"{name}.log",
            directory=self._state,
            ready=ready,
        )

    def _child_environment(self) -> dict[str, str]:
        given = {name: text for name, text in self._environment.items() if name not in REPLACED}
        return MINIMAL_ENVIRONMENT | given | self.addresses

    def _write_run_file(self) -> None:
        run = {
            "pid": os.getpid(),
            "environment": self._settings_of_ours() | self.addresses,
            "flower": self.flower_url,
            "api": self.api_url,
            "children": {running.name: running.pid for running in self.describe()},
        }
        _write_private(self._run_file, json.dumps(run, indent=2) + "\n")

    def _settings_of_ours(self) -> dict[str, str]:
        """The settings the children got, but for secrets: another terminal must see them too."""
        return {
            name: text
            for name, text in self._environment.items()
            if name.startswith("PINFOLD_") and name not in (*REPLACED, "PINFOLD_KEYS")
        }

    @property
    def _run_file(self) -> Path:
        return self._state / "run.json"

    @property
    def logs(self) -> Path:
        return self._state / "logs"

    def _stop(self) -> None:
        with _handling(_disregard):
            self._exits.close()
            self._children.clear()


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Within it, Ctrl-C, SIGTERM and SIGHUP raise Stopped in the main thread, once."""

    def stop(number: int, _: FrameType | None) -> None:
        for each in SIGNALS:  # the way out must not be interrupted by impatience
            signal.signal(each, _disregard)
        raise Stopped(signal.Signals(number).name)

    with _handling(stop):
        yield


def free_port(wanted: int) -> int:
    """``wanted`` or the next port above it that is free on 127.0.0.1; for 0 any free one.

    That is one which systems hand to nobody of their own accord, so that it stays free until it is
    used, and while whoever listens on it is started again.
    """
    first = wanted or random.randrange(*UNASSIGNED)
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((HERE, port))
            except OSError:
                continue
            return int(candidate.getsockname()[1])
    raise StackError(f"no free port from {wanted} up: choose another one")


def _disregard(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, neither inherited by children nor surprised by a signal under way."""


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _stop_together(children: list[Child]) -> None:
    """Ask in reverse order, without waiting between: beat stops sending, the worker drains."""
    for child in reversed(children):
        child.ask_to_stop()
    for child in reversed(children):
        child.join()


def _answers(port: int) -> bool:
    try:
        with closing(socket.create_connection((HERE, port), timeout=1)):
            return True
    except OSError:
        return False


def _write_private(path: Path, text: str) -> None:
    """Write a file only its owner may read, whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    fresh.replace(path)
