"""What tests stand on: a real Postgres, a real broker, the Pinterest simulator.

``PINFOLD_TEST_DATABASE_URL`` and ``PINFOLD_TEST_BROKER_URL`` (redis://...) name servers to use
instead of the embedded ones; the database user must be allowed to create databases.
``PINFOLD_TEST_RABBITMQ_URL`` (amqp://...) names a RabbitMQ; without it, the tests that need one
are left out.
``PINFOLD_TEST_KEEP`` names a directory in which the servers' files and logs, and the logs of all
processes, are kept when the tests are over, for ``tests.canaries`` to search.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import hypothesis
import pytest
import redis
import sqlalchemy as sa

from app.migrate import upgrade
from app.sandbox.embedded_postgres import EmbeddedPostgres, PostgresServer
from app.sandbox.embedded_valkey import EmbeddedValkey
from tests import canaries, history, openapi
from tests.acceptance import chromium
from tests.faults import bouncer, false_time, small_disk

if TYPE_CHECKING:
    from app.sandbox.pinterest import PinterestSimulator


KEEP = os.environ.get("PINFOLD_TEST_KEEP")

# How long a machine takes to make up an example says nothing about Pinfold.
hypothesis.settings.register_profile(
    "pinfold",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
)
hypothesis.settings.load_profile("pinfold")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what needs a part that is not here, by the markers in pyproject.toml."""
    absent = {
        "rabbitmq": not os.environ.get("PINFOLD_TEST_RABBITMQ_URL"),
        "openapi": not openapi.AVAILABLE,
        "history": not history.AVAILABLE,
        "browser": not chromium.PROGRAM,
        "curl": not shutil.which("curl"),
        "faketime": not false_time.LIBRARIES,
        "pgbouncer": not bouncer.PROGRAM,
        "tmpfs": not small_disk.MAY_MOUNT,
    }
    missing = [marker for marker, is_absent in absent.items() if is_absent]
    left_out = [item for item in items if any(map(item.get_closest_marker, missing))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_configure(config: pytest.Config) -> None:
    """Where logs are kept, the tests' own directories lie beside those of the servers."""
    if KEEP:
        config.option.basetemp = str(Path(KEEP, "tests"))


def pytest_sessionfinish() -> None:
    """Of the tests' own directories only the logs are kept: the rest they wrote themselves."""
    if KEEP:
        for place, _, names in os.walk(Path(KEEP, "tests")):  # no link that leads out of it
            for name in names:
                if not name.endswith(".log"):
                    Path(place, name).unlink()


def leave_control_word(server: PostgresServer) -> None:
    """In the log of Postgres, which is told to log no errors: promise 5."""
    engine = sa.create_engine(server.url())
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DO $$ BEGIN RAISE LOG '{canaries.CONTROL}'; END $$")
    engine.dispose()


class NamedBroker:
    """The server of PINFOLD_TEST_BROKER_URL, with the face of EmbeddedValkey."""

    def __init__(self, address: str) -> None:
        self._address = urlsplit(address)

    def url(self, number: int = 0) -> str:
        return self._address._replace(path=f"/{number}").geturl()

    def flush(self) -> None:
        with redis.Redis.from_url(self.url()) as server:
            server.flushdb()


@pytest.fixture(scope="session")
def service_directory() -> Iterator[Path]:
    """Open to pass through, unlike pytest's own: as root, Postgres runs as `nobody`."""
    if KEEP:
        (kept := Path(KEEP, "servers")).mkdir(exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="pinfold-test-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="session")
def postgres(service_directory: Path) -> Iterator[PostgresServer]:
    """The database server of this test session."""
    if named := os.environ.get("PINFOLD_TEST_DATABASE_URL"):
        yield PostgresServer(named)
        return
    server = EmbeddedPostgres(service_directory)
    server.start()
    if KEEP:
        leave_control_word(server)
    yield server
    server.stop()


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A migrated Postgres that no other test shares, so that it may be stopped and crashed."""
    with tempfile.TemporaryDirectory(prefix="pinfold-test-") as directory:
        Path(directory).chmod(0o755)  # as root, Postgres runs as `nobody`
        server = EmbeddedPostgres(Path(directory))
        server.start()
        upgrade(server.url())
        yield server
        server.stop()


@pytest.fixture
def empty_database(postgres: PostgresServer) -> Iterator[str]:
    """The address of a database without any table that is this test's own."""
    name = f"pinfold_empty_{uuid4().hex}"
    postgres.create_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> Iterator[str]:
    """The name of a migrated, empty database that nothing is connected to."""
    name = f"pinfold_template_{uuid4().hex}"
    postgres.create_database(name)
    upgrade(postgres.url(name))
    yield name
    postgres.drop_database(name)


@pytest.fixture
def fresh_database(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The address of a migrated, empty database that is this test's own."""
    name = f"pinfold_test_{uuid4().hex}"
    postgres.create_database(name, migrated_template)  # WAL_LOG, the default, beats FILE_COPY
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def valkey(service_directory: Path) -> Iterator[EmbeddedValkey | NamedBroker]:
    """The broker of this test session; ``flush()`` empties it."""
    if named := os.environ.get("PINFOLD_TEST_BROKER_URL"):
        yield NamedBroker(named)
        return
    server = EmbeddedValkey(service_directory)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def simulator() -> Iterator[PinterestSimulator]:
    """A running Pinterest simulator; ``base_url`` is its address."""
    from app.sandbox.pinterest import PinterestSimulator  # noqa: PLC0415 only for tests that ask

    with PinterestSimulator() as running:
        yield running
