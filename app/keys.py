"""The keys that the database knows: what needs each, who holds it, and dropping one.

Nothing here opens or seals, so it works with a ring that would be refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.errors import NotFound, Refused
from app.keyring import KeyRing
from app.lease import NOW
from app.processes import Running, running
from app.sealed import in_words, needed_keys
from app.tables import encryption_key


@dataclass(frozen=True)
class KnownKey:
    key_id: str
    registered_at: datetime
    dropped_at: datetime | None
    needed: Counter[str]
    """Bodies sealed with it, by kind."""
    sealing: list[str]
    """Running processes whose newest key it is."""
    holding: list[str]
    """Running processes that can open with it, the sealing ones included."""


def known_keys(deployment: Deployment) -> list[KnownKey]:
    """Every key that ever sealed here, the latest known first."""
    with transaction(deployment.engine) as tx:
        rows = tx.execute(
            sa.select(encryption_key).order_by(encryption_key.c.registered_at.desc())
        ).all()
        needed = needed_keys(tx)
        processes = running(tx)
    return [
        KnownKey(
            row.key_id,
            row.registered_at,
            row.dropped_at,
            needed.get(row.key_id, Counter()),
            [one.name for one in processes if one.key_ids[0] == row.key_id],
            [one.name for one in processes if row.key_id in one.key_ids],
        )
        for row in rows
    ]


def require_unneeded(deployment: Deployment, key_id: str) -> None:
    """Raise what ``drop_key`` would, and change nothing."""
    with transaction(deployment.engine) as tx:
        _lock_unneeded(deployment, tx, key_id)


def drop_key(deployment: Deployment, key_id: str) -> None:
    """Give a key up: no ring needs it from now on, and none may seal with it again.

    Raises Refused, naming them, while a row needs it, a running process seals with it or cannot
    open the key that PINFOLD_KEYS names first; NotFound for a key this database never knew.
    """
    with transaction(deployment.engine) as tx:
        _lock_unneeded(deployment, tx, key_id)
        tx.execute(
            sa.update(encryption_key)
            .where(encryption_key.c.key_id == key_id)
            .values(dropped_at=NOW)
        )


def _lock_unneeded(deployment: Deployment, tx: sa.Connection, key_id: str) -> None:
    newest = KeyRing.parse(deployment.settings.require_keys()).key_ids[0]
    if key_id == newest:
        raise Refused(f"key {key_id} is the newest of PINFOLD_KEYS: put another one before it")
    _lock(tx, key_id)
    # what follows sees whatever was noted or sealed before the lock
    reasons = [reason for one in running(tx) if (reason := _hindrance(one, key_id, newest))]
    needed = needed_keys(tx).get(key_id)
    if needed:
        reasons.insert(0, f"{in_words(needed)} are sealed with it (pinfold keys rotate)")
    if reasons:
        raise Refused(f"key {key_id} is still needed: {'; '.join(reasons)}")


def _lock(tx: sa.Connection, key_id: str) -> None:
    key = encryption_key.c
    query = sa.select(key.dropped_at).where(key.key_id == key_id).with_for_update()
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"this database knows no key {key_id}: pinfold keys list")
    if row.dropped_at is not None:
        raise Refused(f"key {key_id} was dropped already; it may be taken out of PINFOLD_KEYS")


def _hindrance(one: Running, key_id: str, newest: str) -> str | None:
    if one.key_ids[0] == key_id:
        return f"{one.name} seals with it (start it again with another key before it)"
    if newest not in one.key_ids:
        return f"{one.name} does not hold key {newest} (start it again with that key)"
    return None
