"""What every step needs: the settings, the engine, the key ring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sqlalchemy as sa

from app.database import create_engine, transaction
from app.keyring import KeyRing
from app.revisions import require_schema
from app.settings import Settings


@dataclass(frozen=True)
class Deployment:
    """One process's access to this installation. Nothing is opened before it is used."""

    settings: Settings
    connections: int = 2
    """To Postgres that are kept open; twice as many where they are needed at once."""

    @cached_property
    def engine(self) -> sa.Engine:
        return create_engine(self.settings.require_database_url(), pool_size=self.connections)

    @cached_property
    def keyring(self) -> KeyRing:
        """The keys, checked against the database; raises ConfigError when they do not fit."""
        ring = KeyRing.parse(self.settings.require_keys())
        with transaction(self.engine) as connection:
            ring.register(connection)
        return ring

    def require_schema(self) -> None:
        """Raise ConfigError unless this version runs on the database as it stands."""
        with transaction(self.engine) as connection:
            require_schema(connection)
