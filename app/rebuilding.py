"""Rebuilding: make again what is gone at Pinterest, a list or only its audience.

Nothing can reach a list that is gone, so what waits in its lane moves, sealed anew, to the list
that takes its place: it is neither lost nor booked away (promises 1 and 4). A new list begins
empty; its members have to be sent again, and nobody but the upstream system has them.

The lane of an older list that is gone has no such place: the current list may have had later
uploads, and an old ADD would undo a newer REMOVE (promise 2). It is booked as not forwarded.
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
from app.keyring import KeyRing, batch_purpose
from app.lease import NOW, Claim
from app.lists import GONE, RESUMED
from app.quota import abandon_in_flight
from app.standing import AUDIENCE_GONE
from app.tables import batch, customer_list, observation


@dataclass(frozen=True)
class Rebuilt:
    lists: list[NextList]
    audiences: list[str]
    """Names of lists that stand, and whose audience is made again."""
    given_up: list[str]
    """Names of older lists that are gone, and whose lane was booked as not forwarded."""


def unreachable(deployment: Deployment, audience_id: int) -> dict[str, int]:
    """What ``rebuild`` would book as not forwarded now: records, by the names of older lists."""
    with transaction(deployment.engine) as tx:
        return {row.name: row.records for row in _older_gone(tx, audience_id)}


def rebuild(deployment: Deployment, audience_id: int) -> Rebuilt:
    """Replace each list that is gone at Pinterest; let audiences that are gone be made again.

    What waits for a list that is gone waits for the next one from then on; what waits for an
    older one that is gone is booked as not forwarded. Raises Refused when nothing is gone, or the
    audience is deactivated.
    """
    with transaction(deployment.engine) as tx:
        row = fence(tx, audience_id)
        if row.state == "deactivated":
            raise Refused(f"audience {row.name} is deactivated: activate it again first")
        lists = _current(tx, audience_id)
        made = [_replace(tx, deployment, old) for old in lists if old.held_reason == GONE]
        remade = [old for old in lists if old.held_reason != GONE and _audience_is_gone(tx, old)]
        for old in remade:
            _forget_audience(tx, old.id)
        given_up = _older_gone(tx, audience_id)
        for old in given_up:
            _give_up(tx, old)
        if not made and not remade and not given_up:
            raise Refused(
                f"nothing of {row.name} is known to be gone at Pinterest, so there is nothing to "
                f'rebuild; pinfold audience show "{row.name}" says what was last seen'
            )
    return Rebuilt(made, [old.name for old in remade], [old.name for old in given_up])


def _replace(tx: sa.Connection, deployment: Deployment, old: sa.Row[Any]) -> NextList:
    """Make the next generation of a list that is gone, under the same name, with its lane."""
    _retire(tx, old)
    list_id = insert_next(tx, old, old.name)
    records = _move_lane(tx, deployment, old.id, list_id)
    return NextList(list_id, old.name, old.id, old.name, records)


def _retire(tx: sa.Connection, old: sa.Row[Any]) -> None:
    """Fence whoever works with a list that is gone; nothing is asked for it any more."""
    tx.execute(
        sa.update(customer_list)
        .where(customer_list.c.id == old.id)
        .values(
            epoch=old.epoch + 1,
            lease_until=None,
            current=False,
            audience_not_before=None,
            **RESUMED,
        )
    )
    abandon_in_flight(tx, Claim(old.id, old.epoch + 1))


def _give_up(tx: sa.Connection, old: sa.Row[Any]) -> None:
    """Book the lane of an older list that is gone as not forwarded."""
    _retire(tx, old)
    tx.execute(
        sa.update(batch)
        .where(batch.c.customer_list_id == old.id, batch.c.state == "waiting")
        .values(state="not_forwarded", settled_at=NOW, payload=None)
    )


def _older_gone(tx: sa.Connection, audience_id: int) -> Sequence[sa.Row[Any]]:
    """Older lists that are gone with something in their lane, and how many records that is."""
    records = (
        sa.select(sa.func.sum(batch.c.record_count))
        .where(batch.c.customer_list_id == customer_list.c.id, batch.c.state == "waiting")
        .scalar_subquery()
    )
    return tx.execute(
        sa.select(customer_list, records.label("records"))
        .where(
            customer_list.c.audience_id == audience_id,
            ~customer_list.c.current,
            customer_list.c.held_reason == GONE,
            records.is_not(None),
        )
        .order_by(customer_list.c.id)
        .with_for_update()
    ).all()


def _move_lane(tx: sa.Connection, deployment: Deployment, old_id: int, new_id: int) -> int:
    """Let all that waits for a list wait for another; returns how many records."""
    rows = tx.execute(
        sa.select(batch.c.id, batch.c.record_count, batch.c.payload)
        .where(batch.c.customer_list_id == old_id, batch.c.state == "waiting")
        .order_by(batch.c.id)
        .with_for_update()
    ).all()
    for row in rows:
        payload = _sealed_for(deployment.keyring, bytes(row.payload), old_id, new_id)
        tx.execute(
            sa.update(batch)
            .where(batch.c.id == row.id)
            .values(customer_list_id=new_id, payload=payload, refused=False)
        )
    return sum(row.record_count for row in rows)


def _sealed_for(keyring: KeyRing, payload: bytes, old_id: int, new_id: int) -> bytes:
    """A payload is sealed to its list, so that it cannot be opened in another."""
    return keyring.seal(keyring.open(payload, batch_purpose(old_id)), batch_purpose(new_id))


def _audience_is_gone(tx: sa.Connection, row: sa.Row[Any]) -> bool:
    """True when the newest look at a list's audience did not find it."""
    newest = (
        sa.select(observation.c.audience_status)
        .where(observation.c.customer_list_id == row.id, observation.c.audience_status.is_not(None))
        .order_by(observation.c.id.desc())
        .limit(1)
    )
    made = row.pinterest_audience_id is not None
    return made and tx.execute(newest).scalar() == AUDIENCE_GONE


def _forget_audience(tx: sa.Connection, list_id: int) -> None:
    tx.execute(
        sa.update(customer_list)
        .where(customer_list.c.id == list_id)
        .values(pinterest_audience_id=None, audience_not_before=None, observe_not_before=None)
    )


def _current(tx: sa.Connection, audience_id: int) -> Sequence[sa.Row[Any]]:
    return tx.execute(
        sa.select(customer_list)
        .where(customer_list.c.audience_id == audience_id, customer_list.c.current)
        .order_by(customer_list.c.list_type)
        .with_for_update()
    ).all()
