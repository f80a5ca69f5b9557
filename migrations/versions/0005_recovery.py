"""Recovery: restored connections, charges that only Pinterest knows, work that is written off

Only widens what is allowed, so that the version before it can go on running.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
breaks_before = None

REASONS = ["count", "age", "drain", "asked", "deactivated"]
PURPOSES = ["ADD", "REMOVE", "CREATE", "PROBE", "AUDIENCE"]


def _allow(table: str, column: str, values: list[str]) -> None:
    name = op.f(f"{table}_{column}_check")
    listed = ", ".join(f"'{value}'" for value in values)
    op.drop_constraint(name, table, type_="check")
    # the old rows obey already: without reading them all under a lock
    op.execute(
        f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} IN ({listed})) NOT VALID"
    )
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def upgrade() -> None:
    for name in ("backup_taken_at", "restored_at"):
        op.add_column("connection", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    _allow("upload", "reason", [*REASONS, "given up", "key lost"])
    _allow("attempt", "purpose", [*PURPOSES, "RECOVERY"])


def downgrade() -> None:
    _allow("attempt", "purpose", PURPOSES)
    _allow("upload", "reason", REASONS)
    op.drop_column("connection", "restored_at")
    op.drop_column("connection", "backup_taken_at")
