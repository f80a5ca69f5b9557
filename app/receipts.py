"""Receipts of messages: whether one that the broker delivers again was already staged.

Where each message is one event, a row per id would undo the chunks, so the ids stand packed, eight
bytes each, in the receipt of their call. They are looked up only for messages that the broker marks
as delivered again, which come in one burst after a consumer was lost.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.tables import receipt

MESSAGE_ID_BYTES = 8


def keys_used(deployment: Deployment, source: str, keys: Collection[str]) -> set[str]:
    """Those of some dedupe keys under which a call was committed."""
    query = sa.select(receipt.c.dedupe_key).where(
        receipt.c.source == source, receipt.c.dedupe_key.in_(keys)
    )
    with transaction(deployment.engine) as tx:
        return set(tx.execute(query).scalars())


def received_before(deployment: Deployment, source: str, ids: set[bytes]) -> set[bytes]:
    """Those of the ids that stand in a receipt of this source, newest receipts first."""
    found: set[bytes] = set()
    query = (
        sa.select(receipt.c.message_ids)
        .where(receipt.c.source == source, receipt.c.message_ids.is_not(None))
        .order_by(receipt.c.id.desc())
        .execution_options(yield_per=500)
    )
    with transaction(deployment.engine) as tx, tx.execute(query) as rows:
        for row in rows:
            packed = bytes(row.message_ids)
            found |= ids.intersection(
                packed[at : at + MESSAGE_ID_BYTES] for at in range(0, len(packed), MESSAGE_ID_BYTES)
            )
            if found == ids:
                break
    return found
