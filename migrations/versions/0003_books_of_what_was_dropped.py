"""Books: a view that balances, and sums of what was dropped

Only adds, so that the version before it can go on running: it keeps adding the receipts it drops
to `carried`, which the view counts beside `carried_sum`.
"""

import sqlalchemy as sa
from alembic import op

from migrations.books import BOOKS, FROM_OLDER_VERSIONS

revision = "0003"
down_revision = "0002"
breaks_before = None

TIMES = (("upload", "cut_at"), ("attempt", "started_at"))


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)


def _build_index(table: str, column: str) -> None:
    """Beside those who write to the table; what a try that broke off left behind goes first."""
    name = f"{table}_{column}_idx"
    op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)
    op.create_index(name, table, [column], postgresql_using="brin", postgresql_concurrently=True)


def upgrade() -> None:
    # before all else: what follows is one transaction, and this may be begun anew
    with op.get_context().autocommit_block():
        for table, column in TIMES:
            _build_index(table, column)
    op.create_table(
        "carried_sum",
        sa.Column("audience_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("list_type", sa.Text(), nullable=False),
        *map(_count, ("received", "not_forwarded", "folded", "sent", "over_cap")),
        sa.CheckConstraint(
            "list_type IN ('EMAIL', 'MAID')", name=op.f("carried_sum_list_type_check")
        ),
        sa.PrimaryKeyConstraint("audience_id", "list_type", name=op.f("carried_sum_pkey")),
    )
    op.create_table(
        "carried_list",
        sa.Column("customer_list_id", sa.BigInteger(), autoincrement=False, nullable=False),
        *map(_count, ("attempted", "requests", "added", "removed")),
        sa.PrimaryKeyConstraint("customer_list_id", name=op.f("carried_list_pkey")),
    )
    op.create_table(
        "book_sum",
        sa.Column("connection_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        _count("identities"),
        sa.PrimaryKeyConstraint("connection_id", "item", name=op.f("book_sum_pkey")),
    )
    op.execute(BOOKS.format(once_received=FROM_OLDER_VERSIONS))


def downgrade() -> None:
    op.execute("DROP VIEW books")
    for table, column in TIMES:
        op.drop_index(f"{table}_{column}_idx", table_name=table)
    for table in ("book_sum", "carried_list", "carried_sum"):
        op.drop_table(table)
