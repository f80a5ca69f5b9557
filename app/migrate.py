"""The schema: bring a database up to date, and say whether it is. Two at once are safe."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from app.database import first_line
from app.errors import Unavailable
from app.tables import metadata


def upgrade(database_url: str) -> str:
    """Run the migrations that are missing; returns the revision that then stands.

    Raises Unavailable when Postgres cannot be reached, or another migration holds it up.
    """
    engine = sa.create_engine(database_url, hide_parameters=True)
    try:
        with engine.connect() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as problem:
        raise Unavailable(f"Postgres cannot be reached: {first_line(problem)}") from None
    finally:
        engine.dispose()
    return newest_revision()


def current_revision(connection: sa.Connection) -> str | None:
    """The revision a database stands at, None when it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str:
    """The revision this version of Pinfold needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 the wheel always ships migrations
    return head


def drift(connection: sa.Connection) -> list[str]:
    """What differs between a migrated database and ``app.tables``, empty when nothing does."""
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    return [str(difference) for difference in compare_metadata(context, metadata)]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "migrations:")
    return config
