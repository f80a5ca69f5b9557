"""Lots: the batch at the head of a lane, and how it ends: closed, split, or booked over the cap.

Raises LeaseLost, throughout, when a later worker has settled the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from app.bodies import pack_digests, unpack_digests
from app.errors import LeaseLost
from app.keyring import KeyRing, batch_purpose
from app.lease import NOW, Claim
from app.tables import batch


class Lot(NamedTuple):
    """A batch that is next in its lane."""

    id: int
    upload_id: int
    parent_id: int | None
    operation: str
    record_count: int
    refused: bool
    payload: bytes


def close_batch(tx: sa.Connection, lot: Lot, state: str) -> None:
    """Settle a waiting batch for good. Its digests go, unless they stay in quarantine."""
    kept = {} if state == "quarantined" else {"payload": None}
    updated = tx.execute(
        sa.update(batch)
        .where(batch.c.id == lot.id, batch.c.state == "waiting")
        .values(state=state, settled_at=NOW, **kept)
    )
    if updated.rowcount != 1:
        raise LeaseLost(f"batch {lot.id} was settled by a later worker")


def split(tx: sa.Connection, keyring: KeyRing, claim: Claim, lot: Lot, first: int) -> list[int]:
    """Replace a batch by two, the first with ``first`` records, in its place in the lane."""
    purpose = batch_purpose(claim.id)
    digests = unpack_digests(keyring.open(lot.payload, purpose))
    close_batch(tx, lot, "split")
    parts = (digests[:first], digests[first:])
    return [
        _insert_part(tx, claim, lot, len(part), keyring.seal(pack_digests(part), purpose))
        for part in parts
    ]


def _insert_part(tx: sa.Connection, claim: Claim, lot: Lot, records: int, payload: bytes) -> int:
    part_id: int = tx.execute(
        sa.insert(batch)
        .values(
            upload_id=lot.upload_id,
            customer_list_id=claim.id,
            parent_id=lot.id,
            operation=lot.operation,
            record_count=records,
            payload=payload,
        )
        .returning(batch.c.id)
    ).scalar_one()
    return part_id


def book_over_cap(
    tx: sa.Connection, keyring: KeyRing, claim: Claim, lot: Lot, fitting: int
) -> None:
    """Book what does not fit under the cap; what fits goes on as a batch of its own."""
    if not fitting:
        close_batch(tx, lot, "over_cap")
        return
    _, rest = split(tx, keyring, claim, lot, fitting)
    tx.execute(
        sa.update(batch)
        .where(batch.c.id == rest)
        .values(state="over_cap", settled_at=NOW, payload=None)
    )
