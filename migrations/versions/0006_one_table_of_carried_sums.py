"""The sums that versions before carried move to where this version carries its own"""

import sqlalchemy as sa
from alembic import op

from migrations.books import BOOKS, FROM_OLDER_VERSIONS

revision = "0006"
down_revision = "0005"
breaks_before = "0004"

SUMS = ("message_count", "email_received", "maid_received")


def upgrade() -> None:
    # the view first: who reads the books then waits for it, and holds nothing that is needed here
    op.execute(BOOKS.format(once_received="0"))
    op.execute("LOCK TABLE carried_sum IN EXCLUSIVE MODE")
    op.execute("LOCK TABLE carried")
    op.execute("""
        INSERT INTO carried_sum AS c (audience_id, list_type, received)
        SELECT audience_id, 'EMAIL', email_received FROM carried
        UNION ALL
        SELECT audience_id, 'MAID', maid_received FROM carried
            ON CONFLICT (audience_id, list_type) DO UPDATE
           SET received = c.received + excluded.received
    """)
    op.drop_table("carried")


def downgrade() -> None:
    op.create_table(
        "carried",
        sa.Column("audience_id", sa.BigInteger(), autoincrement=False, nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
            for name in SUMS
        ),
        sa.PrimaryKeyConstraint("audience_id", name=op.f("carried_pkey")),
    )
    op.execute(BOOKS.format(once_received=FROM_OLDER_VERSIONS))
    op.execute("UPDATE oldest_code SET revision = '0001'")
