"""The ground of a run: servers, the simulated Pinterest, and the processes of one installation.

Whoever dies is started again, under the same name and with other dice. Children belong to the
thread that starts them, so all of this is for the main thread.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import psutil
import sqlalchemy as sa

from app.api_tokens import add_token
from app.audiences import activate
from app.connections import add_connection
from app.deployment import Deployment
from app.keyring import new_key
from app.logins import Tokens
from app.migrate import upgrade
from app.sandbox.children import Child
from app.sandbox.embedded_postgres import EmbeddedPostgres
from app.sandbox.pinterest import DEFAULT_APP_ID, DEFAULT_APP_SECRET, PinterestSimulator
from app.sandbox.stack import free_port
from app.settings import PREFIX, load_settings
from tests.acceptance.fleet import AD_ACCOUNT, CELERY, ROOT, read_log
from tests.faults.torture.brokers import Broker
from tests.faults.torture.conditions import (
    AUDIENCES,
    BEATS,
    CAPS_PER_SECOND,
    SIZES,
    TIMES,
    TOKEN,
    WORKERS,
)
from tests.faults.torture.curse import LIFE, PLACE, SEED
from tests.workshop import Workshop

START_S, USUAL_START_S = 180.0, 4.0
LOOK_S = 0.1


def name_of(upstream_id: str) -> str:
    return f"Audience {upstream_id}"


@dataclass
class Ground:
    place: Path
    seed: int
    postgres: EmbeddedPostgres
    broker: Broker
    simulator: PinterestSimulator
    environment: dict[str, str]
    api_port: int
    running: dict[str, Child] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)

    @cached_property
    def deployment(self) -> Deployment:
        ours = {name: text for name, text in self.environment.items() if name.startswith(PREFIX)}
        return Deployment(load_settings(ours), connections=12)

    @property
    def workshop(self) -> Workshop:
        return Workshop(self.deployment, self.simulator)

    @property
    def commands(self) -> dict[str, tuple[str, ...]]:
        module = (sys.executable, "-m")
        console = (*module, "tests.faults.torture.haunted_console")
        haunted = (*module, "celery", "-A", "tests.faults.torture.haunted", "worker")
        astray = (*module, "celery", "-A", "tests.faults.torture.astray")
        beat = ("beat", "--pidfile=", "-l", "INFO")
        return {
            **{
                name: (*haunted, "--concurrency=2", "-n", f"{name}@torture", "-l", "INFO")
                for name in WORKERS
            },
            **{name: (*(astray if "astray" in name else CELERY), *beat) for name in BEATS},
            "intake": (*console, "intake"),
            "api": (*console, "api", "--port", str(self.api_port)),
        }

    def start(self, name: str) -> None:
        """Begin the next life of a process, without waiting for it."""
        self.lives[name] = self.lives.get(name, 0) + 1
        life = {LIFE: f"{name} {self.lives[name]}"}
        self.running[name] = Child(
            name,
            self.commands[name],
            env=self.environment | life,
            log=self.place / f"{name}.log",
            directory=self.place,
            grace=20,
            death_signal=signal.SIGKILL,
        )
        self.running[name].launch()

    def revive(self) -> None:
        """Start again who died."""
        for name in [name for name, child in self.running.items() if child.died()]:
            self.running[name].stop()
            self.start(name)

    def pool_of(self, name: str) -> list[psutil.Process]:
        """The processes of a worker that do its tasks."""
        pid = self.running[name].pid
        if pid is None:
            return []
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).children(recursive=True)
        return []

    def signal_group(self, name: str, number: signal.Signals) -> None:
        pid = self.running[name].pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)

    def crash_postgres(self) -> None:
        """Kill the server as a power cut would, and start it again."""
        child = self.postgres.child
        assert child is not None
        if child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)  # its children end as they notice
        while not child.died():
            time.sleep(LOOK_S)
        child.start()

    def start_all(self) -> float:
        """Start every process and wait until the workers are ready.

        Returns how many times slower than usual that was, 1 at least.
        """
        began = time.monotonic()
        for name in self.commands:
            self.start(name)
        logs = [self.place / f"{name}.log" for name in WORKERS]
        deadline = time.monotonic() + START_S
        while not all("@torture ready" in read_log(log) for log in logs):
            assert time.monotonic() < deadline, "the workers do not start"
            time.sleep(LOOK_S)
        return max(1.0, (time.monotonic() - began) / USUAL_START_S)

    def stop(self) -> None:
        for name, child in self.running.items():
            self.signal_group(name, signal.SIGCONT)
            child.ask_to_stop()
        for child in self.running.values():
            child.stop()


@contextmanager
def prepared_ground(
    place: Path, seed: int, seconds: float, make_broker: Callable[[Path], Broker]
) -> Iterator[Ground]:
    """Servers that run, a migrated database, connections and audiences; no process yet."""
    postgres = EmbeddedPostgres(place)
    postgres.start()
    broker = None
    try:
        broker = make_broker(place)
        upgrade(postgres.url())
        _let_recover_quickly(postgres)
        with PinterestSimulator(tokens=[TOKEN], ad_accounts=[AD_ACCOUNT]) as simulator:
            behaviour = simulator.behaviour
            behaviour.writes_per_minute = behaviour.reads_per_minute = None
            behaviour.token_calls_per_minute = None
            behaviour.processing_seconds = 0.0
            environment = _environment(place, seed, postgres, broker, simulator)
            ground = Ground(place, seed, postgres, broker, simulator, environment, free_port(0))
            _furnish(ground, seconds)
            try:
                yield ground
            finally:
                ground.stop()
                ground.deployment.engine.dispose()
    finally:
        if broker is not None:
            broker.stop()
        postgres.stop()


def _environment(
    place: Path,
    seed: int,
    postgres: EmbeddedPostgres,
    broker: Broker,
    simulator: PinterestSimulator,
) -> dict[str, str]:
    return {
        **TIMES,
        **SIZES,
        "PINFOLD_DATABASE_URL": postgres.url(),
        "PINFOLD_BROKER_URL": broker.url,
        "PINFOLD_KEYS": new_key(),
        "PINFOLD_PINTEREST_URL": simulator.base_url,
        "PINFOLD_ALLOW_PLAIN_HTTP": "1",
        "PINFOLD_APP_ID": DEFAULT_APP_ID,
        "PINFOLD_APP_SECRET": DEFAULT_APP_SECRET,
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(ROOT),
        PLACE: str(place),
        SEED: str(seed),
    }


def _let_recover_quickly(postgres: EmbeddedPostgres) -> None:
    """After a crash Postgres syncs its files in one go, not one by one, which takes seconds."""
    engine = sa.create_engine(postgres.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER SYSTEM SET recovery_init_sync_method = 'syncfs'")
    engine.dispose()


def _furnish(ground: Ground, seconds: float) -> None:
    tokens = Tokens(TOKEN, refresh=TOKEN.replace("pina_", "pinr_"))
    for name, caps in CAPS_PER_SECOND.items():
        settings = {cap: int(each * seconds) for cap, each in caps.items()}
        add_connection(ground.deployment, name, AD_ACCOUNT, tokens, **settings)
    for upstream_id, connection in AUDIENCES.items():
        activate(ground.deployment, name_of(upstream_id), upstream_id, connection)
    secret = add_token(ground.deployment, "caller", "write", None)
    (ground.place / "secret").write_text(secret)
