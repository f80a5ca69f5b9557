"""Sweeps: when each recurring step last ended, and what it found.

Compacting may take longer than its rest: it notes when it began, and finds nothing.
"""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from app.lease import NOW
from app.tables import sweep

_AGO = sa.select(NOW - sweep.c.finished_at).where(sweep.c.name == sa.bindparam("sweep"))


def may_begin(tx: sa.Connection, name: str, lock: int, rest: timedelta) -> bool:
    """Whether a recurring step is at its turn: nobody else begins it, and none was noted just now.

    Nobody else does until this transaction ends. Passes that piled up while workers were
    down thus cost next to nothing, without an expiry that would compare the clocks of two hosts.
    """
    if not tx.execute(sa.select(sa.func.pg_try_advisory_xact_lock(lock))).scalar():
        return False
    ago = ended_ago(tx, name)
    return ago is None or not timedelta(0) <= ago < rest


def ended_ago(tx: sa.Connection, name: str) -> timedelta | None:
    """How long ago a recurring step ended; less than nothing where the clock was set back since."""
    ago: timedelta | None = tx.execute(_AGO, {"sweep": name}).scalar()
    return ago


def note_sweep(tx: sa.Connection, name: str, found: int) -> None:
    """Remember when a recurring step was at it last, and what it found."""
    updated = tx.execute(
        sa.update(sweep).where(sweep.c.name == name).values(finished_at=NOW, found=found)
    )
    if not updated.rowcount:
        tx.execute(sa.insert(sweep).values(name=name, found=found))
