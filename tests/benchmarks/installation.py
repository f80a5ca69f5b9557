"""Where the benchmarks run: one embedded Postgres, and a migrated database for each group.

Durability is the default: fsync on, every commit waits for the disk. So there has to be one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg2
import psycopg2.errors
import sqlalchemy as sa
from psycopg2.extras import execute_values

from app.audiences import activate
from app.connections import add_connection
from app.deployment import Deployment
from app.keyring import new_key
from app.migrate import upgrade
from app.sandbox.embedded_postgres import EmbeddedPostgres, PostgresServer
from app.sandbox.pinterest import DEFAULT_AD_ACCOUNT, DEFAULT_TOKEN
from app.settings import Settings
from tests.benchmarks.events import upstream_id
from tests.benchmarks.pinterest_process import make_lists, running_pinterest
from tests.benchmarks.textbook import Base

LASTING = "/var/tmp"
"""Temporary too, but kept over a restart, so never in memory by custom."""
IN_MEMORY = {"tmpfs", "ramfs"}
LOG_END = "SELECT pg_current_wal_insert_lsn()"
LOGGED = "SELECT (pg_current_wal_insert_lsn() - %s::pg_lsn)::float8"
"""Bytes of log since it ended there."""


@dataclass(frozen=True)
class Place:
    """A Pinfold on a database of its own, which also holds the table of the textbook version."""

    deployment: Deployment
    session: Any
    """The driver's connection for what surrounds a measurement; every statement commits."""

    def run(self, statement: str, *values: object) -> None:
        """Execute something whose rows nobody wants."""
        with self.session.cursor() as cursor:
            cursor.execute(statement, values or None)

    def ask(self, query: str, *values: object) -> Any:
        """The first column of the first row."""
        with self.session.cursor() as cursor:
            cursor.execute(query, values or None)
            return cursor.fetchone()[0]

    def checkpoint(self) -> None:
        """Let nobody pay for pages that others have made dirty, or write fewer images of pages."""
        with suppress(psycopg2.errors.InsufficientPrivilege):  # a named server may forbid it
            self.run("CHECKPOINT")


@dataclass(frozen=True)
class Ground:
    """A server and its migrated, empty template."""

    server: PostgresServer
    template: str

    @contextmanager
    def place(self, **settings: Any) -> Iterator[Place]:
        """A fresh installation with one connection to Pinterest; ``settings`` differ from usual."""
        name = f"benchmark_{uuid4().hex}"
        self.server.create_database(name, self.template)
        url = self.server.url(name)
        usual = {"database_url": url, "keys": new_key(), "allow_plain_http": True}
        deployment = Deployment(Settings.model_validate(usual | settings))
        try:
            with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as session:
                session.autocommit = True
                Base.metadata.create_all(deployment.engine)
                add_connection(deployment, "benchmark", DEFAULT_AD_ACCOUNT, DEFAULT_TOKEN)
                yield Place(deployment, session)
        finally:
            deployment.engine.dispose()
            self.server.drop_database(name)


@contextmanager
def own_ground() -> Iterator[Ground]:
    """A server of our own in a temporary directory on a disk, gone at the end.

    In memory (tmpfs) a commit would wait for nothing, so that what it costs were not measured.
    """
    on_disk = disk_directory()
    with tempfile.TemporaryDirectory(prefix="pinfold-bench-", dir=on_disk) as directory:
        Path(directory).chmod(0o755)  # as root, Postgres runs as `nobody`
        server = EmbeddedPostgres(Path(directory))
        server.start()
        try:
            server.create_database("template")
            upgrade(server.url("template"))
            yield Ground(server, "template")
        finally:
            server.stop()


def disk_directory() -> Path:
    """The temporary directory, or /var/tmp where that is in memory; an error where both are."""
    found = [Path(each).resolve() for each in (tempfile.gettempdir(), LASTING)]
    for directory in found:
        if directory.is_dir() and filesystem(directory) not in IN_MEMORY:
            return directory
    raise RuntimeError(
        f"{' and '.join(map(str, found))} are in memory, where every fsync is free:"
        " set TMPDIR to a directory on a disk"
    )


def filesystem(directory: Path) -> str:
    """Of the longest mount point that leads to a directory."""
    mounted = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    leading = [point for point in mounted if directory.is_relative_to(point)]
    return mounted[max(leading, key=lambda point: len(point.parts))] if leading else "unknown"


def activate_all(place: Place, count: int) -> dict[str, int]:
    """Activate the first audiences of a sample; their ids by upstream id."""
    upstream_ids = [upstream_id(number) for number in range(count)]
    return {
        each: activate(place.deployment, f"audience {each}", each, None).audience_id
        for each in upstream_ids
    }


def fill_audiences(place: Place, upstream_ids: Sequence[str]) -> dict[str, int]:
    """Active audiences spread over the connections, all at once and without lists; their ids."""
    place.run(
        """
        INSERT INTO audience (connection_id, upstream_id, name)
        SELECT connections[number %% cardinality(connections) + 1], upstream_id,
               'audience ' || upstream_id
        FROM unnest(%s::text[]) WITH ORDINALITY AS given(upstream_id, number),
             (SELECT array_agg(id ORDER BY id) FROM connection) AS all_of_them(connections)
        ON CONFLICT DO NOTHING
        """,
        list(upstream_ids),
    )
    found = place.ask("SELECT json_object_agg(upstream_id, id) FROM audience")
    return {each: found[each] for each in upstream_ids}


def fill_lists(place: Place) -> None:
    """Both lists of every audience, as they stand at Pinterest with the record they began with."""
    ids = place.ask("SELECT array_agg(id ORDER BY id) FROM audience")
    wanted = [(each, list_type) for each in ids for list_type in ("EMAIL", "MAID")]
    names = [(f"audience {each}-{list_type}", list_type) for each, list_type in wanted]
    made = make_lists(place.deployment.settings.pinterest_url, names)
    with place.session.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO customer_list (audience_id, list_type, name, pinterest_list_id,"
            " pinterest_audience_id) VALUES %s",
            [
                (*each, name, list_id, list_id)
                for each, (name, _), list_id in zip(wanted, names, made, strict=True)
            ],
        )


def plain_engine(place: Place) -> sa.Engine:
    """An engine as the textbook would make it."""
    return sa.create_engine(place.deployment.settings.require_database_url())


@contextmanager
def counting_pinterest() -> Iterator[str]:
    """The simulator in a process of its own, without a rate limit, only counting; its base URL."""
    with running_pinterest() as pinterest:
        yield pinterest.base_url
