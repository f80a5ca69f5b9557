"""Showing one audience: all that is known of its lists, in plain words and in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.forecast import Forecast
from app.lists import GONE
from app.sightings import Pace, finding_of, last_seen, read_paces, seen_of
from app.standing import NO_AUDIENCE, NOT_CREATED, Seen, standing
from app.tables import audience, batch, connection, customer_list, observation
from app.witness import Finding

HISTORY = 10
"""Observations shown of each list."""


@dataclass(frozen=True)
class ShownList:
    """One generation of a list; the current one comes first."""

    list_type: str
    name: str
    generation: int
    current: bool
    pinterest_list_id: str | None
    pinterest_audience_id: str | None
    in_lane: int
    held_reason: str | None
    held_message: str | None
    seen: Seen
    standing: str
    """What Pinterest makes of it, in words."""
    counters: str
    """How its counters compare with what we sent, in words."""
    finding: Finding | None
    sent: str
    """How far it is from the cap, in words."""
    forecast: Forecast
    history: list[dict[str, Any]]
    """The last observations, the newest first."""

    def as_json(self) -> dict[str, Any]:
        finding = self.finding.as_json() if self.finding else None
        ahead = self.forecast._asdict() | {"warned_percent": self.forecast.level}
        plain = {"seen": self.seen._asdict(), "finding": finding, "forecast": ahead}
        return vars(self) | plain


@dataclass(frozen=True)
class ShownAudience:
    audience_id: int
    upstream_id: str
    name: str
    connection: str
    state: str
    lists: list[ShownList]

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"lists": [each.as_json() for each in self.lists]}


def read_shown(deployment: Deployment, audience_id: int) -> ShownAudience:
    """Everything about an audience, read at one moment; older lists follow the current ones."""
    with transaction(deployment.engine) as tx:
        row = tx.execute(
            sa.select(audience, connection.c.name.label("connection_name"))
            .join(connection, connection.c.id == audience.c.connection_id)
            .where(audience.c.id == audience_id)
        ).one()
        lists = _lists(tx, audience_id, deployment.settings.record_cap)
        paces = read_paces(tx, [each.id for each in lists])
        shown = [_shown(tx, row.name, each, paces[each.id]) for each in lists]
    return ShownAudience(row.id, row.upstream_id, row.name, row.connection_name, row.state, shown)


def _lists(tx: sa.Connection, audience_id: int, cap: int) -> list[sa.Row[Any]]:
    lane = sa.select(sa.func.coalesce(sa.func.sum(batch.c.record_count), 0)).where(
        batch.c.customer_list_id == customer_list.c.id, batch.c.state == "waiting"
    )
    query = (
        sa.select(
            customer_list,
            sa.func.coalesce(connection.c.record_cap, cap).label("cap"),
            lane.scalar_subquery().label("in_lane"),
            *last_seen(),
        )
        .join(audience, audience.c.id == customer_list.c.audience_id)
        .join(connection, connection.c.id == audience.c.connection_id)
        .where(audience.c.id == audience_id)
        .order_by(
            customer_list.c.current.desc(),
            customer_list.c.list_type,
            customer_list.c.generation.desc(),
        )
    )
    return list(tx.execute(query))


def _shown(tx: sa.Connection, audience_name: str, row: sa.Row[Any], pace: Pace) -> ShownList:
    finding, ahead = finding_of(row), pace.forecast(row.charged, row.cap)
    return ShownList(
        list_type=row.list_type,
        name=row.name,
        generation=row.generation,
        current=row.current,
        pinterest_list_id=row.pinterest_list_id,
        pinterest_audience_id=row.pinterest_audience_id,
        in_lane=int(row.in_lane),
        held_reason=row.held_reason,
        held_message=row.held_message,
        seen=seen_of(row),
        standing=_standing(audience_name, row),
        counters=finding.sentence if finding else "the counters were not compared yet",
        finding=finding,
        sent=ahead.warning(audience_name) or ahead.sentence,
        forecast=ahead,
        history=_history(tx, row.id),
    )


def _standing(audience_name: str, row: sa.Row[Any]) -> str:
    if row.held_reason == GONE:
        return (
            f'gone at Pinterest: pinfold audience rebuild "{audience_name}" makes a new list, for '
            "which all members must be sent again"
        )
    if row.pinterest_list_id is None:
        return NOT_CREATED
    if row.pinterest_audience_id is None:
        return NO_AUDIENCE
    return standing(seen_of(row), audience_name)


def _history(tx: sa.Connection, list_id: int) -> list[dict[str, Any]]:
    names = (
        *("observed_at", "list_status", "audience_status", "audience_size"),
        *("batches", "uploaded_records", "removed_records", "exceptions"),
    )
    rows = tx.execute(
        sa.select(*(observation.c[name] for name in names))
        .where(observation.c.customer_list_id == list_id)
        .order_by(observation.c.id.desc())
        .limit(HISTORY)
    )
    return [dict(zip(names, row, strict=True)) for row in rows]
