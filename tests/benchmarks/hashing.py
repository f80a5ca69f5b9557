"""Normalise, hash and batch 100,000 raw events, in memory: what is left when storage is free.

From built events to the records of each request: check, pack, unpack, hash, fold, cut, hex. Shown
beside SHA-1 alone and a naive loop, which neither checks nor packs. The peers that design section
9 compares with run elsewhere; the fastest took some six times SHA-1 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha1
from time import perf_counter

from app.bodies import hex_records, pack_chunk, pack_digests, unpack_chunk
from app.drafting import draft_chunks, sort_events
from app.events import Kind, ListType, MembershipEvent, Operation
from app.folding import Folder, cut_batches
from tests.benchmarks import harness
from tests.benchmarks.events import Sample
from tests.benchmarks.harness import Pace, Row, Sizes
from tests.benchmarks.installation import Ground
from tests.benchmarks.textbook import Request

EVENTS = 100_000
PER_REQUEST = 1_900
ARRIVED_US = 1 << 60


def draft(events: list[MembershipEvent]) -> list[bytes]:
    """Intake's half: the plain bodies of one audience's chunks."""
    audience_ids = {event.audience: 1 for event in events[:1]}
    drafts, _ = draft_chunks(sort_events(events), audience_ids, {}, ARRIVED_US)
    return [pack_chunk(each.flags, each.times, each.values) for each in drafts]


def batch(bodies: list[bytes]) -> list[tuple[str, str, bytes]]:
    """The flush's half: list, operation and records of each request."""
    folder = Folder(forward=dict.fromkeys(ListType, True), forward_other_digests=True, case="lower")
    folder.take([unpack_chunk(body) for body in bodies])
    return [
        (name, operation, hex_records(pack_digests(digests)))
        for name, folded in folder.fold().items()
        for operation, digests in cut_batches(folded, PER_REQUEST)
    ]


def loop(events: list[MembershipEvent]) -> Iterator[Request]:
    """The same without storage in between, an event at a time."""
    deciding: dict[str, dict[str, Operation]] = {"EMAIL": {}, "MAID": {}}
    for _, operation, people, _ in events:
        for kind, value in people:
            digest = sha1(value.strip().lower().encode()).hexdigest()
            deciding["EMAIL" if kind is Kind.EMAIL else "MAID"][digest] = operation
    for list_type, operations in deciding.items():
        for wanted in (Operation.REMOVE, Operation.ADD):
            digests = [each for each, operation in operations.items() if operation is wanted]
            for start in range(0, len(digests), PER_REQUEST):
                part = digests[start : start + PER_REQUEST]
                yield Request(list_type, wanted.name, part)


def measure(_: Ground, sizes: Sizes) -> list[Row]:
    sample = Sample(EVENTS, audiences=1)
    events = sample.events(0, EVENTS)
    bodies = draft(events)
    harness.keep_out_of_collections()
    taken = harness.interleave(
        max(5, sizes.rounds),
        {
            "draft and pack": lambda: _pace(lambda: draft(events)),
            "hash, fold and batch": lambda: _pace(lambda: batch(bodies)),
            "loop": lambda: _pace(lambda: [",".join(request.digests) for request in loop(events)]),
            "SHA-1 alone": lambda: harness.sha1_alone(sample.values),
        },
    )
    halves = zip(taken["draft and pack"], taken["hash, fold and batch"], strict=True)
    whole = [Pace(EVENTS, first.seconds + second.seconds) for first, second in halves]
    return [
        _beside(what, paces, taken)
        for what, paces in (
            ("normalise, hash and batch / a naive loop", whole),
            ("  of that at intake", taken["draft and pack"]),
            ("  of that in the flush", taken["hash, fold and batch"]),
        )
    ]


def _pace(step: Callable[[], object]) -> Pace:
    start = perf_counter()
    step()
    return Pace(EVENTS, perf_counter() - start)


def _beside(what: str, ours: list[Pace], taken: dict[str, list[Pace]]) -> Row:
    return harness.compared(what, ours, taken["loop"], taken["SHA-1 alone"], None)
