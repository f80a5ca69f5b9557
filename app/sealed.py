"""Where sealed bodies rest, and which keys they need.

Every column whose values were made by ``KeyRing.seal`` stands in ``PLACES``. A sealed body begins
with the id of its key, so what needs a key is found without opening anything.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.tables import batch, held_chunk, login, source_secret, staged_chunk

KEY_ID_BYTES = 4
NONCE_BYTES = 12


def key_id_of(body: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """The key that a sealed body needs, as in ``KeyRing.key_ids``."""
    return sa.func.encode(sa.func.substring(body, 1, KEY_ID_BYTES), "hex", type_=sa.Text)


class Place(NamedTuple):
    """A column of sealed bodies."""

    kind: str
    """What people call its rows."""
    table: sa.Table
    column: str
    owner: str
    """The column with the id that the purpose names."""

    @property
    def body(self) -> sa.ColumnElement[Any]:
        return self.table.c[self.column]

    @property
    def head(self) -> sa.ColumnElement[bytes]:
        """Key id and nonce: no two bodies have the same."""
        return sa.func.substring(self.body, 1, KEY_ID_BYTES + NONCE_BYTES, type_=sa.LargeBinary)

    @property
    def key_id(self) -> sa.ColumnElement[str]:
        return key_id_of(self.body)


PLACES = (
    Place("tokens", login, "access_sealed", "id"),
    Place("tokens", login, "refresh_sealed", "id"),
    Place("tokens", login, "previous_refresh_sealed", "id"),
    Place("staged chunks", staged_chunk, "body", "audience_id"),
    Place("chunks set aside", held_chunk, "body", "audience_id"),
    Place("signing keys", source_secret, "signing_sealed", "source_id"),
    Place("batches", batch, "payload", "customer_list_id"),
)
KINDS = tuple(dict.fromkeys(place.kind for place in PLACES))


def needed_keys(tx: sa.Connection) -> dict[str, Counter[str]]:
    """How many bodies of each kind need each key, by key id.

    One statement, so that a body which moves from table to table is counted; it reads every table
    of ``PLACES`` once.
    """
    counts = [
        sa.select(
            sa.literal(place.kind).label("kind"),
            place.key_id.label("key_id"),
            sa.func.count().label("bodies"),
        )
        .where(place.body.is_not(None))
        .group_by(sa.text("2"))
        for place in PLACES
    ]
    found: dict[str, Counter[str]] = {}
    for row in tx.execute(sa.union_all(*counts)):
        found.setdefault(row.key_id, Counter())[row.kind] += row.bodies
    return found


def in_words(counts: Counter[str]) -> str:
    """Counts by kind, as a sentence lists them."""
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind])
