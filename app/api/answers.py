"""Answers: what is said of the events of a call, each with its index, field and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from pydantic import BaseModel, Field

from app.drafting import Rejection
from app.formats import CallRead
from app.formats.own import EventsRead
from app.formats.reading import MOST_TOLD, MessageFault
from app.remembering import Outcome


class EventError(BaseModel):
    """Something that could not be used. Its value is never repeated."""

    index: int = Field(description="of the event, or message, in the body; from 0", examples=[0])
    field: str = Field(examples=["email"])
    reason: str = Field(examples=["must be text"])
    rejected: bool = Field(
        description="true: the whole event was not accepted; false: only this part was left out"
    )


class EventsAnswer(BaseModel):
    """What became of a body. Everything accepted is durable when this is answered."""

    accepted: int = Field(description="events accepted", examples=[2])
    rejected: int = Field(description="events, or messages, not accepted", examples=[0])
    duplicates: int = Field(0, description="messages whose id was accepted within a week")
    ignored: dict[str, int] = Field(
        default={}, description="what is no membership change, or is not forwarded, by reason"
    )
    noted: dict[str, int] = Field(
        default={}, description="doubts in spite of which something was accepted, by reason"
    )
    errors: list[EventError] = []
    errors_not_listed: int = Field(0, description="further ones, beyond those that are listed")


def answer_for(call: CallRead, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The answer to a call of messages, given the outcome of each that could be read."""
    refused = call.unreadable.total() + sum(read.refused.total() for read in call.messages)
    rejections = (
        (read.position, rejection)
        for read, outcome in zip(call.messages, outcomes, strict=True)
        for rejection in outcome.rejections
    )
    return {
        "accepted": sum(outcome.accepted for outcome in outcomes),
        "duplicates": sum(outcome.duplicate for outcome in outcomes),
        "ignored": _by_reason(call.ignored),
        "noted": _by_reason(call.noted),
        **_told(call.faults, refused, call.unreadable.total(), rejections),
    }


def answer_for_events(read: EventsRead, outcome: Outcome) -> dict[str, Any]:
    """The answer to a body of our own form."""
    rejections = ((read.positions[each.position], each) for each in outcome.rejections)
    return {
        "accepted": outcome.accepted,
        "duplicates": 0,
        "ignored": {},
        "noted": {},
        **_told(read.faults, read.refused.total(), read.rejected, rejections),
    }


def _told(
    faults: Iterable[MessageFault],
    refused: int,
    unreadable: int,
    rejections: Iterable[tuple[int, Rejection]],
) -> dict[str, Any]:
    """What could not be used: counted, and listed as far as people may read it.

    ``refused`` faults there were at reading, of which ``unreadable`` were whole messages.
    """
    errors = list(map(_from_fault, faults))
    rejected, total = unreadable, refused
    for index, rejection in rejections:
        rejected += rejection.whole
        total += 1
        if len(errors) < MOST_TOLD:
            errors.append(_from_rejection(index, rejection))
    return {
        "rejected": rejected,
        "errors": sorted(errors, key=itemgetter("index")),
        "errors_not_listed": total - len(errors),
    }


def status_of(answer: dict[str, Any]) -> int:
    """422 where nothing of a body could be used, so that the sender of one bad event notices."""
    return 422 if answer["rejected"] and not answer["accepted"] + answer["duplicates"] else 200


def _from_fault(fault: MessageFault) -> dict[str, Any]:
    return {
        "index": fault.position,
        "field": fault.field,
        "reason": fault.reason,
        "rejected": fault.whole,
    }


def _from_rejection(index: int, rejection: Rejection) -> dict[str, Any]:
    return {
        "index": index,
        "field": rejection.field,
        "reason": rejection.reason,
        "rejected": rejection.whole,
    }


def _by_reason(counts: Counter[str]) -> dict[str, int]:
    return dict(counts.most_common())
