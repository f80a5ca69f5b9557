"""What every step needs: the settings, the engine, the key ring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sqlalchemy as sa

from app.database import create_engine, transaction
from app.errors import ConfigError
from app.keyring import KeyRing
from app.migrate import current_revision, newest_revision
from app.settings import Settings


@dataclass(frozen=True)
class Deployment:
    """One process's access to this installation. Nothing is opened before it is used."""

    settings: Settings

    @cached_property
    def engine(self) -> sa.Engine:
        return create_engine(self.settings.require_database_url())

    @cached_property
    def keyring(self) -> KeyRing:
        """The keys, checked against the database; raises ConfigError when they do not fit."""
        ring = KeyRing.parse(self.settings.require_keys())
        with transaction(self.engine) as connection:
            ring.register(connection)
        return ring

    def require_schema(self) -> None:
        """Raise ConfigError unless the database stands at the revision this version needs."""
        with transaction(self.engine) as connection:
            revision = current_revision(connection)
        if revision != newest_revision():
            raise ConfigError(
                f"the database stands at revision {revision or 'none'}, this version needs "
                f"{newest_revision()}: run `pinfold migrate`"
            )
