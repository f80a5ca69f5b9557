"""The schema's revisions: those this version knows, the one it needs, and whether a database fits.

A migration expands or contracts (see ``migrations``). Code needs the newest expanding one of its
version; it runs with and without the contracting ones. A database may be ahead of it, upgraded by
a newer version, as long as ``oldest_code`` there names no revision that it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from app import tables
from app.errors import ConfigError


@dataclass(frozen=True)
class Step:
    """One migration."""

    revision: str
    breaks_before: str | None
    """Of a contracting step: the oldest revision whose code runs on the schema that it leaves."""


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", "migrations:")
    return config


@cache
def steps() -> tuple[Step, ...]:
    """Every migration that this version knows, oldest first."""
    newest_first = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    found = [Step(script.revision, script.module.breaks_before) for script in newest_first]
    return tuple(reversed(found))


def is_known(revision: str | None) -> bool:
    return any(step.revision == revision for step in steps())


def steps_after(revision: str | None) -> tuple[Step, ...]:
    """The steps that a database lacks which stands at a known revision, or at none."""
    known = [step.revision for step in steps()]
    return steps()[known.index(revision) + 1 if revision else 0 :]


def needed_revision() -> str:
    """What the code of this version needs: the newest step that is no contracting one."""
    return next(step.revision for step in reversed(steps()) if step.breaks_before is None)


def is_older(revision: str | None, than: str) -> bool:
    """Whether code that needs a revision is older; code of an unknown one is newer than this."""
    if revision is None:
        return True
    known = [step.revision for step in steps()]
    return revision in known and known.index(revision) < known.index(than)


def current_revision(tx: sa.Connection) -> str | None:
    """The revision a database stands at, None when it was never migrated."""
    return MigrationContext.configure(tx).get_current_revision()


def require_schema(tx: sa.Connection) -> None:
    """Raise ConfigError unless this version runs on the database as it stands."""
    standing = current_revision(tx)
    missing = steps_after(standing) if standing is None or is_known(standing) else ()
    if any(step.breaks_before is None for step in missing):
        raise ConfigError(
            f"the database stands at revision {standing or 'none'}, this version needs "
            f"{needed_revision()}: run `pinfold migrate`"
        )
    oldest = _oldest_code(tx)
    if not is_known(oldest):
        raise ConfigError(
            f"the database stands at revision {standing} and serves versions of Pinfold from "
            f"{oldest or 'an unknown one'} on, this one is of {needed_revision()}: run a newer one"
        )


def _oldest_code(tx: sa.Connection) -> str | None:
    if not sa.inspect(tx).has_table(tables.oldest_code.name):
        return None
    return tx.execute(sa.select(tables.oldest_code.c.revision)).scalar()
