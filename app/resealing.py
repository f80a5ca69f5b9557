"""Resealing: the bodies of one place, slice by slice, put in place of the very bodies read.

Bodies are read a few MiB at a time by primary key, and opened and sealed with no transaction open.
One short statement then replaces those whose row still holds what was read, and passes over rows
that somebody else has locked. It never waits for a row lock, so it can neither hold up a cut, a
settlement or a renewal for longer than that statement takes, nor deadlock with one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, UnreadableBody
from app.keyring import KeyRing, batch_purpose, chunk_purpose, signing_purpose, token_purpose
from app.sealed import KEY_ID_BYTES, NONCE_BYTES, Place

ROWS_AT_ONCE = 500
BYTES_AT_ONCE = 2 * 1024 * 1024
"""Replaced in one transaction; a single body may be larger."""
PURPOSES: dict[str, Callable[[int], str]] = {
    "login": token_purpose,
    "staged_chunk": chunk_purpose,
    "held_chunk": chunk_purpose,
    "batch": batch_purpose,
    "source_secret": signing_purpose,
}


class Row(NamedTuple):
    """A row as it was read; ``sealed`` is the body that it held."""

    owner: int
    id: int
    sealed: bytes = b""


def slices(deployment: Deployment, place: Place) -> Iterator[list[Row]]:
    """The rows that need an older key than the newest, by primary key, as many as fit at once."""
    newest = deployment.keyring.key_ids[0]
    owner, key = place.table.c[place.owner], [*place.table.primary_key.columns]
    after: tuple[int, ...] = (0,) * len(key)
    query = sa.select(owner, place.table.c.id, sa.func.octet_length(place.body))
    older = query.where(place.key_id != newest).order_by(*key).limit(ROWS_AT_ONCE)
    while True:
        with transaction(deployment.engine) as tx:
            rows = tx.execute(older.where(sa.tuple_(*key) > sa.tuple_(*after)))
            found: list[tuple[int, int, int]] = [(row[0], row[1], row[2]) for row in rows]
        if not found:
            return
        yield from _cut(found)
        after = found[-1][:2][-len(key) :]


def _cut(found: list[tuple[int, int, int]]) -> Iterator[list[Row]]:
    rows: list[Row] = []
    size = 0
    for owner, row_id, body_bytes in found:
        if rows and size + body_bytes > BYTES_AT_ONCE:
            yield rows
            rows, size = [], 0
        rows.append(Row(owner, row_id))
        size += body_bytes
    yield rows


def reseal(deployment: Deployment, place: Place, rows: list[Row], unopened: list[str]) -> int:
    """Seal the bodies of some rows with the newest key; returns how many were put in place.

    Rows that cannot be opened are added to ``unopened``, with the reason, and stay as they are.
    """
    newest = deployment.keyring.key_ids[0]
    with transaction(deployment.engine) as tx:
        given = _given(rows)
        query = sa.select(place.table.c[place.owner], place.table.c.id, place.body)
        bodies = [
            Row(owner, row_id, bytes(sealed))
            for owner, row_id, sealed in tx.execute(
                query.join(given, _same(place, given)).where(place.key_id != newest)
            )
        ]
    fresh = []
    for body in bodies:
        try:
            fresh.append((body, _sealed_anew(deployment.keyring, place, body)))
        except (ConfigError, UnreadableBody) as problem:
            unopened.append(f"{place.table.name} {body.id}: {problem}")
    with transaction(deployment.engine) as tx:
        return _put_in_place(tx, place, fresh) if fresh else 0


def _sealed_anew(keyring: KeyRing, place: Place, body: Row) -> bytes:
    purpose = PURPOSES[place.table.name](body.owner)
    return keyring.seal(keyring.open(body.sealed, purpose), purpose)


def _put_in_place(tx: sa.Connection, place: Place, fresh: list[tuple[Row, bytes]]) -> int:
    """Replace the bodies of those rows that still hold what was read and that nobody has locked."""
    given = _given([body for body, _ in fresh], [anew for _, anew in fresh])
    table = place.table
    mine = (
        sa.select(table.c[place.owner].label("owner"), table.c.id, given.c.anew)
        .join(given, _same(place, given))
        .where(place.head == given.c.head)
        .with_for_update(of=table, key_share=True, skip_locked=True)
        .cte("mine")
    )
    return tx.execute(
        sa.update(table).where(_same(place, mine)).values({place.column: mine.c.anew})
    ).rowcount


def _given(rows: list[Row], anew: list[bytes] | None = None) -> Any:
    """Rows as a table of a statement: owner, id, head, anew."""
    columns: dict[str, tuple[list[Any], Any]] = {
        "owner": ([row.owner for row in rows], sa.BigInteger()),
        "id": ([row.id for row in rows], sa.BigInteger()),
        "head": ([row.sealed[: KEY_ID_BYTES + NONCE_BYTES] for row in rows], sa.LargeBinary()),
        "anew": (anew or [b""] * len(rows), sa.LargeBinary()),
    }
    arrays = [sa.cast(sa.literal(v, pg.ARRAY(t)), pg.ARRAY(t)) for v, t in columns.values()]
    return (
        sa.func.unnest(*arrays)
        .table_valued(*(sa.column(name, kind) for name, (_, kind) in columns.items()))
        .render_derived(name="given")
    )


def _same(place: Place, other: Any) -> sa.ColumnElement[bool]:
    return sa.and_(place.table.c[place.owner] == other.c.owner, place.table.c.id == other.c.id)
