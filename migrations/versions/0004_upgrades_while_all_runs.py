"""What an upgrade needs to know while everything runs

Processes say which schema their code needs; the schema says whose code still runs on it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
breaks_before = None


def upgrade() -> None:
    op.add_column("process", sa.Column("schema_revision", sa.Text(), nullable=True))
    oldest_code = op.create_table(
        "oldest_code",
        sa.Column("revision", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("oldest_code_pkey")),
    )
    op.bulk_insert(oldest_code, [{"revision": "0001"}])


def downgrade() -> None:
    op.drop_table("oldest_code")
    op.drop_column("process", "schema_revision")
