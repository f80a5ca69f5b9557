"""API tokens: what a program shows to use `/v1`. Shown once, kept as a digest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.connections import find_connection
from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, NotFound, Refused
from app.sources import digest_of, new_secret
from app.tables import api_token, connection

PERMISSIONS = ("read", "write", "administer")
"""Each includes those before it."""


@dataclass(frozen=True)
class ApiToken:
    """What a token allows; ``connection_id`` is None where it is good for every connection."""

    id: int
    name: str
    permission: str
    connection_id: int | None
    connection: str | None
    created_at: datetime

    def allows(self, permission: str) -> bool:
        return PERMISSIONS.index(permission) <= PERMISSIONS.index(self.permission)


def add_token(
    deployment: Deployment, name: str, permission: str, connection_name: str | None
) -> str:
    """Make a token, good for one connection or for all; returns it, for the only time.

    Raises Refused when the name is taken, ConfigError for a permission that does not exist.
    """
    if permission not in PERMISSIONS:
        raise ConfigError(f"a token's permission is one of {', '.join(PERMISSIONS)}")
    if not name.strip():
        raise ConfigError("a token needs a name, so that you know later whose it is")
    connection_id = find_connection(deployment, connection_name).id if connection_name else None
    token = new_secret()
    values = {"name": name, "permission": permission, "connection_id": connection_id}
    try:
        with transaction(deployment.engine) as tx:
            tx.execute(sa.insert(api_token).values(digest=digest_of(token), **values))
    except IntegrityError:
        raise Refused(f"token {name} exists: pinfold token revoke {name} ends it") from None
    return token


def revoke_token(deployment: Deployment, name: str) -> None:
    """Let nobody in with it any more, within seconds. Raises NotFound."""
    live = sa.and_(api_token.c.name == name, api_token.c.revoked_at.is_(None))
    with transaction(deployment.engine) as tx:
        revoked = sa.update(api_token).where(live).values(revoked_at=sa.func.clock_timestamp())
        if not tx.execute(revoked).rowcount:
            raise NotFound(f"there is no token {name}: pinfold token list")


def list_tokens(deployment: Deployment) -> list[ApiToken]:
    with transaction(deployment.engine) as tx:
        return [_token(row) for row in tx.execute(_live().order_by(api_token.c.name))]


def read_tokens(deployment: Deployment) -> dict[bytes, ApiToken]:
    """The live tokens by their digests."""
    with transaction(deployment.engine) as tx:
        return {bytes(row.digest): _token(row) for row in tx.execute(_live())}


def _live() -> sa.Select[Any]:
    return (
        sa.select(api_token, connection.c.name.label("connection_name"))
        .outerjoin(connection, connection.c.id == api_token.c.connection_id)
        .where(api_token.c.revoked_at.is_(None), connection.c.removed_at.is_(None))
    )


def _token(row: sa.Row[Any]) -> ApiToken:
    return ApiToken(
        row.id, row.name, row.permission, row.connection_id, row.connection_name, row.created_at
    )
