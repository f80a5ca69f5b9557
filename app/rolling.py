"""Rolling over: start fresh lists under the next name before the old ones are full.

The older list stands, and what was cut for it is still true of it (a REMOVE concerns its members),
so its lane is sent to it first, in order, and only what is cut later goes to the next one (promise
2). A list's cap is its own, so the next one has all of it (promise 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.errors import Refused
from app.generations import NextList, fence, insert_next
from app.lease import NOW
from app.lists import GONE, forwarded
from app.tables import audience, batch, connection, customer_list


@dataclass(frozen=True)
class RollOver:
    """What a roll-over would do, or did: the lists and the name of the next ones."""

    audience: str
    next_name: str
    lists: list[NextList]


def plan_roll_over(deployment: Deployment, audience_id: int) -> RollOver:
    """What ``roll_over`` would do now; changes nothing. Raises Refused as that would."""
    with transaction(deployment.engine) as tx:
        row = tx.execute(sa.select(audience).where(audience.c.id == audience_id)).one()
        return _plan(tx, row)


def roll_over(deployment: Deployment, audience_id: int) -> RollOver:
    """Start fresh lists under the next name; what is cut from now on goes to these.

    Raises Refused when the newest lists have not been created at Pinterest yet (so a command
    given twice starts one pair), when one of them is gone, or the audience is deactivated.
    """
    with transaction(deployment.engine) as tx:
        plan = _plan(tx, fence(tx, audience_id))
        made = []
        for each, old in zip(plan.lists, _forwarded_lists(tx, audience_id), strict=True):
            _make_older(tx, old.id)
            list_id = insert_next(tx, old, each.name)
            made.append(NextList(list_id, each.name, old.id, old.name, each.records))
    return RollOver(plan.audience, plan.next_name, made)


def _make_older(tx: sa.Connection, list_id: int) -> None:
    """Let a list take no new uploads; it goes on asking for its audience where it has none."""
    c = customer_list.c
    ask_at = sa.case(
        (c.pinterest_audience_id.is_(None), sa.func.coalesce(c.audience_not_before, NOW))
    )
    tx.execute(
        sa.update(customer_list)
        .where(c.id == list_id)
        .values(current=False, audience_not_before=ask_at)
    )


def _plan(tx: sa.Connection, row: sa.Row[Any]) -> RollOver:
    if row.state == "deactivated":
        raise Refused(f"audience {row.name} is deactivated: activate it again first")
    lists = _forwarded_lists(tx, row.id)
    if not lists:
        raise Refused(f"audience {row.name} has no list that is forwarded: nothing to roll over")
    for old in lists:
        if old.held_reason == GONE:
            raise Refused(
                f'{old.name} is gone at Pinterest: pinfold audience rebuild "{row.name}" replaces '
                "it, and what waits for it is not lost"
            )
        if old.pinterest_list_id is None:
            raise Refused(
                f"{old.name} is the newest and has not been created at Pinterest yet: nothing was "
                "changed, one fresh pair of lists is enough"
            )
    next_name = _next_name(tx, row, lists)
    return RollOver(
        row.name,
        next_name,
        [
            NextList(0, f"{next_name}-{old.list_type}", old.id, old.name, _waiting(tx, old.id))
            for old in lists
        ],
    )


def _next_name(tx: sa.Connection, row: sa.Row[Any], lists: Sequence[sa.Row[Any]]) -> str:
    """The audience's name with the next number that no list of the connection has had."""
    taken = set(
        tx.execute(
            sa.select(customer_list.c.name)
            .join(audience, audience.c.id == customer_list.c.audience_id)
            .where(audience.c.connection_id == row.connection_id)
        ).scalars()
    )
    number = 2
    while any(f"{row.name} ({number})-{old.list_type}" in taken for old in lists):
        number += 1
    return f"{row.name} ({number})"


def _forwarded_lists(tx: sa.Connection, audience_id: int) -> Sequence[sa.Row[Any]]:
    """The current lists whose kind is forwarded, locked; the others stay as they are."""
    return tx.execute(
        sa.select(customer_list)
        .join(audience, audience.c.id == customer_list.c.audience_id)
        .join(connection, connection.c.id == audience.c.connection_id)
        .where(customer_list.c.audience_id == audience_id, customer_list.c.current, forwarded())
        .order_by(customer_list.c.list_type)
        .with_for_update(of=customer_list)
    ).all()


def _waiting(tx: sa.Connection, list_id: int) -> int:
    query = sa.select(sa.func.coalesce(sa.func.sum(batch.c.record_count), 0)).where(
        batch.c.customer_list_id == list_id, batch.c.state == "waiting"
    )
    return int(tx.execute(query).scalar_one())
