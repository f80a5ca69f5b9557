"""Logins: the tokens of a connection as they rest in Postgres, sealed, all in one row.

Both tokens change in one transaction, and with them the row's version: a refusal that was meant for
an older version says nothing about the present one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.errors import NotFound
from app.keyring import KeyRing, token_purpose
from app.lease import NOW
from app.tables import login


@dataclass(frozen=True)
class Tokens:
    """What a login gave. Times are None where Pinterest named none, as for a token from a file."""

    access: str = field(repr=False)
    access_expires_at: datetime | None = None
    refresh: str | None = field(default=None, repr=False)
    refresh_expires_at: datetime | None = None
    scopes: str | None = None


@dataclass(frozen=True)
class Login(Tokens):
    """The tokens in force of one connection."""

    version: int = 1
    obtained_at: datetime | None = None
    previous_refresh: str | None = field(default=None, repr=False)
    """The refresh token before this one, until this one has worked."""


def store_login(
    tx: sa.Connection,
    keyring: KeyRing,
    connection_id: int,
    tokens: Tokens,
    *,
    previous_refresh: str | None = None,
) -> None:
    """Put new tokens in the place of those in force, under the next version."""
    purpose = token_purpose(connection_id)

    def sealed(token: str | None) -> bytes | None:
        return None if token is None else keyring.seal(token.encode(), purpose)

    values: dict[str, Any] = {
        "access_sealed": sealed(tokens.access),
        "access_expires_at": tokens.access_expires_at,
        "obtained_at": NOW,
        "refresh_sealed": sealed(tokens.refresh),
        "refresh_expires_at": tokens.refresh_expires_at,
        "previous_refresh_sealed": sealed(previous_refresh),
        "scopes": tokens.scopes,
        "failures": 0,
        "not_before": None,
    }
    tx.execute(
        insert(login)
        .values(id=connection_id, **values)
        .on_conflict_do_update(
            index_elements=[login.c.id], set_={**values, "version": login.c.version + 1}
        )
    )


def read_login(tx: sa.Connection, keyring: KeyRing, connection_id: int) -> Login:
    """The tokens in force. Raises NotFound without any, ConfigError when a key is missing."""
    row = tx.execute(sa.select(login).where(login.c.id == connection_id)).one_or_none()
    if row is None:
        raise NotFound("the connection has no login: pinfold connect NAME")
    purpose = token_purpose(connection_id)

    def opened(sealed: bytes | None) -> str | None:
        return None if sealed is None else keyring.open(bytes(sealed), purpose).decode()

    return Login(
        access=opened(row.access_sealed) or "",
        access_expires_at=row.access_expires_at,
        refresh=opened(row.refresh_sealed),
        refresh_expires_at=row.refresh_expires_at,
        scopes=row.scopes,
        version=row.version,
        obtained_at=row.obtained_at,
        previous_refresh=opened(row.previous_refresh_sealed),
    )
