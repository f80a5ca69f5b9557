"""Forgetting a key that is lost: book what it sealed as lost, by name, and go on without it.

Nobody can open what a lost key sealed, but the books know how many identities that is. They are
booked as not forwarded, which is promise 1 to the letter; only upstream can send them again, under
the ids they had.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.connections import hold_connection
from app.database import transaction
from app.deployment import Deployment
from app.errors import NotFound, Refused
from app.keyring import KeyRing, signing_purpose
from app.lease import NOW
from app.logins import Tokens, store_login
from app.processes import running
from app.sealed import key_id_of
from app.tables import connection, encryption_key, login, source, source_secret
from app.writing_off import KEY_LOST, WrittenOff, forget_ids, write_off, write_off_batches

NO_TOKEN = "lost-with-its-key"  # noqa: S105 what stands where a token was: it opens nothing
LOST_LOGIN = "its tokens were sealed with a key that is lost"
Which = Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]]


@dataclass(frozen=True)
class Lost:
    """What cannot be opened without a key."""

    connections: list[str]
    """That need a new login."""
    sources: list[str]
    """That need their signing key again."""
    waiting: WrittenOff
    quarantined: int
    """Records that Pinterest had refused, kept until now."""


def count_lost(deployment: Deployment, key_id: str) -> Lost:
    """What `forget_key` would write off now; changes nothing. Raises as that does."""
    with transaction(deployment.engine) as tx:
        _lock(deployment, tx, key_id)
        with tx.begin_nested() as trial:
            lost = _give_up(deployment, tx, key_id)
            trial.rollback()
    return lost


def forget_key(deployment: Deployment, key_id: str) -> Lost:
    """Write off all that only this key opens, and let rings do without it from now on.

    Raises Refused for a key that PINFOLD_KEYS or a running process still holds: it is not lost.
    NotFound for one that this database never knew.
    """
    with transaction(deployment.engine) as tx:
        _lock(deployment, tx, key_id)
        lost = _give_up(deployment, tx, key_id)
        if any(lost.waiting):
            forget_ids(tx)
        tx.execute(
            sa.update(encryption_key)
            .where(encryption_key.c.key_id == key_id)
            .values(dropped_at=sa.func.coalesce(encryption_key.c.dropped_at, NOW))
        )
    return lost


def _lock(deployment: Deployment, tx: sa.Connection, key_id: str) -> None:
    if key_id in KeyRing.parse(deployment.settings.require_keys()).key_ids:
        raise Refused(f"key {key_id} stands in PINFOLD_KEYS: it is not lost (pinfold keys drop)")
    query = sa.select(encryption_key.c.key_id).where(encryption_key.c.key_id == key_id)
    if tx.execute(query.with_for_update()).first() is None:
        raise NotFound(f"this database knows no key {key_id}: pinfold keys list")
    holding = [one.name for one in running(tx) if key_id in one.key_ids]
    if holding:
        raise Refused(
            f"{', '.join(holding)} still holds key {key_id}: do not stop it before the key is read "
            "from its environment or key file (what ended without a word is forgotten in 5 minutes)"
        )


def _give_up(deployment: Deployment, tx: sa.Connection, key_id: str) -> Lost:
    """Write everything off; nothing is left that names the key."""
    ring = KeyRing.parse(deployment.settings.require_keys())

    def sealed_with_it(body: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        return key_id_of(body) == key_id

    waiting = write_off(tx, KEY_LOST, sealed_with_it)
    quarantined = write_off_batches(tx, ("quarantined",), sealed_with_it)
    connections = _replace_tokens(tx, ring, sealed_with_it)
    return Lost(connections, _replace_signing_keys(tx, ring, sealed_with_it), waiting, quarantined)


def _replace_tokens(tx: sa.Connection, ring: KeyRing, lost: Which) -> list[str]:
    """Hold each connection whose tokens are lost; its new login then lets it go on."""
    rows = tx.execute(
        sa.select(login.c.id, connection.c.name)
        .join(connection, connection.c.id == login.c.id)
        .where(sa.or_(lost(login.c.access_sealed), lost(login.c.refresh_sealed)))
        .order_by(connection.c.name)
    ).all()
    for row in rows:
        store_login(tx, ring, row.id, Tokens(NO_TOKEN))
        hold_connection(tx, row.id, "log in again", LOST_LOGIN)
    older = sa.update(login).where(lost(login.c.previous_refresh_sealed))
    tx.execute(older.values(previous_refresh_sealed=None))
    return [row.name for row in rows]


def _replace_signing_keys(tx: sa.Connection, ring: KeyRing, lost: Which) -> list[str]:
    """Put a key that nobody has in the place of each: what must be signed is refused as before."""
    rows = tx.execute(
        sa.select(source_secret.c.id, source_secret.c.source_id, source.c.name)
        .join(source, source.c.id == source_secret.c.source_id)
        .where(lost(source_secret.c.signing_sealed))
        .order_by(source.c.name, source_secret.c.id)
    ).all()
    for row in rows:
        nobody_has = ring.seal(secrets.token_bytes(32), signing_purpose(row.source_id))
        tx.execute(
            sa.update(source_secret)
            .where(source_secret.c.id == row.id)
            .values(signing_sealed=nobody_has)
        )
    return list(dict.fromkeys(row.name for row in rows))
