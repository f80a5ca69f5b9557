"""Drafting: sort the events of one call into chunks, one per audience. Pure, and intake's hot loop.

Each identity is judged alone: junk becomes a rejection with the place and the reason, and its
neighbours go on. An event without any usable identity is rejected whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from app import identities
from app.bodies import flag
from app.events import Kind, MembershipEvent, Operation

CHUNK_MESSAGES = 10_000
CHUNK_IDENTITIES = 20_000
"""A chunk stays near 1 MiB: intake's transactions must be short, or the cut starves."""


class Rejection(NamedTuple):
    """An event, or one identity of it (``whole`` is false), that could not be accepted."""

    position: int
    """Index of the event among those handed in."""
    field: str
    reason: str
    whole: bool


class Draft(NamedTuple):
    """A chunk in the making: per list three columns in parallel, in order of arrival."""

    audience_id: int
    messages: list[int]
    """The index of each event that stands in it."""
    email_flags: list[int]
    email_times: list[int]
    email_values: list[str]
    maid_flags: list[int]
    maid_times: list[int]
    maid_values: list[str]


_EMAIL_FLAGS = {
    operation: [
        flag(add=operation is Operation.ADD, form=form, kind=Kind.EMAIL) for form in range(4)
    ]
    for operation in Operation
}
_MAID_FLAGS = {
    (operation, kind): [
        flag(add=operation is Operation.ADD, form=form, kind=kind) for form in range(4)
    ]
    for operation in Operation
    for kind in (Kind.IDFA, Kind.GAID)
}


def draft_chunks(  # noqa: C901 one loop on purpose: a call per event would cost as much as it does
    events: Iterable[MembershipEvent],
    audience_ids: Mapping[str, int],
    unusable: Mapping[str, str],
    arrived_us: int,
) -> tuple[list[Draft], list[Rejection]]:
    """Chunks with every usable identity, and a rejection for everything else.

    ``unusable`` gives the reason for audiences that are not in ``audience_ids``. A time after
    ``arrived_us`` counts as ``arrived_us``: an event from the future would win over all that
    follow it.
    """
    drafts: dict[str, Draft] = {}
    full: list[Draft] = []
    rejections: list[Rejection] = []
    is_address, is_device_id = identities.match_address, identities.match_device_id
    email_kind, email_flags, maid_flags = Kind.EMAIL, _EMAIL_FLAGS, _MAID_FLAGS
    for index, (audience, operation, people, occurred_at_us) in enumerate(events):
        draft = drafts.get(audience)
        if draft is None:
            if audience in unusable:
                rejections.append(Rejection(index, "audience", unusable[audience], whole=True))
                continue
            draft = drafts[audience] = Draft(audience_ids[audience], [], [], [], [], [], [], [])
        _, messages, e_flags, e_times, e_values, m_flags, m_times, m_values = draft
        if occurred_at_us is None or occurred_at_us > arrived_us:
            occurred_at_us = arrived_us  # noqa: PLW2901
        before = len(e_values) + len(m_values)
        for kind, raw in people:
            value = raw.strip()
            if kind is email_kind:
                match = is_address(value)
                if match is not None:
                    e_flags.append(email_flags[operation][match.lastindex])  # type: ignore[index]
                    e_times.append(occurred_at_us)
                    e_values.append(value)
                    continue
            else:
                match = is_device_id(value)
                if match is not None:
                    m_flags.append(maid_flags[operation, kind][match.lastindex])  # type: ignore[index]
                    m_times.append(occurred_at_us)
                    m_values.append(value)
                    continue
            reason = identities.why_junk(kind, value)
            rejections.append(Rejection(index, kind.value, reason, whole=False))
        if len(e_values) + len(m_values) == before:
            _reject_whole(rejections, index)
            continue
        messages.append(index)
        if len(messages) >= CHUNK_MESSAGES or before >= CHUNK_IDENTITIES:
            full.append(drafts.pop(audience))
    return full + [draft for draft in drafts.values() if draft.messages], rejections


def _reject_whole(rejections: list[Rejection], index: int) -> None:
    """No identity of the event is left: its last fault tells why."""
    if rejections and rejections[-1].position == index:
        rejections[-1] = rejections[-1]._replace(whole=True)
    else:
        reason = "at least one identity is needed"
        rejections.append(Rejection(index, "email, idfa, gaid", reason, whole=True))
