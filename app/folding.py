"""Fold and cut: from what was read to the batches of one upload. Pure.

Hash first, then fold by (list, digest): two spellings of one address, or an id that came as IDFA
and as GAID, are one identity. Of each identity the operation with the latest ``occurred_at``
decides, ties by arrival (promise 2). REMOVEs go before ADDs, and no identity stands in both.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from app.bodies import Column, form_of_flag
from app.identities import OTHER_DIGEST, RAW, hash_values

_ADD_BIT = bytes(flag & 1 for flag in range(256))
_FORM = bytes(form_of_flag(flag) for flag in range(256))


class Folded(NamedTuple):
    """What became of the identities of one list: read = not forwarded + folded + the digests."""

    read: int
    not_forwarded: int
    folded: int
    adds: list[bytes]
    removes: list[bytes]


class Folder:
    """Gathers the columns of one list in order of arrival, then folds them."""

    def __init__(self, *, forward: bool, forward_other_digests: bool, case: str) -> None:
        self._forward = forward
        self._forward_other_digests = forward_other_digests
        self._case = case
        self._read = 0
        self._digests: list[bytes] = []
        self._adds = bytearray()
        self._times: array[int] = array("q")

    def take(self, column: Column) -> None:
        """Hash one chunk's identities; what is not forwarded is only counted."""
        self._read += len(column.values)
        if not self._forward:
            return
        forms = bytes(column.flags.translate(_FORM))
        if OTHER_DIGEST in forms and not self._forward_other_digests:
            column = _without_other_digests(column, forms)
            forms = bytes(column.flags.translate(_FORM))
        self._digests += _digests(column.values, forms, self._case)
        self._adds += column.flags.translate(_ADD_BIT)
        self._times.extend(column.times)

    def fold(self) -> Folded:
        """The deciding operation of each identity; the gathered columns are given up."""
        digests, adds = self._digests, bytes(self._adds)
        if not all(map(operator.le, self._times, islice(self._times, 1, None))):
            order = sorted(
                range(len(digests)), key=self._times.__getitem__
            )  # stable: ties by arrival
            digests = [digests[place] for place in order]
            adds = bytes(adds[place] for place in order)
        deciding = dict(zip(digests, adds, strict=True))
        folded = Folded(
            read=self._read,
            not_forwarded=self._read - len(digests),
            folded=len(digests) - len(deciding),
            adds=[digest for digest, add in deciding.items() if add],
            removes=[digest for digest, add in deciding.items() if not add],
        )
        self._digests = []
        return folded


def _without_other_digests(column: Column, forms: bytes) -> Column:
    kept = [place for place, form in enumerate(forms) if form != OTHER_DIGEST]
    return Column(
        bytearray(column.flags[place] for place in kept),
        array("q", (column.times[place] for place in kept)),
        [column.values[place] for place in kept],
    )


def _digests(values: list[str], forms: bytes, case: str) -> list[bytes]:
    """Each value's digest in order: hashed when raw, passed through when it came hashed."""
    if forms.count(RAW) == len(forms):
        return hash_values(values, case)
    raw = [value for value, form in zip(values, forms, strict=True) if form == RAW]
    hashed = iter(hash_values(raw, case))
    return [
        next(hashed) if form == RAW else bytes.fromhex(value)
        for value, form in zip(values, forms, strict=True)
    ]


def cut_batches(folded: Folded, records_per_request: int) -> Iterator[tuple[str, list[bytes]]]:
    """Operation and digests of each request's worth, REMOVEs first."""
    for name, digests in (("REMOVE", folded.removes), ("ADD", folded.adds)):
        for start in range(0, len(digests), records_per_request):
            yield name, digests[start : start + records_per_request]


class ChunkSize(NamedTuple):
    id: int
    messages: int
    identities: int


def prefix(chunks: Iterator[ChunkSize], messages: int, identities: int) -> list[ChunkSize]:
    """The chunks from the oldest on that fit into one upload; the first always does."""
    taken: list[ChunkSize] = []
    for chunk in chunks:
        messages -= chunk.messages
        identities -= chunk.identities
        if taken and (messages < 0 or identities < 0):
            break
        taken.append(chunk)
    return taken
