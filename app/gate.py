"""The gate between intake and the cut (reliability, part D4).

Row ids are drawn before commit, so a slow intake could commit an older id after a cut has read
newer ones. Intake therefore holds the gate of its audiences shared while it commits; the cut and
a deactivation hold it exclusively for the instant in which they read. An upload is then a prefix
of the order of arrival. Locks end with their transaction, so they work through a pooler too.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from app.errors import PinfoldError

GATE = 0x70696E66
"""The advisory lock class of Pinfold's gates."""
GATES = 64
"""One lock per audience would overflow Postgres' lock table at some 14,000 audiences, and a call
over many takes one per gate. To be changed only while nothing runs: old and new would use
different locks for one audience."""
LOCK_NOT_AVAILABLE = "55P03"
CLOSE_TIMEOUT_MS = 1_000
"""A waiting exclusive request holds new intake up, so the cut gives up soon and comes again."""
STUCK_S = 60.0
"""A call of intake is over within milliseconds; one that makes Postgres wait so long is stopped."""


class GateBusy(PinfoldError):
    """Intake holds the gate for longer than a cut may wait; the cut comes again."""


def gate_keys(audience_ids: Iterable[int]) -> list[int]:
    """The gates of some audiences, sorted, so that no two calls wait for each other in a circle."""
    return sorted({audience_id % GATES for audience_id in audience_ids})


def close_gate(connection: sa.Connection, audience_id: int) -> None:
    """Hold the audience's gate exclusively until the transaction ends.

    Raises GateBusy when intake holds it for longer than a second.
    """
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {CLOSE_TIMEOUT_MS}")
    try:
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(%s, %s)", (GATE, audience_id % GATES)
        )
    except OperationalError as problem:
        if getattr(problem.orig, "pgcode", None) != LOCK_NOT_AVAILABLE:
            raise
        raise GateBusy(f"intake of audience {audience_id} holds the gate") from None
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")


def end_who_is_stuck(connection: sa.Connection, audience_id: int) -> int:
    """End sessions of ours that hold the audience's gate and have not been heard of for a minute.

    A process that was stopped in the midst of a COPY (Ctrl-Z, a debugger, a paused container)
    would hold up every cut, and no timeout of Postgres counts while it waits for its rows. Nothing
    of such a call was committed, and the process is told so when it goes on. Returns how many.
    """
    return int(
        connection.exec_driver_sql(
            """
            SELECT count(pg_terminate_backend(session.pid))
              FROM pg_locks AS lock JOIN pg_stat_activity AS session USING (pid)
             WHERE lock.locktype = 'advisory' AND lock.granted
               AND lock.classid = %s AND lock.objid = %s AND lock.mode = 'ShareLock'
               AND session.datname = current_database() AND session.usename = current_user
               AND session.wait_event = 'ClientRead'
               AND session.query_start < clock_timestamp() - %s * interval '1 second'
            """,
            (GATE, audience_id % GATES, STUCK_S),
        ).scalar_one()
    )
