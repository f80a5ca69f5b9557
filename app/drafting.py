"""Drafting: sort the events of one call into chunks, one per audience. Pure, and intake's hot loop.

Each identity is judged alone: junk becomes a rejection with the place and the reason, and its
neighbours go on. An event without any usable identity is rejected whole.

Most calls hold plain addresses and ids only. One regular expression over all values of a call says
so, several times faster than one match a value; where it does not, the chunks with something else
in them are judged value by value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from app.bodies import Column, flag
from app.events import Kind, MembershipEvent, Operation
from app.identities import RAW, all_addresses, all_device_ids, form_of, why_junk

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
    """A chunk in the making: the positions of its events, and a column of identities per list."""

    audience_id: int
    messages: list[int]
    email: Column
    maid: Column


_FLAGS = {
    (operation, kind, form): flag(add=operation is Operation.ADD, form=form, kind=kind)
    for operation in Operation
    for kind in Kind
    for form in range(4)
}
_RAW_EMAIL_FLAG = {operation: _FLAGS[operation, Kind.EMAIL, RAW] for operation in Operation}
_RAW_FLAG = {(o, k): _FLAGS[o, k, RAW] for o in Operation for k in Kind}


def draft_chunks(
    events: Sequence[MembershipEvent],
    audience_ids: Mapping[str, int],
    unusable: Mapping[str, str],
    arrived_us: int,
) -> tuple[list[Draft], list[Rejection]]:
    """Chunks with every usable identity, and a rejection for everything else, in order.

    ``unusable`` gives the reason for audiences that are not in ``audience_ids``. A time after
    ``arrived_us`` counts as ``arrived_us``: an event from the future would win over all that
    follow it.
    """
    growing: dict[str, Draft] = {}
    drafts: list[Draft] = []
    rejections: list[Rejection] = []
    email_kind, raw_email_flag, raw_flag = Kind.EMAIL, _RAW_EMAIL_FLAG, _RAW_FLAG
    for position, (audience, operation, people, occurred_at_us) in enumerate(events):
        draft = growing.get(audience)
        if draft is None:
            if audience in unusable:
                rejections.append(Rejection(position, "audience", unusable[audience], whole=True))
                continue
            draft = growing[audience] = _open_draft(audience_ids[audience])
        count = len(people)
        if not 0 < count <= EVENT_IDENTITIES:
            rejections.append(_not_one_person(position, count))
            continue
        moment = occurred_at_us
        if moment is None or moment > arrived_us:
            moment = arrived_us
        _, messages, (e_flags, e_times, e_values), (m_flags, m_times, m_values) = draft
        for kind, value in people:
            if kind is email_kind:
                e_flags.append(raw_email_flag[operation])
                e_times.append(moment)
                e_values.append(value.strip())
            else:
                m_flags.append(raw_flag[operation, kind])
                m_times.append(moment)
                m_values.append(value.strip())
        messages.append(position)
        if len(messages) >= CHUNK_MESSAGES or (
            count > 2 and len(e_values) + len(m_values) >= CHUNK_IDENTITIES
        ):
            drafts.append(growing.pop(audience))
    drafts += growing.values()
    if not _all_raw(drafts):
        drafts = [_judge(draft, events, arrived_us, rejections) for draft in drafts]
        rejections.sort(key=lambda rejection: rejection.position)
    return [draft for draft in drafts if draft.messages], rejections


def _open_draft(audience_id: int) -> Draft:
    return Draft(audience_id, [], Column(bytearray(), [], []), Column(bytearray(), [], []))


def _not_one_person(position: int, count: int) -> Rejection:
    reason = "at least one identity is needed"
    if count:
        reason = f"more than {EVENT_IDENTITIES:,} identities are no one person's"
    return Rejection(position, ANY_IDENTITY, reason, whole=True)


def _all_raw(drafts: Iterable[Draft]) -> bool:
    """True when all values of some chunks are plain addresses and advertising ids."""
    emails = list(chain.from_iterable(draft.email.values for draft in drafts))
    maids = list(chain.from_iterable(draft.maid.values for draft in drafts))
    return (not emails or all_addresses("\n".join(emails), len(emails))) and (
        not maids or all_device_ids("\n".join(maids), len(maids))
    )


def _judge(
    draft: Draft,
    events: Sequence[MembershipEvent],
    arrived_us: int,
    rejections: list[Rejection],
) -> Draft:
    """The draft as it is when all of it is plain; else made anew, without its junk."""
    if _all_raw([draft]):
        return draft
    judged = _open_draft(draft.audience_id)
    for position in draft.messages:
        _, operation, people, occurred_at_us = events[position]
        moment = arrived_us if occurred_at_us is None else min(occurred_at_us, arrived_us)
        good = False
        for kind, raw in people:
            value = raw.strip()
            form = form_of(kind, value)
            if form:
                flags, times, values = judged.email if kind is Kind.EMAIL else judged.maid
                flags.append(_FLAGS[operation, kind, form])
                times.append(moment)
                values.append(value)
                good = True
            else:
                reason = why_junk(kind, value)
                rejections.append(Rejection(position, kind.value, reason, whole=False))
        if good:
            judged.messages.append(position)
        else:
            rejections[-1] = rejections[-1]._replace(whole=True)
    return judged
