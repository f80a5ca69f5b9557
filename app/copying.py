"""Many values at once, to and from Postgres, without the cost of adapting each.

Binary COPY is ten times faster than INSERT for many rows; an array as text is three times faster
to parse for Postgres than the ARRAY[...] that the driver writes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import sqlalchemy as sa

_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_ONE_FIELD = struct.Struct(">hi")
_ANY_SIZE = 1 << 30


class _Rows:
    """Rows as the driver reads them, one at a time: one is made while Postgres takes in another.

    The driver would turn any exception into one of its own and send its text to the server, so it
    is kept here instead.
    """

    def __init__(self, rows: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes] = chain((_HEADER,), rows, (_TRAILER,))
        self.failure: BaseException | None = None

    def read(self, _size: int) -> bytes:
        try:
            return next(self._pieces, b"")
        except BaseException as failure:  # noqa: BLE001 raised again by copy_rows, as it is
            self.failure = failure
            raise RuntimeError("the rows ended early") from None


def copy_rows(
    cursor: Any,
    table: sa.Table,
    columns: tuple[str, ...],
    rows: Iterable[bytes],
    first: bytes = b"",
) -> None:
    """Append rows that are packed as PostgreSQL's binary COPY format wants them.

    A row is its field count (int16), then each field as length (int32) and value, big-endian.
    ``first`` are statements to run before it in the same query, each ended by a semicolon.
    An exception in making a row is raised as it is, and nothing is appended.
    """
    copy = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
    stream = _Rows(rows)
    try:
        cursor.copy_expert(first + copy.encode(), stream, _ANY_SIZE)
    except Exception:
        if stream.failure is not None:
            raise stream.failure from None
        raise


def read_bodies(connection: sa.Connection, query: str, values: tuple[object, ...]) -> list[bytes]:
    """The one column of a query whose values are bytea and not null, in order.

    Through the driver a bytea travels as hex text and is decoded; in a binary COPY it does not.
    """
    stream = io.BytesIO()
    cursor = connection.connection.cursor()
    try:
        bound = cursor.mogrify(query, values).decode()
        cursor.copy_expert(f"COPY ({bound}) TO STDOUT (FORMAT binary)", stream)
    finally:
        cursor.close()
    packed = stream.getbuffer()
    bodies: list[bytes] = []
    at = len(_HEADER)
    while True:
        if packed[at : at + len(_TRAILER)] == _TRAILER:
            return bodies
        _, length = _ONE_FIELD.unpack_from(packed, at)
        at += _ONE_FIELD.size
        bodies.append(bytes(packed[at : at + length]))
        at += length


def array_text(numbers: Iterable[int]) -> str:
    """Integers as PostgreSQL's array literal, to be cast where it is used."""
    return f"{{{str([*numbers])[1:-1]}}}"
