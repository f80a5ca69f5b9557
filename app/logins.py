"""Logins: the tokens of a connection as they rest in Postgres, sealed, all in one row.

Both tokens change in one transaction, and with them the row's version: a refusal that was meant for
an older version says nothing about the present one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
    failures: int = 0
    """Renewals in a row that failed."""
    problem: str | None = None
    """Why the last one did."""


def store_login(
    tx: sa.Connection,
    keyring: KeyRing,
    connection_id: int,
    tokens: Tokens,
    *,
    previous_refresh: str | None = None,
) -> None:
    """Put new tokens in the place of those in force, under the next version.

    A renewal that is under way meanwhile finds another version, and its word is void.
    """
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
        "problem": None,
        "refused_at": None,
        "warned_days": None,
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
        failures=row.failures,
        problem=row.problem,
    )


JITTER = 0.1
"""Renewals come up to this share of the half life early, so that they do not come at once."""
AT_LEAST_APART = timedelta(days=1)
"""Between renewals that are only for the refresh token, should its end never move."""
UNKNOWN_LIFE = timedelta(days=14)
"""What is assumed of an access token without a known end."""
WARN_DAYS = (14, 7, 3, 1)


def renewal_due_at(tokens: Login, chance: float) -> datetime | None:
    """When tokens are to be renewed, by half of either life; None without a refresh token.

    ``chance`` in [0, 1) pins the jitter.
    """
    if tokens.refresh is None or tokens.obtained_at is None:
        return None
    began = tokens.obtained_at
    share = (1 - JITTER * chance) / 2
    life = tokens.access_expires_at - began if tokens.access_expires_at else UNKNOWN_LIFE
    due = began + life * share
    if tokens.refresh_expires_at:
        half = began + (tokens.refresh_expires_at - began) * share
        due = min(due, max(half, began + AT_LEAST_APART))
    return due


def warning_days(tokens: Login, now: datetime) -> int | None:
    """The narrowest of 14, 7, 3 and 1 days within which the login ends for good, or None.

    A login ends with its refresh token; without one, with its access token.
    """
    end = tokens.refresh_expires_at if tokens.refresh else tokens.access_expires_at
    if end is None:
        return None
    return min((days for days in WARN_DAYS if end - now <= timedelta(days=days)), default=None)


def in_words(tokens: Login, now: datetime) -> str:
    """How the login stands, for people."""
    if tokens.refresh is None:
        if tokens.access_expires_at is None:
            return "token from a file, not renewed"
        return f"not renewed, ends in {_days(tokens.access_expires_at, now)}"
    if tokens.failures:
        failed = f"renewal failed {tokens.failures} times"
        return f"{failed}, ends in {_days(tokens.refresh_expires_at, now)}"
    return f"renewed by itself, good for {_days(tokens.refresh_expires_at, now)}"


def _days(end: datetime | None, now: datetime) -> str:
    if end is None:
        return "an unknown time"
    days = (end - now) / timedelta(days=1)
    return f"{days:.0f} days" if days >= 2 else f"{max(0, days * 24):.0f} hours"
