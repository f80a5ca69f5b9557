"""Running processes: the keys they hold and the schema they need, so that neither goes too soon.

Whoever seals for long notes itself in the table ``process`` and renews that once a minute: a worker
node (one row for all its children), intake, and every process that stages. A row that was not
renewed for ``GONE_AFTER_S`` belongs to a process that is gone.

Noting and dropping a key exclude each other by the key's row: either the drop sees the process, or
the process learns that its key was dropped. So do noting and taking away what older versions need
of the schema, by the row of ``oldest_code``.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, Unavailable
from app.keyring import dropped_key
from app.lease import NOW, seconds
from app.revisions import needed_revision, require_schema, steps
from app.tables import process

RENEW_S = 60.0
GONE_AFTER_S = 300.0

_NOTE = sa.text("""
INSERT INTO process (name, kind, key_ids, schema_revision)
SELECT :name, :kind, CAST(:key_ids AS text[]), :needed
  FROM encryption_key, oldest_code
 WHERE key_id = :newest AND dropped_at IS NULL AND revision = ANY(CAST(:known AS text[]))
   FOR SHARE
ON CONFLICT (name) DO UPDATE
   SET kind = excluded.kind, key_ids = excluded.key_ids,
       schema_revision = excluded.schema_revision, seen_at = clock_timestamp()
""")


@dataclass
class Presence:
    """The row of one process, written when first asked for and then once a minute at most.

    As a context it ends with the block.
    """

    deployment: Deployment
    kind: str
    where: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    _next_at: float | None = None

    @property
    def name(self) -> str:
        return f"{self.kind} {self.where}"

    def renew(self) -> None:
        """Say that this process runs, what it holds and what it needs. Cheap to call often.

        Raises ConfigError when the key it seals with was dropped meanwhile, or the schema serves
        its version no more; Unavailable when Postgres cannot be reached, a minute later again if
        the row was written before.
        """
        if self._next_at is not None and time.monotonic() < self._next_at:
            return
        keys = self.deployment.keyring.key_ids
        try:
            with transaction(self.deployment.engine) as tx:
                self._note(tx, keys)
        except Unavailable:
            if self._next_at is not None:
                self._next_at = time.monotonic() + RENEW_S
            raise
        self._next_at = time.monotonic() + RENEW_S

    def _note(self, tx: sa.Connection, keys: list[str]) -> None:
        require_schema(tx)
        values = {"name": self.name, "kind": self.kind, "key_ids": keys, "newest": keys[0]}
        schema = {"needed": needed_revision(), "known": [step.revision for step in steps()]}
        if not tx.execute(_NOTE, values | schema).rowcount:
            require_schema(tx)  # it may have changed while its row was waited for
            raise ConfigError(dropped_key(keys[0]))

    def leave(self) -> None:
        """Say that it ends; without Postgres its row is forgotten in a few minutes."""
        if self._next_at is None:
            return
        self._next_at = None
        with suppress(Unavailable), transaction(self.deployment.engine) as tx:
            tx.execute(sa.delete(process).where(process.c.name == self.name))

    def __enter__(self) -> Presence:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


@dataclass(frozen=True)
class Running:
    """A process that was seen within the last minutes."""

    name: str
    kind: str
    key_ids: list[str]
    """Newest first: it seals with the first and opens with all."""
    schema_revision: str | None
    """What its code needs; None: it is of a version that does not say so yet."""
    seen_ago: timedelta


def running(tx: sa.Connection) -> list[Running]:
    """Every process that runs; rows of those that are gone are deleted.

    A row that lies ahead shows that the clock was set back: it counts as renewed now, so that a
    process that runs is not taken for gone, nor one that is gone for running until then.
    """
    tx.execute(sa.update(process).where(process.c.seen_at > NOW).values(seen_at=NOW))
    tx.execute(sa.delete(process).where(process.c.seen_at < NOW - seconds(GONE_AFTER_S)))
    seen_ago = (NOW - process.c.seen_at).label("seen_ago")
    rows = tx.execute(sa.select(process, seen_ago).order_by(process.c.name))
    return [
        Running(row.name, row.kind, row.key_ids, row.schema_revision, row.seen_ago) for row in rows
    ]
