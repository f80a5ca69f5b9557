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
    op.execute(
        f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name},"
        f" ADD CONSTRAINT {name} CHECK ({column} IN ({listed})) NOT VALID"
    )
    # reads every row, under a lock beside which others write
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def upgrade() -> None:
    # each statement commits: the lock that keeps others waiting is gone before rows are read, and
    # none is held while another is waited for; all of it may be begun anew
    with op.get_context().autocommit_block():
        _allow("attempt", "purpose", [*PURPOSES, "RECOVERY"])
        _allow("upload", "reason", [*REASONS, "given up", "key lost"])
    for name in ("backup_taken_at", "restored_at"):
        op.add_column("connection", sa.Column(name, sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("connection", "restored_at")
    op.drop_column("connection", "backup_taken_at")
    _allow("upload", "reason", REASONS)
    _allow("attempt", "purpose", PURPOSES)
