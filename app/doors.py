"""Doors: every source with what opens it, as the HTTP service keeps them at hand."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, UnreadableBody
from app.keyring import KeyRing, signing_purpose
from app.sources import Source, source_of, standing_sources
from app.tables import source_secret

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Door:
    """What has to be shown at a source's address."""

    source: Source
    digests: tuple[bytes, ...]
    signing_keys: tuple[bytes, ...]


def read_doors(deployment: Deployment) -> dict[str, Door]:
    """Every standing source with what opens it, by name."""
    with transaction(deployment.engine) as tx:
        rows = tx.execute(standing_sources()).all()
        live = tx.execute(
            sa.select(source_secret).where(source_secret.c.revoked_at.is_(None))
        ).all()
    secrets_of: defaultdict[int, list[sa.Row[Any]]] = defaultdict(list)
    for secret in live:
        secrets_of[secret.source_id].append(secret)
    return {row.name: _door(deployment.keyring, row, secrets_of[row.id]) for row in rows}


def _door(keyring: KeyRing, row: sa.Row[Any], live: list[sa.Row[Any]]) -> Door:
    return Door(
        source_of(row),
        tuple(bytes(each.digest) for each in live if each.digest is not None),
        tuple(
            _signing_key(keyring, row.id, bytes(each.signing_sealed))
            for each in live
            if each.signing_sealed is not None
        ),
    )


def _signing_key(keyring: KeyRing, source_id: int, sealed: bytes) -> bytes:
    """A signing key; an empty one, by which nothing is signed, where it cannot be opened."""
    try:
        return keyring.open(sealed, signing_purpose(source_id))
    except (ConfigError, UnreadableBody) as problem:
        log.warning("a signing key of source %s cannot be opened: %s", source_id, problem)
        return b""
