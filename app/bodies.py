"""Compact bodies: the identities of a staged chunk, and the digests of a batch.

A chunk body holds identities of both lists in order of arrival, in columns:

    shape, first moment, count (11 bytes), flags (1 byte each), occurred_at,
    values (UTF-8, a newline between them)

``occurred_at`` is in microseconds since 1970, of which only so many low bytes are kept as differ in
the chunk: none where all is of one moment, three up to 16 seconds. All lowest bytes come first,
then the next ones. The shape holds how many bytes that is (bits 0-3), the version (bits 4-6), and
whether the times never fall (bit 7), so that the fold need not look at each of them.

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
from collections.abc import Sequence
from typing import NamedTuple

from app.errors import UnreadableBody
from app.events import Kind

VERSION = 1 << 4
IN_ORDER = 1 << 7
KIND_BITS = {Kind.EMAIL: 0, Kind.IDFA: 1, Kind.GAID: 2}
WIDTHS = (16, 20, 32)
_HEADER = struct.Struct("<BqH")
_COUNTS = struct.Struct("<III")


class ChunkBody(NamedTuple):
    """Identities of one chunk as they were packed; flags, times and lines run in parallel."""

    flags: bytes
    times: Times
    text: bytes
    """The values, a newline between them."""


class Times(NamedTuple):
    """When the identities of a chunk occurred, in microseconds since 1970."""

    in_order: bool
    first_us: int
    width: int
    low: bytes
    """The lowest bytes of all of them, then their next ones, ``width`` times."""

    @property
    def last_us(self) -> int:
        """The last one, when they are in order."""
        count = len(self.low) // self.width if self.width else 1
        return self._restored(int.from_bytes(self.low[count - 1 :: count], "little"))

    def all_us(self, count: int) -> list[int]:
        packed = bytearray(8 * count)
        for place in range(self.width):
            packed[place::8] = self.low[place * count : (place + 1) * count]
        return [self._restored(low) for low in _little_endian(array("Q", bytes(packed)))]

    def _restored(self, low: int) -> int:
        return self.first_us + (low - self.first_us & (1 << 8 * self.width) - 1)


def flag(*, add: bool, form: int, kind: Kind) -> int:
    return add | form << 1 | KIND_BITS[kind] << 3


def form_of_flag(value: int) -> int:
    return value >> 1 & 3


def kind_of_flag(value: int) -> int:
    """As in ``KIND_BITS``."""
    return value >> 3 & 3


def pack_chunk(
    flags: bytes, times: list[int], values: Sequence[str], ordered: list[int] | None = None
) -> bytes:
    """The body of 1 to 65,535 identities.

    ``times`` are microseconds since 1970; ``ordered`` are the same, sorted, where they are at hand.
    """
    return _packed(flags, times, ordered or sorted(times), "\n".join(values).encode())


def join_chunks(chunks: Sequence[ChunkBody]) -> bytes:
    """One body with the identities of several, in their order: 65,535 at most.

    Raises UnreadableBody for text that is not UTF-8: a flush could not read it either.
    """
    times = [moment for chunk in chunks for moment in chunk.times.all_us(len(chunk.flags))]
    text = b"\n".join([chunk.text for chunk in chunks])
    try:
        text.decode()
    except UnicodeDecodeError:
        raise UnreadableBody("a staged chunk is malformed: not UTF-8") from None
    return _packed(b"".join([chunk.flags for chunk in chunks]), times, sorted(times), text)


def _packed(flags: bytes, times: list[int], ordered: list[int], text: bytes) -> bytes:
    first_us = ordered[0]
    width = (ordered[-1] - first_us).bit_length() + 7 >> 3
    low = _little_endian(array("q", times)).tobytes()
    shape = VERSION | width | (IN_ORDER if times == ordered else 0)
    parts = [_HEADER.pack(shape, first_us, len(flags)), flags]
    parts += [low[place::8] for place in range(width)]
    parts.append(text)
    return b"".join(parts)


def unpack_chunk(body: bytes) -> ChunkBody:
    """What ``pack_chunk`` packed. Raises UnreadableBody when it is malformed."""
    try:
        shape, first_us, count = _HEADER.unpack_from(body)
    except struct.error:
        raise UnreadableBody("a staged chunk is cut short") from None
    width = shape & 15
    if shape & 7 << 4 != VERSION or width > 8:
        raise UnreadableBody("a staged chunk has an unknown version: was another one here?")
    flags_end = _HEADER.size + count
    times_end = flags_end + width * count
    flags, low, text = body[_HEADER.size : flags_end], body[flags_end:times_end], body[times_end:]
    if len(body) < times_end or not 0 < count == text.count(b"\n") + 1:
        raise UnreadableBody("a staged chunk is not as long as it says")
    return ChunkBody(flags, Times(bool(shape & IN_ORDER), first_us, width, low), text)


def _little_endian(times: array[int]) -> array[int]:
    if sys.byteorder == "big":
        times.byteswap()
    return times


def pack_digests(digests: list[bytes], *, only_sha1: bool = False) -> bytes:
    """Digests of 16, 20 or 32 bytes; their order is kept within each width.

    ``only_sha1``: the caller knows that all have 20, so that not each of them is looked at.
    """
    if only_sha1:
        return _COUNTS.pack(0, len(digests), 0) + b"".join(digests)
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
