"""Backups and disasters: a database is dumped while it is in use, lost, and restored."""

from __future__ import annotations

import subprocess
from pathlib import Path

import sqlalchemy as sa

from app.sandbox.embedded_postgres import PostgresServer
from app.sandbox.postgres_binaries import find_binaries


def dump(database_url: str, path: Path) -> None:
    """What `pg_dump --format=custom` writes; nobody has to stop for it."""
    _run("pg_dump", "--format=custom", f"--file={path}", f"--dbname={_plain(database_url)}")


def lose(postgres: PostgresServer, database_url: str) -> None:
    """The database is gone, with all that stood in it, and every session ends."""
    postgres.drop_database(str(sa.make_url(database_url).database))


def restore(postgres: PostgresServer, database_url: str, path: Path) -> None:
    """A database of this name, as it was when the dump began."""
    postgres.create_database(str(sa.make_url(database_url).database))
    _run("pg_restore", "--no-owner", f"--dbname={_plain(database_url)}", str(path))


def _plain(database_url: str) -> str:
    url = sa.make_url(database_url).set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [find_binaries() / program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
