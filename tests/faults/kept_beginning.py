"""One database and one Pinterest for many histories, put back to the same beginning for each.

Deleting a few rows and copying a few takes milliseconds; a database of its own would take fifty.
"""

from __future__ import annotations

from pathlib import Path

from app.deployment import Deployment
from app.tables import metadata
from tests.faults.reckoning import POISON
from tests.workshop import Workshop

_NOT_OF_A_HISTORY = ("process", "encryption_key")


class Beginning:
    """The workshop as it stands when this is made."""

    def __init__(self, workshop: Workshop, scratch: Path) -> None:
        self._workshop, self._saved = workshop, scratch / "pinterest.json"
        workshop.simulator.books.save(self._saved)
        names = [table.name for table in metadata.sorted_tables]
        names = [name for name in names if name not in _NOT_OF_A_HISTORY]
        workshop.execute("CREATE SCHEMA kept")
        for name in names:
            workshop.execute(f"CREATE TABLE kept.{name} AS TABLE {name}")
        filled = [name for name in names if workshop.value(f"SELECT count(*) FROM kept.{name}")]
        emptying = [f"DELETE FROM {name}" for name in reversed(names)]
        filling = [
            f"INSERT INTO {name} OVERRIDING SYSTEM VALUE SELECT * FROM kept.{name}"
            for name in filled
        ]
        self._restoring = ";".join(emptying + filling)

    def restore(self) -> None:
        """Everything as it stood, but for ids, which go on, and the history of requests."""
        with self._workshop.transaction() as tx:
            tx.exec_driver_sql(self._restoring)
        self._workshop.simulator.books.load(self._saved)
        self.behave()

    def behave(self) -> None:
        """End all faults of Pinterest, but for the records that it refuses for good."""
        faults = self._workshop.simulator.faults
        faults.clear()
        faults.script("refuse_records", times=None, operation="patch", records=POISON)


def commit_without_delay(deployment: Deployment) -> None:
    """Nothing here makes Postgres crash, so no commit need wait for the disk."""
    with deployment.engine.connect() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        connection.commit()
    deployment.engine.dispose()
