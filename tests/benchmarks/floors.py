"""Physical floors: what the server, the disk and the processor take for the bare bytes.

Whatever is written was made beforehand, and whatever is read is dropped, so that nothing is left
that a better program could spare.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path
from time import perf_counter

import psycopg2.errors

from app.keyring import KeyRing
from tests.benchmarks import harness
from tests.benchmarks.installation import Place, disk_directory

COPY_CHUNKS = (
    "COPY staged_chunk (audience_id, message_count, email_count, maid_count, body)"
    " FROM STDIN (FORMAT binary)"
)
_CHUNKS = (
    "COPY (SELECT audience_id, message_count, email_count, maid_count, body FROM staged_chunk"
    " ORDER BY id) TO STDOUT (FORMAT binary)"
)
_CHUNKS_OF_CALLS = "SELECT array_agg(cardinality(audience_ids) ORDER BY id) FROM receipt"
_HEADER_BYTES, _FIELDS = 19, 5
_END = b"\xff\xff"
AT_ONCE = 1 << 30
"""Bytes that the driver may ask for at a time: all of them."""


def staged_calls(place: Place) -> list[bytes]:
    """What stands staged, as the bytes that each call sent."""
    stream = BytesIO()
    with place.session.cursor() as cursor:
        cursor.copy_expert(_CHUNKS, stream)
    packed = stream.getvalue()
    rows = _rows_of_copy(packed)
    header = packed[:_HEADER_BYTES]
    return [
        b"".join([header, *islice(rows, chunks), _END]) for chunks in place.ask(_CHUNKS_OF_CALLS)
    ]


def copy_in(place: Place, calls: Iterable[bytes]) -> float:
    """The seconds of COPY of such bytes: one round trip and one commit a call."""
    place.run("TRUNCATE staged_chunk")
    place.checkpoint()
    with place.session.cursor() as cursor:
        return harness.timed(
            map(BytesIO, calls), lambda rows: cursor.copy_expert(COPY_CHUNKS, rows, AT_ONCE)
        )


def write_synced(place: Place, calls: Sequence[bytes]) -> float:
    """The seconds of writing as many bytes to the same disk, durable after each call.

    The file is as long already, as the server's log usually is.
    """
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter
    with tempfile.TemporaryFile(dir=_disk_of(place), buffering=0) as file:
        file.write(b"\0" * sum(map(len, calls)))
        os.fsync(file.fileno())
        file.seek(0)

        def write(rows: bytes) -> None:
            file.write(rows)
            sync(file.fileno())

        return harness.timed(calls, write)


def _rows_of_copy(packed: bytes) -> Iterator[bytes]:
    """The rows of a binary COPY as they stand in it."""
    at = _HEADER_BYTES
    while packed[at : at + 2] != _END:
        end = at + 2
        for _ in range(_FIELDS):
            end += 4 + int.from_bytes(packed[end : end + 4], "big")
        yield packed[at:end]
        at = end


def _disk_of(place: Place) -> Path:
    """A directory on the filesystem of the server's data; another where that is out of reach."""
    with suppress(psycopg2.errors.InsufficientPrivilege, OSError):  # of a named server
        data = Path(place.ask("SHOW data_directory"))
        device = data.stat().st_dev
        for directory in data.parents:
            if directory.stat().st_dev == device and os.access(directory, os.W_OK):
                return directory
    return disk_directory()


def copy_out(place: Place, query: str) -> float:
    """The seconds of a binary COPY of what a query gives, to nowhere."""
    with place.session.cursor() as cursor, Path(os.devnull).open("wb") as nowhere:
        start = perf_counter()
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", nowhere)
        return perf_counter() - start


def open_all(keyring: KeyRing, bodies: Iterable[bytes], purpose: str) -> float:
    """The seconds of decrypting sealed bodies, and nothing else."""
    return harness.timed(bodies, lambda body: keyring.open(body, purpose))


def copy_in_memory(sizes: Iterable[int]) -> float:
    """The seconds of copying so many bytes each time, other ones each time."""
    sizes = list(sizes)
    source, start = memoryview(os.urandom(sum(sizes))), 0
    pieces = []
    for size in sizes:
        pieces.append(source[start : start + size])
        start += size
    return harness.timed(pieces, bytes)
