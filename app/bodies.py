"""Compact bodies: the identities of a staged chunk, and the digests of a batch.

A chunk body holds the identities of the EMAIL list, then those of the MAID list, each in order of
arrival, in columns over both:

    version, base second, count of EMAIL, count of MAID (9 bytes), flags (1 byte each),
    occurred_at, values (UTF-8, a newline after each)

``occurred_at`` is in microseconds: 4 bytes each from the base second on where the chunk spans
little more than an hour (version 1), else 8 bytes each from 1970 on (version 2).

A flag is the operation (bit 0: ADD) with the form (bits 1-2, see ``app.identities``) and the
kind (bits 3-4). Columns pack and unpack at the speed of ``join`` and ``split``, 15 times cheaper
than a record at a time. Values hold no newline: intake refuses control characters.

A lane payload holds digests grouped by width: three counts (16, 20 and 32 bytes wide), then the
digests themselves.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import MutableSequence
from typing import NamedTuple

from app.errors import UnreadableBody
from app.events import Kind

NEAR, WIDE = 1, 2
"""Versions of a chunk body: how wide its times are."""
KIND_BITS = {Kind.EMAIL: 0, Kind.IDFA: 1, Kind.GAID: 2}
WIDTHS = (16, 20, 32)
_HEADER = struct.Struct("<BIHH")
_COUNTS = struct.Struct("<III")


class Column(NamedTuple):
    """Identities of one list in one chunk, in order of arrival; the three run in parallel."""

    flags: bytearray
    times: MutableSequence[int]
    values: list[str]


def flag(*, add: bool, form: int, kind: Kind) -> int:
    return add | form << 1 | KIND_BITS[kind] << 3


def form_of_flag(value: int) -> int:
    return value >> 1 & 3


def pack_chunk(email: Column, maid: Column) -> bytes:
    """One body of two columns; each holds at most 65,535 identities."""
    times = [*email.times, *maid.times]
    base = min(times, default=0) // 1_000_000
    start_us = base * 1_000_000
    if 0 <= base < 1 << 32 and max(times, default=0) - start_us < 1 << 32:
        version, packed = NEAR, array("I", [moment - start_us for moment in times])
    else:
        version, base, packed = WIDE, 0, array("q", times)
    return b"".join(
        (
            _HEADER.pack(version, base, len(email.values), len(maid.values)),
            email.flags,
            maid.flags,
            _little_endian(packed).tobytes(),
            "\n".join([*email.values, *maid.values, ""]).encode(),
        )
    )


def unpack_chunk(body: bytes) -> tuple[Column, Column]:
    """The EMAIL and the MAID column of a chunk. Raises UnreadableBody when it is malformed."""
    try:
        version, base, emails, maids = _HEADER.unpack_from(body)
        if version not in (NEAR, WIDE):
            raise UnreadableBody("a staged chunk has an unknown version: was a newer one here?")
        flags_end = _HEADER.size + emails + maids
        times_end = flags_end + (emails + maids) * (4 if version == NEAR else 8)
        flags = bytearray(body[_HEADER.size : flags_end])
        times = _unpack_times(version, base, body[flags_end:times_end])
        *values, rest = body[times_end:].decode().split("\n")
    except (struct.error, ValueError) as problem:
        raise UnreadableBody(f"a staged chunk is malformed: {type(problem).__name__}") from None
    if len(values) != emails + maids or rest:
        raise UnreadableBody("a staged chunk is not as long as it says")
    return (
        Column(flags[:emails], times[:emails], values[:emails]),
        Column(flags[emails:], times[emails:], values[emails:]),
    )


def _unpack_times(version: int, base: int, packed: bytes) -> array[int]:
    times: array[int] = array("I" if version == NEAR else "q")
    times.frombytes(packed)
    start_us = base * 1_000_000
    times = _little_endian(times)
    return times if version == WIDE else array("q", [start_us + offset for offset in times])


def _little_endian(times: array[int]) -> array[int]:
    if sys.byteorder == "big":
        times = array(times.typecode, times)
        times.byteswap()
    return times


def pack_digests(digests: list[bytes]) -> bytes:
    """Digests of 16, 20 or 32 bytes; their order is kept within each width."""
    widths = set(map(len, digests))
    groups = [
        digests if widths == {width} else [d for d in digests if len(d) == width]
        for width in WIDTHS
    ]
    return _COUNTS.pack(*map(len, groups)) + b"".join(b"".join(group) for group in groups)


def unpack_digests(payload: bytes) -> list[bytes]:
    """The digests of a payload, narrow ones first. Raises UnreadableBody when it is malformed."""
    digests = []
    for width, start, end in _groups(payload):
        digests += [payload[at : at + width] for at in range(start, end, width)]
    return digests


def hex_records(payload: bytes) -> bytes:
    """A payload as Pinterest's ``records``: lower-case hex between commas.

    Raises UnreadableBody when it is malformed.
    """
    groups = [payload[start:end].hex(",", width) for width, start, end in _groups(payload)]
    return ",".join(group for group in groups if group).encode()


def _groups(payload: bytes) -> list[tuple[int, int, int]]:
    if len(payload) < _COUNTS.size:
        raise UnreadableBody("a batch's payload is cut short")
    start, groups = _COUNTS.size, []
    for width, count in zip(WIDTHS, _COUNTS.unpack_from(payload), strict=True):
        groups.append((width, start, start + width * count))
        start += width * count
    if start != len(payload):
        raise UnreadableBody("a batch's payload is not as long as it says")
    return groups
