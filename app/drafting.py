"""Drafting: sort the events of one call into chunks, one per audience. Pure, and intake's hot loop.

Each identity is judged alone: junk becomes a rejection with the place and the reason, and its
neighbours go on. An event without any usable identity is rejected whole.

Most calls hold plain addresses and ids only. One look at all values of a call says so, many times
faster than one at each; where it does not, the chunks with something else in them are judged value
by value.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from itertools import chain, compress
from typing import Any, NamedTuple

from app.bodies import KIND_BITS, flag, kind_of_flag
from app.events import Kind, MembershipEvent, Operation
from app.identities import all_addresses, all_device_ids, form_of, why_junk
from app.plain_events import RAW_FLAGS, PlainEvents

CHUNK_MESSAGES = 10_000
CHUNK_IDENTITIES = 20_000
"""A chunk stays near 1 MiB: intake's transactions must be short, or the cut starves."""
EVENT_IDENTITIES = 1_000
"""More identities than this are no one person's."""
ANY_IDENTITY = "email, idfa, gaid"


class Rejection(NamedTuple):
    """An event, or one identity of it (``whole`` is false), that could not be accepted."""

    position: int
    """Index of the event among those handed in."""
    field: str
    reason: str
    whole: bool


class Draft(NamedTuple):
    """A chunk in the making: how many messages, and their identities in parallel columns."""

    audience_id: int
    messages: int
    flags: bytes
    times: list[int]
    ordered: list[int]
    """The times again, sorted."""
    values: list[str]

    @property
    def emails(self) -> int:
        """How many of the identities are for the EMAIL list."""
        return self.flags.translate(_IS_EMAIL).count(1)


_FLAGS = {
    (operation, kind, form): flag(add=operation is Operation.ADD, form=form, kind=kind)
    for operation in Operation
    for kind in Kind
    for form in range(4)
}
_IS_EMAIL = bytes(kind_of_flag(value) == KIND_BITS[Kind.EMAIL] for value in range(256))
_IS_DEVICE = bytes(not is_email for is_email in _IS_EMAIL)


class Part(NamedTuple):
    """Some events of a call, sorted by audience: what makes at most one chunk for each."""

    start: int
    """The position of the first of its events in the call."""
    events: Sequence[MembershipEvent]
    cells: dict[str, list[Any]]
    """Three for each identity, one after another: moment, flag of a plain value, value."""
    further: Counter[str]
    """How many identities are not the first of their event."""
    odd: set[str]
    """Audiences with an event that is no one person's."""


def sort_events(events: Sequence[MembershipEvent], start: int = 0) -> list[Part]:
    """Sort the events of a call by audience, in as many parts as the size of a chunk asks for."""
    if len(events) > CHUNK_MESSAGES:
        firsts = range(0, len(events), CHUNK_MESSAGES)
        parts = [sort_events(events[at : at + CHUNK_MESSAGES], start + at) for at in firsts]
        return list(chain.from_iterable(parts))
    part = _sort(events, start)
    if len(events) > 1 and max(map(len, part.cells.values()), default=0) > 3 * CHUNK_IDENTITIES:
        half = len(events) // 2
        return sort_events(events[:half], start) + sort_events(events[half:], start + half)
    return [part]


def _sort(events: Sequence[MembershipEvent], start: int) -> Part:
    cells: defaultdict[str, list[Any]] = defaultdict(list)
    further: Counter[str] = Counter()
    odd: set[str] = set()
    if isinstance(events, PlainEvents):
        columns = events.moments, events.flags, events.values
        if len({*events.audiences}) == 1:
            cells[events.audiences[0]] += chain.from_iterable(zip(*columns, strict=True))
            return Part(start, events, cells, further, odd)
        for audience, cell in zip(events.audiences, zip(*columns, strict=True), strict=True):
            flat = cells[audience]
            flat += cell
        return Part(start, events, cells, further, odd)
    raw_flags = RAW_FLAGS
    for audience, operation, people, moment in events:
        if len(people) == 1:
            ((kind, value),) = people
            flat = cells[audience]
            flat += (moment, raw_flags[operation][kind], value)
        elif 0 < len(people) <= EVENT_IDENTITIES:
            further[audience] += len(people) - 1
            flat = cells[audience]
            for kind, value in people:
                flat += (moment, raw_flags[operation][kind], value)
        else:
            odd.add(audience)
    return Part(start, events, cells, further, odd)


def audiences_of(parts: Iterable[Part]) -> set[str]:
    return set().union(*(part.cells.keys() | part.odd for part in parts))


