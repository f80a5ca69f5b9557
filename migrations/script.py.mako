"""${message}

An expanding migration only adds, so that versions before run on. A contracting one takes away what
only they used: breaks_before is then the oldest revision whose code runs on the schema it leaves.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
breaks_before = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
