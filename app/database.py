"""The engine and the transaction: the one way to Postgres."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError

from app.errors import Unavailable

CONNECT_TIMEOUT_S = 5
RESTED_S = 1.0
STATEMENT_TIMEOUT_MS = 60_000
IDLE_TIMEOUT_MS = 60_000
"""A transaction that idles this long belongs to a process in trouble; Postgres ends it. One that
waits for the rows of a COPY does not count as idle: see ``app.gate``."""

OUT_OF_ROOM = "53"
"""The class of Postgres' errors for a full disk, no memory and too many sessions: they pass."""
IN_THE_WAY = ("40P01", "55P03", "57014")
"""A deadlock, a lock or a statement that took too long: Postgres chose this transaction to end."""


def create_engine(url: str, *, pool_size: int = 2) -> sa.Engine:
    """An engine that hides parameters from its errors and notices a vanished server.

    Isolation is READ COMMITTED: the protocol's conditional updates rest on a waiter seeing
    the newest version of the row (reliability, P2 and P3).
    """
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "pinfold",
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} "
            f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS} -c timezone=UTC "
            r"-c default_transaction_isolation=read\ committed",
        },
    )
    _ping_what_rested(engine)
    return engine


def _ping_what_rested(engine: sa.Engine) -> None:
    """Test a pooled connection before use, but only one that lay idle for a second.

    The pool's own pre-ping tests each time, which costs intake a round trip a call.
    """

    @event.listens_for(engine, "checkin")
    def note(_connection: Any, record: Any) -> None:
        record.info["rested_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("rested_since", time.monotonic()) < RESTED_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            raise DisconnectionError from None  # the pool then opens another one


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction: committed at the end, rolled back by an exception.

    Raises Unavailable when Postgres cannot be reached, or has no room for what is asked. An error
    while committing leaves the outcome unknown: callers recover from what then stands in the
    database.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as problem:
        if _is_out_of_room(problem.orig):
            raise _without_room(problem) from None
        # a connection that breaks off is of any class; what fails before a statement is no answer
        unanswered = isinstance(problem, OperationalError) and problem.statement is None
        if problem.connection_invalidated or unanswered:
            raise _unreachable(problem) from None
        raise


@contextmanager
def self_committing(engine: sa.Engine) -> Iterator[Any]:
    """The driver's cursor, of which each query is one transaction, however many statements it has.

    Nothing is sent to begin or to commit: Postgres runs the statements of one query in a
    transaction that ends with the last of them, or with the first that fails. The connection is as
    it was when it goes back to the pool.
    Raises Unavailable when Postgres cannot be reached, goes away or has no room; the outcome of
    the query is then unknown. Other errors are the driver's own, not SQLAlchemy's.
    """
    errors = engine.dialect.loaded_dbapi
    try:
        pooled = engine.raw_connection()
    except errors.OperationalError as problem:
        raise _unreachable(problem) from None
    driver: Any = pooled.dbapi_connection
    try:
        driver.autocommit = True
        with driver.cursor() as cursor:
            yield cursor
    except errors.Error as problem:
        if _is_out_of_room(problem):
            raise _without_room(problem) from None
        # a COPY that breaks off may raise the plain class and leave the connection looking open
        broken_off = type(problem) is errors.DatabaseError and problem.pgcode is None
        if not (driver.closed or broken_off):
            raise
        driver.close()
        pooled.invalidate()
        engine.dispose(close=False)  # the others of the pool met the same end
        raise _unreachable(problem) from None
    finally:
        if not driver.closed:
            driver.autocommit = False
        pooled.close()


def _unreachable(problem: Exception) -> Unavailable:
    return Unavailable(f"Postgres cannot be reached: {first_line(problem)}")


def _is_out_of_room(problem: object) -> bool:
    return str(getattr(problem, "pgcode", None)).startswith(OUT_OF_ROOM)


def _without_room(problem: Exception) -> Unavailable:
    return Unavailable(f"Postgres has no room: {first_line(problem)}")


def may_pass(problem: Exception) -> bool:
    """Whether a transaction that ended so may succeed when it is tried again as it was."""
    code = getattr(getattr(problem, "orig", None), "pgcode", None)
    return isinstance(problem, Unavailable) or code in IN_THE_WAY


def first_line(problem: Exception) -> str:
    """The first line of a driver's message, without DETAIL lines, which may name values."""
    original = getattr(problem, "orig", None) or problem
    return str(original).strip().split("\n", 1)[0]
