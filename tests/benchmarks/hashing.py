"""Normalise, hash and batch 100,000 raw events, in memory: what is left when storage is free.

From built events to the bytes of each request's body: check, pack, unpack, hash, fold, cut, hex,
JSON. Shown beside SHA-1 alone and a naive loop, which neither checks nor packs. Design section 9
wants it at least 2.5 times faster than the fastest peer that can be run. That one took about six
times SHA-1 alone on the design's machine, so ours may take 2.4 times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha1
from time import perf_counter

import orjson

from app.bodies import hex_records, pack_chunk, pack_digests, unpack_chunk
from app.drafting import draft_chunks, sort_events
from app.events import Kind, ListType, MembershipEvent, Operation
from app.folding import Folder, cut_batches
from app.pinterest.client import _with_records
from tests.benchmarks import harness
from tests.benchmarks.events import Sample
from tests.benchmarks.harness import Pace, Row, Sizes, at_most
from tests.benchmarks.installation import Ground
from tests.benchmarks.textbook import Request

EVENTS = 100_000
PER_REQUEST = 1_900
MOST_TIMES = 2.4
"""SHA-1 alone: the peer's six times, 2.5 times faster."""
ARRIVED_US = 1 << 60


def draft(events: list[MembershipEvent]) -> list[bytes]:
    """Intake's half: the plain bodies of one audience's chunks."""
    audience_ids = {event.audience: 1 for event in events[:1]}
    drafts, _ = draft_chunks(sort_events(events), audience_ids, {}, ARRIVED_US)
    return [pack_chunk(each.flags, each.times, each.values, each.ordered) for each in drafts]


def batch(bodies: list[bytes]) -> list[tuple[str, bytes]]:
    """The half of flush and delivery: the list and the body of each request."""
    folder = Folder(forward=dict.fromkeys(ListType, True), forward_other_digests=True, case="lower")
    folder.take([unpack_chunk(body) for body in bodies])
    return [
        (name, _body(operation, hex_records(pack_digests(digests, only_sha1=folded.only_sha1))))
        for name, folded in folder.fold().items()
        for operation, digests in cut_batches(folded, PER_REQUEST)
    ]


def _body(operation: str, records: bytes) -> bytes:
    """As the client makes it."""
    return _with_records(orjson.dumps({"operation_type": operation}), records)


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


def body_by_the_book(request: Request) -> bytes:
    """As ``json=`` makes it."""
    body = {"operation_type": request.operation, "records": ",".join(request.digests)}
    return json.dumps(body).encode()


def measure(_: Ground, sizes: Sizes) -> list[Row]:
    sample = Sample(EVENTS, audiences=1)
    events = sample.events(0, EVENTS)
    bodies = draft(events)
    harness.keep_out_of_collections()
    taken = harness.interleave(
        max(5, sizes.rounds),
        {
            "events to bodies": lambda: _pace(lambda: batch(draft(events))),
            "draft and pack": lambda: _pace(lambda: draft(events)),
            "hash, fold and batch": lambda: _pace(lambda: batch(bodies)),
            "loop": lambda: _pace(lambda: [body_by_the_book(request) for request in loop(events)]),
            "SHA-1 alone": lambda: harness.sha1_alone(sample.values),
        },
    )
    return _rows(taken, sizes)


def _rows(taken: dict[str, list[Pace]], sizes: Sizes) -> list[Row]:
    alone = taken["SHA-1 alone"]

    def by_time(what: str, name: str) -> Row:
        ours = taken[name]
        return Row(
            what,
            [pace.us for pace in ours],
            "us",
            ours=harness.per_event(ours),
            sha1=harness.per_event(alone),
            rounds={
                "ours us": [pace.us for pace in ours],
                "SHA-1 alone us": [pace.us for pace in alone],
            },
        )

    whole = by_time("normalise, hash and batch, an event", "events to bodies")
    times = [ours.us / sha1.us for ours, sha1 in zip(taken["events to bodies"], alone, strict=True)]
    return [
        whole,
        replace(
            whole,
            what="  as many times SHA-1 alone",
            figures=times,
            unit="x",
            must=at_most(MOST_TIMES) if sizes.judged else None,
        ),
        by_time("  of that at intake", "draft and pack"),
        by_time("  of that in flush and delivery", "hash, fold and batch"),
        harness.compared(
            "normalise, hash and batch / a naive loop",
            taken["events to bodies"],
            taken["loop"],
            alone,
            None,
        ),
    ]


def _pace(step: Callable[[], object]) -> Pace:
    start = perf_counter()
    step()
    return Pace(EVENTS, perf_counter() - start)
