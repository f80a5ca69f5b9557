"""Sources: addresses at which upstream systems deliver, each bound to one connection and a format.

A secret is shown once and kept as a digest; several are good at once, so that they can be rotated.
A signing key, with which a sender signs instead of showing it, has to be read again and is sealed.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.connections import find_connection
from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, NotFound, Refused
from app.events import Kind
from app.formats import FORMATS
from app.formats.reading import DEVICE, Dialect
from app.keyring import signing_purpose
from app.tables import connection, source, source_secret

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""A source's name is part of its address."""
SECRET_BYTES = 32
PREFIX = "pinfold_"
"""So that one that got into a public place is recognised for what it is."""


@dataclass(frozen=True)
class Source:
    """What its messages are read with, and what is done with audiences nobody activated."""

    id: int
    name: str
    connection_id: int
    format: str
    activate_unknown: bool
    dialect: Dialect

    @property
    def label(self) -> str:
        """As its receipts name it."""
        return f"source {self.name}"


def add_source(
    deployment: Deployment,
    name: str,
    format_name: str,
    connection_name: str | None,
    *,
    activate_unknown: bool = False,
    dialect: Dialect | None = None,
) -> Source:
    """Make an address; it lets nobody in before it has a secret.

    Raises Refused when the name is taken, ConfigError for one that cannot be part of an address.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            "a source's name is lower-case letters, digits, - and _: it is an address"
        )
    if format_name not in FORMATS:
        raise ConfigError(f"there is no format {format_name}; there are: {', '.join(FORMATS)}")
    dialect = dialect or Dialect()
    connection_id = find_connection(deployment, connection_name).id
    try:
        with transaction(deployment.engine) as tx:
            row = tx.execute(
                sa.insert(source)
                .values(
                    name=name,
                    connection_id=connection_id,
                    format=format_name,
                    activate_unknown=activate_unknown,
                    audience=dialect.audience,
                    audience_key=dialect.audience_key,
                    identifiers=dict(dialect.identifiers),
                )
                .returning(source)
            ).one()
    except IntegrityError:
        raise Refused(f"source {name} exists: pinfold source list shows it") from None
    return source_of(row)


def add_secret(deployment: Deployment, source_id: int) -> str:
    """A new secret, good at once beside those before; it is not to be had again."""
    secret = new_secret()
    with transaction(deployment.engine) as tx:
        tx.execute(sa.insert(source_secret).values(source_id=source_id, digest=digest_of(secret)))
    return secret


def add_signing_key(deployment: Deployment, source: Source) -> str:
    """A new key with which the sender signs; from now on events without a signature are refused.

    Raises ConfigError for a format in which nobody signs.
    """
    if source.format != "segment":
        raise ConfigError(f"nobody signs in the format {source.format}: only segment does")
    source_id, key = source.id, new_secret()
    sealed = deployment.keyring.seal(key.encode(), signing_purpose(source_id))
    with transaction(deployment.engine) as tx:
        tx.execute(sa.insert(source_secret).values(source_id=source_id, signing_sealed=sealed))
    return key


def revoke_secret(deployment: Deployment, source_id: int, secret_id: int) -> None:
    """Let nobody in with it any more. Raises NotFound when it is not a live one of the source."""
    live = sa.and_(
        source_secret.c.id == secret_id,
        source_secret.c.source_id == source_id,
        source_secret.c.revoked_at.is_(None),
    )
    values: dict[str, Any] = {"revoked_at": sa.func.clock_timestamp()}
    with transaction(deployment.engine) as tx:
        if not tx.execute(sa.update(source_secret).where(live).values(**values)).rowcount:
            raise NotFound(f"the source has no live secret {secret_id}: pinfold source list")


def remove_source(deployment: Deployment, source_id: int) -> None:
    """Close the address for good. What it accepted stays; its audiences stay as they are."""
    with transaction(deployment.engine) as tx:
        tx.execute(sa.delete(source_secret).where(source_secret.c.source_id == source_id))
        tx.execute(
            sa.update(source)
            .where(source.c.id == source_id)
            .values(removed_at=sa.func.clock_timestamp())
        )


def find_source(deployment: Deployment, name: str) -> Source:
    """A standing source by its name. Raises NotFound."""
    with transaction(deployment.engine) as tx:
        row = tx.execute(standing_sources().where(source.c.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"there is no source {name}: pinfold source list")
    return source_of(row)


@dataclass(frozen=True)
class ListedSecret:
    secret_id: int
    signs: bool
    created_at: datetime


@dataclass(frozen=True)
class ListedSource:
    source: Source
    connection: str
    secrets: list[ListedSecret]


def list_sources(deployment: Deployment) -> list[ListedSource]:
    """The standing sources with their live secrets, by name."""
    with transaction(deployment.engine) as tx:
        rows = tx.execute(standing_sources().order_by(source.c.name)).all()
        live = tx.execute(
            sa.select(source_secret)
            .where(source_secret.c.revoked_at.is_(None))
            .order_by(source_secret.c.id)
        ).all()
    listed: dict[int, list[ListedSecret]] = {}
    for row in live:
        secret = ListedSecret(row.id, row.signing_sealed is not None, row.created_at)
        listed.setdefault(row.source_id, []).append(secret)
    return [
        ListedSource(source_of(row), row.connection_name, listed.get(row.id, [])) for row in rows
    ]


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: str) -> bytes:
    """Secrets are random, so a plain digest of them tells nothing."""
    return sha256(secret.encode(errors="replace")).digest()


def standing_sources() -> sa.Select[Any]:
    return (
        sa.select(source, connection.c.name.label("connection_name"))
        .join(connection, connection.c.id == source.c.connection_id)
        .where(source.c.removed_at.is_(None), connection.c.removed_at.is_(None))
    )


def source_of(row: sa.Row[Any]) -> Source:
    identifiers = {
        name: kind if kind == DEVICE else Kind(kind) for name, kind in row.identifiers.items()
    }
    dialect = Dialect(row.audience, row.audience_key, identifiers)
    return Source(row.id, row.name, row.connection_id, row.format, row.activate_unknown, dialect)
