"""What people ask of a running installation: per audience and list, what waits, what was sent, what
comes next, what is held and why. Read in one transaction; all numbers are of one moment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.books import SWEEP as BOOKS
from app.database import transaction
from app.deployment import Deployment
from app.due import SWEEP, long_lanes, moving_lanes
from app.flush_rule import flush_age
from app.lease import NOW
from app.list_status import ListStatus, read_lists
from app.tables import audience, connection, held_chunk, staged_chunk, sweep
from app.troubles import Trouble, read_connection_troubles, read_list_troubles


@dataclass(frozen=True)
class AudienceStatus:
    audience_id: int
    upstream_id: str
    name: str
    connection: str
    state: str
    waiting: int
    last_upload_at: datetime | None
    next_upload: str
    next_upload_at: datetime | None
    set_aside: int
    held_reason: str | None
    held_message: str | None
    lists: list[ListStatus]
    trouble: Trouble | None = None
    """Why its connection is held, or its login not renewed, and the fix."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Status:
    at: datetime
    last_check_at: datetime | None
    audiences: list[AudienceStatus]
    unbalanced_lists: int = 0
    """Lists whose books did not balance when beat last had them looked at."""


def read_status(deployment: Deployment, which: sa.ColumnElement[bool] | None = None) -> Status:
    """How the audiences stand; ``which``, a condition on ``audience``, leaves others out."""
    s = deployment.settings
    chosen = sa.true() if which is None else which
    with transaction(deployment.engine) as tx:
        now: datetime = tx.execute(sa.select(NOW)).scalar_one()
        last_check = tx.execute(
            sa.select(sweep.c.finished_at).where(sweep.c.name == SWEEP)
        ).scalar()
        unbalanced = tx.execute(sa.select(sweep.c.found).where(sweep.c.name == BOOKS)).scalar()
        lists = read_lists(tx, s.record_cap, read_list_troubles(tx, s), chosen)
        troubles = read_connection_troubles(tx)
        audiences = [
            _audience(row, now, lists.get(row.id, []), troubles.get(row.connection_id))
            for row in _audiences(tx, deployment, chosen)
        ]
    return Status(now, last_check, audiences, unbalanced or 0)


def _audiences(
    tx: sa.Connection, deployment: Deployment, which: sa.ColumnElement[bool]
) -> list[sa.Row[Any]]:
    s = deployment.settings
    query = (
        sa.select(
            audience,
            connection.c.name.label("connection_name"),
            connection.c.held_reason,
            connection.c.held_message,
            _messages_in(staged_chunk).label("waiting"),
            _messages_in(held_chunk).label("set_aside"),
            sa.func.coalesce(connection.c.flush_messages, s.flush_messages).label("flush_messages"),
            flush_age(s).label("flush_age"),
            audience.c.id.in_(moving_lanes()).label("lane_moves"),
            audience.c.id.in_(long_lanes(s)).label("lane_too_long"),
        )
        .join(connection, connection.c.id == audience.c.connection_id)
        .where(which)
        .order_by(connection.c.name, audience.c.name, audience.c.id)
    )
    return list(tx.execute(query))


def _messages_in(chunks: sa.Table) -> sa.ScalarSelect[Any]:
    """How many messages of an audience stand in some chunks: read from the index alone."""
    return (
        sa.select(sa.func.coalesce(sa.func.sum(chunks.c.message_count), 0))
        .where(chunks.c.audience_id == audience.c.id)
        .scalar_subquery()
    )


def _audience(
    row: sa.Row[Any], now: datetime, lists: list[ListStatus], trouble: Trouble | None
) -> AudienceStatus:
    next_upload, at = _next_upload(row, now)
    return AudienceStatus(
        audience_id=row.id,
        upstream_id=row.upstream_id,
        name=row.name,
        connection=row.connection_name,
        state=row.state,
        waiting=int(row.waiting),
        last_upload_at=row.last_upload_at,
        next_upload=next_upload,
        next_upload_at=at,
        set_aside=int(row.set_aside),
        held_reason=row.held_reason,
        held_message=row.held_message,
        lists=lists,
        trouble=trouble,
    )


def _next_upload(row: sa.Row[Any], now: datetime) -> tuple[str, datetime | None]:
    """What triggers the next upload, in words, and when if that is a time."""
    if row.state != "active":
        return f"none while {row.state}", None
    if row.lane_moves:
        return "after the lane is empty", None
    if row.lane_too_long:
        return "once the list that is held goes on", None
    if not row.waiting:
        return "nothing waits", None
    if row.held_reason:
        return "once the connection goes on", None
    due_at: datetime = (row.last_upload_at or row.activated_at) + row.flush_age
    if row.flush_requested_at or row.waiting >= row.flush_messages or due_at <= now:
        if row.not_before is not None and row.not_before > now:
            return f"tried again in {short(row.not_before - now)}", row.not_before
        return "now", now
    missing = int(row.flush_messages - row.waiting)
    return f"in {short(due_at - now)}, or after {missing:,} more messages", due_at


def short(span: timedelta) -> str:
    """A span of time as people say it."""
    total = max(0, int(span.total_seconds()))
    days, hours, minutes = total // 86_400, total % 86_400 // 3_600, total % 3_600 // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{total} s"
