"""How one customer list stands, for people: what was sent, what waits, what they should know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.forecast import LEVELS
from app.lists import GONE, forwarded
from app.sightings import Pace, finding_of, last_seen, read_paces, seen_of
from app.standing import AUDIENCE_GONE, NO_AUDIENCE, NOT_CREATED, is_too_small, standing
from app.tables import audience, batch, connection, customer_list
from app.troubles import Trouble


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
    forwarded: bool
    """Whether the connection forwards identities of this kind."""
    made_when_activated: bool
    """Where it is not, and a connection may be set so, it is made with its first upload."""
    notes: list[str]
    trouble: Trouble | None = None
    """Why it is held or waits after a failure, and the fix."""

    @property
    def full(self) -> bool:
        return self.sent >= self.cap


def read_lists(
    tx: sa.Connection,
    cap: int,
    troubles: dict[int, Trouble],
    which: sa.ColumnElement[bool],
) -> dict[int, list[ListStatus]]:
    """The current lists of each audience, by its id; ``which`` is a condition on ``audience``."""
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
            forwarded().label("forwarded"),
            connection.c.create_on_activation,
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
        .where(customer_list.c.current, which)
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
        forwarded=row.forwarded,
        made_when_activated=row.forwarded and row.create_on_activation,
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
