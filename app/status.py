"""What people ask of a running installation: per audience and list, what waits, what was sent, what
comes next, what is held and why. Read in one transaction; all numbers are of one moment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.due import SWEEP, flush_age, long_lanes, moving_lanes
from app.forecast import LEVELS
from app.lease import NOW
from app.lists import GONE
from app.sightings import Pace, finding_of, last_seen, read_paces, seen_of
from app.standing import AUDIENCE_GONE, NO_AUDIENCE, NOT_CREATED, is_too_small, standing
from app.tables import (
    audience,
    batch,
    connection,
    customer_list,
    held_chunk,
    staged_chunk,
    sweep,
)
from app.troubles import Trouble, read_connection_troubles, read_list_troubles


@dataclass(frozen=True)
class ListStatus:
    list_type: str
    name: str
    pinterest_list_id: str | None
    pinterest_audience_id: str | None
    audience_not_before: datetime | None
    """When Pinterest is asked again to make the audience, after it refused."""
    sent: int
    """Records that count against the cap: sent, or perhaps sent."""
    cap: int
    in_lane: int
    """Records that wait, with those of an older list whose lane is not empty yet."""
    held_reason: str | None
    held_message: str | None
    not_before: datetime | None
    notes: list[str]
    trouble: Trouble | None = None
    """Why it is held or waits after a failure, and the fix."""

    @property
    def full(self) -> bool:
        return self.sent >= self.cap


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


def read_status(deployment: Deployment) -> Status:
    s = deployment.settings
    with transaction(deployment.engine) as tx:
        now: datetime = tx.execute(sa.select(NOW)).scalar_one()
        last_check = tx.execute(
            sa.select(sweep.c.finished_at).where(sweep.c.name == SWEEP)
        ).scalar()
        lists = _lists(tx, s.record_cap, read_list_troubles(tx, s))
        troubles = read_connection_troubles(tx)
        audiences = [
            _audience(row, now, lists.get(row.id, []), troubles.get(row.connection_id))
            for row in _audiences(tx, deployment)
        ]
    return Status(now, last_check, audiences)


def _audiences(tx: sa.Connection, deployment: Deployment) -> list[sa.Row[Any]]:
    s = deployment.settings
    waiting = (
        sa.select(staged_chunk.c.audience_id, sa.func.sum(staged_chunk.c.message_count).label("n"))
        .group_by(staged_chunk.c.audience_id)
        .subquery()
    )
    aside = (
        sa.select(held_chunk.c.audience_id, sa.func.sum(held_chunk.c.message_count).label("n"))
        .group_by(held_chunk.c.audience_id)
        .subquery()
    )
    query = (
        sa.select(
            audience,
            connection.c.name.label("connection_name"),
            connection.c.held_reason,
            connection.c.held_message,
            sa.func.coalesce(waiting.c.n, 0).label("waiting"),
            sa.func.coalesce(aside.c.n, 0).label("set_aside"),
            sa.func.coalesce(connection.c.flush_messages, s.flush_messages).label("flush_messages"),
            flush_age(s).label("flush_age"),
            audience.c.id.in_(moving_lanes()).label("lane_moves"),
            audience.c.id.in_(long_lanes(s)).label("lane_too_long"),
        )
        .join(connection, connection.c.id == audience.c.connection_id)
        .outerjoin(waiting, waiting.c.audience_id == audience.c.id)
        .outerjoin(aside, aside.c.audience_id == audience.c.id)
        .order_by(connection.c.name, audience.c.name, audience.c.id)
    )
    return list(tx.execute(query))


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
    due_at: datetime = (row.last_upload_at or row.activated_at) + row.flush_age
    if row.flush_requested_at or row.waiting >= row.flush_messages or due_at <= now:
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


def _lists(
    tx: sa.Connection, cap: int, troubles: dict[int, Trouble]
) -> dict[int, list[ListStatus]]:
    older = ~customer_list.c.current
    lane = (
        sa.select(
            customer_list.c.audience_id,
            customer_list.c.list_type,
            sa.func.sum(batch.c.record_count).label("n"),
            sa.func.sum(batch.c.record_count).filter(older).label("older"),
            sa.func.max(customer_list.c.held_reason).filter(older).label("older_held"),
        )
        .join(batch, batch.c.customer_list_id == customer_list.c.id)
        .where(batch.c.state == "waiting")
        .group_by(customer_list.c.audience_id, customer_list.c.list_type)
        .subquery()
    )
    query = (
        sa.select(
            customer_list,
            sa.func.coalesce(connection.c.record_cap, cap).label("cap"),
            sa.func.coalesce(lane.c.n, 0).label("in_lane"),
            lane.c.older,
            lane.c.older_held,
            audience.c.name.label("audience_name"),
            *last_seen(),
        )
        .join(audience, audience.c.id == customer_list.c.audience_id)
        .join(connection, connection.c.id == audience.c.connection_id)
        .outerjoin(
            lane,
            sa.and_(
                lane.c.audience_id == customer_list.c.audience_id,
                lane.c.list_type == customer_list.c.list_type,
            ),
        )
        .where(customer_list.c.current)
        .order_by(customer_list.c.list_type)
    )
    found: dict[int, list[ListStatus]] = {}
    rows = tx.execute(query).all()
    paces = read_paces(tx, [row.id for row in rows if row.charged * 100 >= row.cap * LEVELS[-1]])
    for row in rows:
        item = _list(row, troubles.get(row.id), paces.get(row.id))
        found.setdefault(row.audience_id, []).append(item)
    return found


def _list(row: sa.Row[Any], trouble: Trouble | None, pace: Pace | None) -> ListStatus:
    return ListStatus(
        list_type=row.list_type,
        name=row.name,
        pinterest_list_id=row.pinterest_list_id,
        pinterest_audience_id=row.pinterest_audience_id,
        audience_not_before=row.audience_not_before,
        sent=row.charged,
        cap=row.cap,
        in_lane=int(row.in_lane),
        held_reason=row.held_reason,
        held_message=row.held_message,
        not_before=row.not_before,
        notes=_notes(row, pace),
        trouble=trouble,
    )


def _notes(row: sa.Row[Any], pace: Pace | None) -> list[str]:
    """What people should know of a list, apart from why it waits."""
    notes = []
    if row.charged >= row.cap:
        notes.append(f"full: {row.cap:,} records were sent, nothing more is sent to it")
    elif pace and (warning := pace.forecast(row.charged, row.cap).warning(row.audience_name)):
        notes.append(warning)
    if row.pinterest_list_id is None:
        notes.append(NOT_CREATED)
    elif row.pinterest_audience_id is None:
        notes.append(NO_AUDIENCE)
    seen = seen_of(row)
    if is_too_small(seen) or seen.audience_status == AUDIENCE_GONE:
        notes.append(standing(seen, row.audience_name))
    finding = finding_of(row)
    if finding and (finding.alarming or (row.doubted and finding.unknown)):
        notes.append(finding.sentence)
    if row.older:
        notes.append(_older_lane(row))
    return notes


def _older_lane(row: sa.Row[Any]) -> str:
    found = f"{row.older:,} records wait for the older list and go first"
    if row.older_held == GONE:
        return (
            f'{found}; that one is gone: pinfold audience rebuild "{row.audience_name}" books them '
            "as not forwarded"
        )
    return f"{found}; that one is held: {row.older_held}" if row.older_held else found
