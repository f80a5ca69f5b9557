"""Bring a database's schema up to date while the fleet runs. Two at once are safe.

Expanding steps are run whatever runs. Before a contracting one the database is told first that
code older than this step allows runs on it no more: whoever starts later, or was silent for long,
then learns that it is too old (``app.processes``). This is taken back, and the step left out, while
a process of such a version is among those that run.

A step that waits for a lock makes everybody wait who comes after it. So each waits for a second at
most, lets the others pass, and tries again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import OperationalError

from app.database import first_line
from app.errors import Unavailable
from app.processes import Running, running
from app.revisions import (
    Step,
    alembic_config,
    current_revision,
    is_known,
    is_older,
    require_schema,
    steps_after,
)
from app.tables import metadata, oldest_code

ALONE = 0x70696E66  # "pinf": two that migrate at once wait for each other
ASKING_S = 0.2
LOCK_TIMEOUT_MS = 1_000
PASSING_S = 2.0
"""Between two tries, for those who had to wait."""
PATIENCE_S = 60.0
"""Of one step, from its first try to the beginning of its last."""
LOCK_TIMEOUT, DEADLOCK = "55P03", "40P01"

T = TypeVar("T")


@dataclass(frozen=True)
class Migrated:
    """Where the database stands, and what waits for processes of older versions to end."""

    revision: str
    left_out: list[Step] = field(default_factory=list)
    older: list[Running] = field(default_factory=list)


def upgrade(database_url: str, *, contract_anyway: bool = False) -> Migrated:
    """Run the steps that are missing, up to a contracting one that has to wait.

    ``contract_anyway``: older processes are not waited for. What they were at fails, whole, and
    they end within a minute or two.

    Raises Unavailable when Postgres cannot be reached or somebody holds a lock for too long;
    ConfigError when the database is of a newer version and serves this one no more.
    """
    engine = sa.create_engine(database_url, hide_parameters=True)
    try:
        with engine.connect() as connection, _alone(connection):
            return _run_steps(connection, contract_anyway)
    except OperationalError as problem:
        raise Unavailable(f"Postgres cannot be reached: {first_line(problem)}") from None
    finally:
        engine.dispose()


def left_out(tx: sa.Connection) -> Migrated:
    """What was left out so far, and for whom, of a database that serves this version."""
    standing = current_revision(tx)
    missing = steps_after(standing) if is_known(standing) else ()
    older = _older(tx, missing[0]) if missing else []
    return Migrated(str(standing), list(missing), older)


def drift(connection: sa.Connection) -> list[str]:
    """What differs between a migrated database and ``app.tables``, empty when nothing does."""
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    return [str(difference) for difference in compare_metadata(context, metadata)]


@contextmanager
def _alone(connection: sa.Connection) -> Iterator[None]:
    while not connection.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (ALONE,)).scalar():
        connection.rollback()  # the other may build an index, which waits for all who look on
        time.sleep(ASKING_S)
    connection.exec_driver_sql(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.exec_driver_sql("SELECT pg_advisory_unlock(%s)", (ALONE,))
        connection.commit()


def _run_steps(connection: sa.Connection, contract_anyway: bool) -> Migrated:
    with connection.begin():
        standing = current_revision(connection)
        if standing is not None and not is_known(standing):
            require_schema(connection)
            return Migrated(standing)
    missing = steps_after(standing)
    for place, step in enumerate(missing):
        if step.breaks_before is not None:
            close = partial(_close_to_older, connection, step, contract_anyway)
            if older := _patiently(connection, step, close):
                return Migrated(str(standing), list(missing[place:]), older)
        _patiently(connection, step, partial(_run, connection, step))
        standing = step.revision
    return Migrated(str(standing))


def _close_to_older(connection: sa.Connection, step: Step, contract_anyway: bool) -> list[Running]:
    """Tell older code that it runs here no more; taken back while some of it does: who, then.

    Whoever notes itself holds the row (``app.processes``): either it is seen here, or it learns.
    """
    with connection.begin() as telling:
        connection.execute(sa.update(oldest_code).values(revision=step.breaks_before))
        older = [] if contract_anyway else _older(connection, step)
        if older:
            telling.rollback()
    return older


def _older(tx: sa.Connection, step: Step) -> list[Running]:
    if step.breaks_before is None:
        return []
    return [each for each in running(tx) if is_older(each.schema_revision, step.breaks_before)]


def _run(connection: sa.Connection, step: Step) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, step.revision)


def _patiently(connection: sa.Connection, step: Step, do: Callable[[], T]) -> T:
    """Do it, again and again while somebody is in the way; it is done whole or not at all.

    What commits on its way can be begun anew.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return do()
        except OperationalError as problem:
            connection.rollback()
            if getattr(problem.orig, "pgcode", None) not in (LOCK_TIMEOUT, DEADLOCK):
                raise
        if time.monotonic() > deadline:
            raise Unavailable(
                f"step {step.revision} was given up: somebody holds a lock that it needs, perhaps "
                "a dump or a long transaction; run `pinfold migrate` again after it"
            )
        time.sleep(PASSING_S)