class _Known(NamedTuple):
    audience_ids: Mapping[str, int]
    unusable: Mapping[str, str]
    arrived_us: int

    def moment(self, occurred_at_us: int | None) -> int:
        if occurred_at_us is None:
            return self.arrived_us
        return max(0, min(occurred_at_us, self.arrived_us))


def draft_chunks(
    parts: Iterable[Part],
    audience_ids: Mapping[str, int],
    unusable: Mapping[str, str],
    arrived_us: int,
) -> tuple[list[Draft], list[Rejection]]:
    """Chunks with every usable identity, and a rejection for everything else, in order.

    ``unusable`` gives the reason for audiences that are not in ``audience_ids``. A time after
    ``arrived_us`` counts as ``arrived_us``: an event from the future would win over all that
    follow it. A time before 1970 counts as 1970.
    """
    known = _Known(audience_ids, unusable, arrived_us)
    drafts: list[Draft] = []
    rejections: list[Rejection] = []
    for part in parts:
        odd = part.odd | (part.cells.keys() & unusable.keys())
        hopeful = {
            audience: _all_as_raw(known, audience, flat, part.further.get(audience, 0))
            for audience, flat in part.cells.items()
            if audience not in odd
        }
        if not _all_raw(hopeful.values()):
            odd |= {audience for audience, draft in hopeful.items() if not _all_raw([draft])}
        drafts += [draft for audience, draft in hopeful.items() if audience not in odd]
        if odd:
            drafts += _judge(known, part, odd, rejections)
    return drafts, rejections


def _all_as_raw(known: _Known, audience: str, flat: list[Any], further: int) -> Draft:
    """The draft of an audience whose values are plain; whether they are is yet to be seen."""
    times = flat[0::3]
    try:
        ordered = sorted(times)
        as_they_are = ordered[0] >= 0 and ordered[-1] <= known.arrived_us
    except TypeError:  # one of them is None
        as_they_are = False
    if not as_they_are:
        times = list(map(known.moment, times))
        ordered = sorted(times)
    values = list(map(str.strip, flat[2::3]))
    messages = len(values) - further
    return Draft(known.audience_ids[audience], messages, bytes(flat[1::3]), times, ordered, values)


def _all_raw(drafts: Collection[Draft]) -> bool:
    """True when all values of some drafts are plain addresses and advertising ids."""
    flags = b"".join([draft.flags for draft in drafts])
    values = list(chain.from_iterable([draft.values for draft in drafts]))
    emails = list(compress(values, flags.translate(_IS_EMAIL)))
    devices = list(compress(values, flags.translate(_IS_DEVICE)))
    return all_addresses("\n".join(emails), len(emails)) and all_device_ids(
        "\n".join(devices), len(devices)
    )


def _judge(
    known: _Known, part: Part, audiences: Set[str], rejections: list[Rejection]
) -> list[Draft]:
    """Draft some audiences value by value; appends a rejection for each thing that is junk."""
    kept: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    messages: Counter[str] = Counter()
    for position, event in enumerate(part.events, part.start):
        if event.audience in audiences:
            good, refused = _judge_event(known, position, event)
            kept[event.audience] += good
            messages[event.audience] += bool(good)
            rejections += refused
    return [
        Draft(
            known.audience_ids[audience],
            messages[audience],
            bytes(flags),
            [*times],
            sorted(times),
            [*values],
        )
        for audience, identities in kept.items()
        if identities
        for flags, times, values in [zip(*identities, strict=True)]
    ]


def _judge_event(
    known: _Known, position: int, event: MembershipEvent
) -> tuple[list[tuple[int, int, str]], list[Rejection]]:
    """Flag, moment and value of each usable identity, and what is to be said of the others."""
    audience, operation, people, occurred_at_us = event
    if audience in known.unusable:
        return [], [Rejection(position, "audience", known.unusable[audience], whole=True)]
    if not 0 < len(people) <= EVENT_IDENTITIES:
        return [], [_not_one_person(position, len(people))]
    moment = known.moment(occurred_at_us)
    good: list[tuple[int, int, str]] = []
    refused: list[Rejection] = []
    for kind, raw in people:
        value = raw.strip()
        form = form_of(kind, value)
        if form:
            good.append((_FLAGS[operation, kind, form], moment, value))
        else:
            refused.append(Rejection(position, kind.value, why_junk(kind, value), whole=False))
    if not good:
        refused[-1] = refused[-1]._replace(whole=True)
    return good, refused


def _not_one_person(position: int, count: int) -> Rejection:
    reason = "at least one identity is needed"
    if count:
        reason = f"more than {EVENT_IDENTITIES:,} identities are no one person's"
    return Rejection(position, ANY_IDENTITY, reason, whole=True)
