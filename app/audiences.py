"""Audiences: activate, pause, resume, deactivate. The wish is a row; a worker carries it out.

Nothing here ever deletes at Pinterest. An audience is known by its upstream id, unique within its
connection; its name is only what the Pinterest audiences are called, and renaming upstream does
not rename.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.connections import find_connection
from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, NotFound, Refused
from app.events import is_reference
from app.gate import close_gate
from app.lease import NOW
from app.lists import ensure_lists, forget_pauses
from app.tables import audience, batch, connection, customer_list, staged_chunk

LONGEST_NAME = 200


@dataclass(frozen=True)
class Activated:
    audience_id: int
    list_ids: list[int]
    was: str | None
    """The state it had before, None when it is new."""


def activate(
    deployment: Deployment, name: str, upstream_id: str, connection_name: str | None
) -> Activated:
    """Forward an upstream audience over a connection, the only one where none is named."""
    connection_id = find_connection(deployment, connection_name).id
    return activate_over(deployment, connection_id, name, upstream_id)


def activate_over(
    deployment: Deployment, connection_id: int, name: str, upstream_id: str
) -> Activated:
    """Forward an upstream audience from now on. Safe to repeat; reuses lists and counts.

    Raises ConfigError for a name or an id that cannot be one, Refused when the upstream id is
    activated under another name.
    """
    name, upstream_id = name.strip(), upstream_id.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ConfigError(f"an audience needs a name of 1 to {LONGEST_NAME} printable characters")
    if not upstream_id or not is_reference(upstream_id):
        raise ConfigError("an audience needs its id in the upstream system: --id UPSTREAM_ID")
    with transaction(deployment.engine) as tx:
        is_new = tx.execute(
            insert(audience)
            .values(connection_id=connection_id, upstream_id=upstream_id, name=name)
            .on_conflict_do_nothing()
        ).rowcount
        row = tx.execute(
            sa.select(audience)
            .where(audience.c.connection_id == connection_id, audience.c.upstream_id == upstream_id)
            .with_for_update()
        ).one()
        if row.name != name:
            raise Refused(
                f"upstream id {upstream_id} is activated as {row.name}: renaming does not rename "
                "at Pinterest; activate it under that name"
            )
        if row.state == "deactivated":
            _set_state(tx, row.id, "active", activated_at=NOW)
        list_ids = ensure_lists(tx, row.id)
    return Activated(row.id, list_ids, None if is_new else row.state)


def pause(deployment: Deployment, audience_id: int) -> None:
    """Send nothing more for now; events go on being accepted and wait."""
    _change(deployment, audience_id, "active", "paused")


def resume(deployment: Deployment, audience_id: int) -> None:
    """Send again what waited while paused."""
    _change(deployment, audience_id, "paused", "active")


def _change(deployment: Deployment, audience_id: int, expected: str, state: str) -> None:
    with transaction(deployment.engine) as tx:
        row = _lock(tx, audience_id)
        if row.state not in (expected, state):
            raise Refused(f"audience {row.name} is {row.state}, not {expected}")
        _set_state(tx, audience_id, state)


@dataclass(frozen=True)
class Waiting:
    """What waits for an audience: staged messages, and records in its lanes."""

    messages: int
    records: int


def waiting_of(deployment: Deployment, audience_id: int) -> Waiting:
    with transaction(deployment.engine) as tx:
        messages = tx.execute(
            sa.select(sa.func.coalesce(sa.func.sum(staged_chunk.c.message_count), 0)).where(
                staged_chunk.c.audience_id == audience_id
            )
        ).scalar_one()
        records = tx.execute(
            sa.select(sa.func.coalesce(sa.func.sum(batch.c.record_count), 0))
            .join(customer_list, customer_list.c.id == batch.c.customer_list_id)
            .where(customer_list.c.audience_id == audience_id, batch.c.state == "waiting")
        ).scalar_one()
    return Waiting(int(messages), int(records))


def deactivate(deployment: Deployment, audience_id: int) -> list[int]:
    """Accept and send nothing more. What waits is booked as not forwarded by the next steps.

    Nothing is deleted at Pinterest. Returns the ids of the audience's lists.
    """
    with transaction(deployment.engine) as tx:
        close_gate(tx, audience_id)
        row = _lock(tx, audience_id)
        if row.state != "deactivated":
            _set_state(tx, audience_id, "deactivated", not_before=None)
        forget_pauses(tx, customer_list.c.audience_id == audience_id)
        return list(
            tx.execute(
                sa.select(customer_list.c.id).where(customer_list.c.audience_id == audience_id)
            ).scalars()
        )


def request_flush(deployment: Deployment, audience_id: int) -> None:
    """Note that a person wants this audience flushed now."""
    with transaction(deployment.engine) as tx:
        row = _lock(tx, audience_id)
        if row.state != "active":
            raise Refused(f"audience {row.name} is {row.state}: nothing is sent for it")
        tx.execute(
            sa.update(audience)
            .where(audience.c.id == audience_id)
            .values(flush_requested_at=NOW, not_before=None)
        )


def find_audience(
    deployment: Deployment, reference: str, connection_name: str | None = None
) -> sa.Row[Any]:
    """An audience by name or upstream id. Raises NotFound, also when several match."""
    query = (
        sa.select(audience, connection.c.name.label("connection_name"))
        .join(connection, connection.c.id == audience.c.connection_id)
        .where(sa.or_(audience.c.upstream_id == reference, audience.c.name == reference))
        .where(connection.c.removed_at.is_(None))
    )
    if connection_name is not None:
        query = query.where(connection.c.name == connection_name)
    with transaction(deployment.engine) as tx:
        rows = tx.execute(query).all()
    exact = [row for row in rows if row.upstream_id == reference] or rows
    if len(exact) == 1:
        return exact[0]
    if not exact:
        raise NotFound(f"there is no audience {reference}; `pinfold status` lists them")
    raise NotFound(
        f"{len(exact)} audiences are called {reference}: name its upstream id and --connection"
    )


def find_upstream(
    deployment: Deployment, connection_id: int, upstream_id: str
) -> sa.Row[Any] | None:
    """An audience of a connection by its upstream id, in whatever state."""
    query = sa.select(audience).where(
        audience.c.connection_id == connection_id, audience.c.upstream_id == upstream_id
    )
    with transaction(deployment.engine) as tx:
        return tx.execute(query).one_or_none()


def is_latest(deployment: Deployment, audience_id: int, asked_at_us: int) -> bool:
    """Note when an upstream system asked for the audience's present state.

    False when it asked for something later already; then its wish is out of date.
    """
    newer = sa.func.coalesce(audience.c.subscribed_at_us, 0) <= asked_at_us
    with transaction(deployment.engine) as tx:
        return bool(
            tx.execute(
                sa.update(audience)
                .where(audience.c.id == audience_id, newer)
                .values(subscribed_at_us=asked_at_us)
            ).rowcount
        )


def _lock(tx: sa.Connection, audience_id: int) -> sa.Row[Any]:
    return tx.execute(
        sa.select(audience).where(audience.c.id == audience_id).with_for_update()
    ).one()


def _set_state(tx: sa.Connection, audience_id: int, state: str, **also: Any) -> None:
    tx.execute(sa.update(audience).where(audience.c.id == audience_id).values(state=state, **also))
