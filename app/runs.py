"""Runs: which neighbours among the chunks of an audience are to be joined. Pure.

Chunks are sorted into classes by size, and small ones are joined only into one of a larger class:
an event is packed anew once a class at most, and a few chunks of each class remain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from app.drafting import CHUNK_IDENTITIES
from app.folding import ChunkSize

LARGE = 4_096
"""A chunk of so many messages is not joined any more."""
GROWTH = 8
"""How many times larger each class is than the one before."""


def class_ends() -> list[int]:
    """Where the classes of size end, in messages: 8, 64, 512 and 4,096."""
    ends = [GROWTH]
    while ends[-1] * GROWTH <= LARGE:
        ends.append(ends[-1] * GROWTH)
    return ends


def runs(chunks: Sequence[ChunkSize], enough: int = LARGE) -> Iterator[list[ChunkSize]]:
    """The runs of neighbours to be joined, each into a chunk of a larger class.

    A run holds chunks below the end of a class only, and reaches it together, so every chunk in it
    rises by a class at least. It ends before it has more identities than intake puts in a chunk.
    """
    for is_small, neighbours in groupby(chunks, lambda chunk: chunk.messages < enough):
        if not is_small:
            continue
        rest: list[ChunkSize] = []
        messages = identities = 0
        for chunk in neighbours:
            if rest and identities + chunk.identities > CHUNK_IDENTITIES:
                rest, messages, identities = [], 0, 0
            rest.append(chunk)
            messages += chunk.messages
            identities += chunk.identities
            if messages >= enough:
                yield rest
                rest, messages, identities = [], 0, 0
        if enough > GROWTH and len(rest) > 1:
            yield from runs(rest, enough // GROWTH)
