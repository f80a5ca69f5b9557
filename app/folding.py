"""Fold and cut: from what was read to the batches of one upload. Pure.

Hash first, then fold by (list, digest): two spellings of one address, or an id that came as IDFA
and as GAID, are one identity. Of each identity the operation with the latest ``occurred_at``
decides, ties by arrival (promise 2). REMOVEs go before ADDs, and no identity stands in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, compress
from typing import NamedTuple

from app.bodies import KIND_BITS, ChunkBody, Times, form_of_flag, kind_of_flag
from app.errors import UnreadableBody
from app.events import Kind, ListType
from app.identities import OTHER_DIGEST, RAW, cased, hash_values

# a byte for each flag, for bytes.translate
_ADDS = bytes(flag & 1 for flag in range(256))
_FORM = bytes(form_of_flag(flag) for flag in range(256))
_NOT = bytes(not flag for flag in range(256))
_IN_EMAIL = bytes(kind_of_flag(flag) == KIND_BITS[Kind.EMAIL] for flag in range(256))
_IN_LIST = {ListType.EMAIL: _IN_EMAIL, ListType.MAID: _IN_EMAIL.translate(_NOT)}


class Folded(NamedTuple):
    """What became of the identities of one list: read = not forwarded + folded + the digests."""

    read: int
    not_forwarded: int
    folded: int
    adds: list[bytes]
    removes: list[bytes]
    only_sha1: bool = False
    """Known to hold no digest of another width."""


class Folder:
    """Hashes the chunks of one audience in order of arrival, then folds them, list by list."""

    def __init__(
        self, *, forward: Mapping[ListType, bool], forward_other_digests: bool, case: str
    ) -> None:
        self._case = case
        self._forwarded = bytes(
            any(forward[name] and _IN_LIST[name][flag] for name in ListType)
            and (forward_other_digests or _FORM[flag] != OTHER_DIGEST)
            for flag in range(256)
        )
        self._flags = bytearray()
        self._times: list[tuple[int, Times]] = []
        self._in_order, self._last_us = True, -(1 << 63)
        self._digests: list[bytes] = []
        """Of what is forwarded only."""
        self._only_sha1 = True

    def take(self, chunks: Sequence[ChunkBody]) -> None:
        """Hash the identities of some chunks; what is not forwarded is only counted.

        Raises UnreadableBody for text that is not UTF-8.
        """
        for chunk in chunks:
            times = chunk.times
            self._times.append((len(chunk.flags), times))
            self._in_order &= times.in_order and self._last_us <= times.first_us
            self._last_us = times.last_us
        flags = b"".join([chunk.flags for chunk in chunks])
        self._flags += flags
        values = self._lines(b"\n".join([chunk.text for chunk in chunks]), flags)
        forwarded = flags.translate(self._forwarded)
        if 0 in forwarded:
            values = list(compress(values, forwarded))
            flags = bytes(compress(flags, forwarded))
        forms = flags.translate(_FORM)
        self._only_sha1 &= OTHER_DIGEST not in forms
        self._digests += _digests(values, forms)

    def _lines(self, text: bytes, flags: bytes) -> list[bytes]:
        """Each value in the case in which it is hashed: addresses lower, device ids as is set."""
        try:
            values = cased(text, "lower")
            if self._case == "lower":
                return values
            is_email = flags.translate(_IN_LIST[ListType.EMAIL])
            as_set = cased(text, self._case)
        except UnicodeDecodeError:
            raise UnreadableBody("a staged chunk is malformed: not UTF-8") from None
        return [
            address if email else device
            for email, address, device in zip(is_email, values, as_set, strict=True)
        ]

    def fold(self) -> dict[ListType, Folded]:
        """The deciding operation of each identity, by list; what was gathered is given up."""
        forwarded = self._flags.translate(self._forwarded)
        flags, digests = bytes(self._flags), self._digests
        if 0 in forwarded:
            flags = bytes(compress(flags, forwarded))
        if not self._in_order:
            moments = chain.from_iterable(times.all_us(count) for count, times in self._times)
            at = list(compress(moments, forwarded))
            order = sorted(range(len(at)), key=at.__getitem__)  # stable: ties by arrival
            digests = [digests[place] for place in order]
            flags = bytes([flags[place] for place in order])
        self._digests = []
        return {name: self._fold_list(name, digests, flags) for name in ListType}

    def _fold_list(self, name: ListType, digests: list[bytes], flags: bytes) -> Folded:
        mine = flags.translate(_IN_LIST[name])
        adding = compress(flags.translate(_ADDS), mine)
        deciding = dict(zip(compress(digests, mine), adding, strict=True))
        adds = bytes(deciding.values())
        read, kept = self._flags.translate(_IN_LIST[name]).count(1), mine.count(1)
        return Folded(
            read=read,
            not_forwarded=read - kept,
            folded=kept - len(deciding),
            adds=list(compress(deciding, adds)),
            removes=list(compress(deciding, adds.translate(_NOT))),
            only_sha1=self._only_sha1,
        )


def _digests(values: list[bytes], forms: bytes) -> list[bytes]:
    """Each value's digest in order: hashed when raw, passed through when it came hashed."""
    if forms.count(RAW) == len(forms):
        return hash_values(values)
    hashed = iter(hash_values(compress(values, map(RAW.__eq__, forms))))
    return [
        next(hashed) if form == RAW else bytes.fromhex(value.decode())
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
