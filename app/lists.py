"""Customer lists: the wish for them, holding them and letting them go on."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.events import ListType
from app.tables import audience, connection, customer_list

GONE = "gone at Pinterest"
"""Why a list is held that Pinterest does not know any more."""
RESUMED = {
    "held_reason": None,
    "held_message": None,
    "held_at": None,
    "not_before": None,
    "failures": 0,
    "probe_upload_id": None,
}
"""The values of a list that goes on after it was held."""


def forwarded() -> sa.ColumnElement[bool]:
    """True where a list's kind is forwarded over its connection."""
    return sa.case(
        (customer_list.c.list_type == "EMAIL", connection.c.forward_email),
        else_=connection.c.forward_device_id,
    )


def forget_pauses(tx: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Let some lists be looked at now: what waits in them is to be booked, not sent."""
    tx.execute(sa.update(customer_list).where(which).values(not_before=None))


def ensure_lists(tx: sa.Connection, audience_id: int) -> list[int]:
    """Wish for the customer lists that the connection's switches ask for; returns their ids."""
    row = tx.execute(
        sa.select(
            audience.c.name,
            connection.c.forward_email,
            connection.c.forward_device_id,
            connection.c.restored_at,
        )
        .join(connection, connection.c.id == audience.c.connection_id)
        .where(audience.c.id == audience_id)
    ).one()
    wanted = {ListType.EMAIL: row.forward_email, ListType.MAID: row.forward_device_id}
    for list_type in (list_type for list_type, forward in wanted.items() if forward):
        tx.execute(
            insert(customer_list)
            .values(
                audience_id=audience_id,
                list_type=list_type.value,
                name=f"{row.name}-{list_type.value}",
                create_unknown_at=row.restored_at,  # it may have been made after the backup
            )
            .on_conflict_do_nothing()
        )
    return list(
        tx.execute(
            sa.select(customer_list.c.id)
            .where(customer_list.c.audience_id == audience_id, customer_list.c.current)
            .order_by(customer_list.c.list_type)
        ).scalars()
    )
