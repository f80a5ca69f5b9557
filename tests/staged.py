"""What stands in staging, opened: whom intake accepted, to compare with whom a sender named."""

from __future__ import annotations

from typing import NamedTuple

from app.bodies import KIND_BITS, kind_of_flag, unpack_chunk
from app.keyring import chunk_purpose
from tests.workshop import Workshop

KINDS = {bits: kind.value for kind, bits in KIND_BITS.items()}


class Change(NamedTuple):
    """One identity that is to enter or to leave an audience."""

    audience: str
    operation: str
    kind: str
    value: str


def staged_changes(workshop: Workshop) -> list[Change]:
    """Every identity that waits, in the order of arrival."""
    rows = workshop.rows(
        "SELECT staged_chunk.audience_id, upstream_id, body"
        "  FROM staged_chunk JOIN audience ON audience.id = audience_id ORDER BY staged_chunk.id"
    )
    changes = []
    for row in rows:
        purpose = chunk_purpose(row.audience_id)
        body = unpack_chunk(workshop.deployment.keyring.open(bytes(row.body), purpose))
        for flag, value in zip(body.flags, body.text.decode().split("\n"), strict=True):
            operation = "add" if flag & 1 else "remove"
            changes.append(Change(row.upstream_id, operation, KINDS[kind_of_flag(flag)], value))
    return changes


def staged_messages(workshop: Workshop) -> int:
    """How many events wait."""
    return int(workshop.value("SELECT coalesce(sum(message_count), 0) FROM staged_chunk"))


def receipts(workshop: Workshop) -> int:
    """How many commits of intake there were."""
    return int(workshop.value("SELECT count(*) FROM receipt"))
