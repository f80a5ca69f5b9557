"""Taking in a call of messages: read in its format, meet its audiences, stage, answer, count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from app.accepting import meet_audiences, messages_of, unmet_mentions
from app.api.answers import answer_for
from app.api.body import BESIDE_THE_LOOP
from app.api.grouping import Grouping
from app.api.health import count_events
from app.api.problems import Refusal, later
from app.api.ways import Ways
from app.formats import FORMATS, CallRead, read_all
from app.formats.reading import Mention
from app.sources import Source

Read = TypeVar("Read")


async def beside_the_loop(ways: Ways, body: bytes, read: Callable[[], Read]) -> Read:
    """What ``read`` makes of a body; a large one is read in a thread."""
    if len(body) < BESIDE_THE_LOOP:
        return read()
    async with ways.reading:
        return await asyncio.to_thread(read)


def refuse_too_many(messages: Sequence[object], ways: Ways) -> None:
    """Raise Refusal (413) for more messages than one call may hold."""
    most = ways.deployment.settings.events_per_call
    if len(messages) > most:
        raise Refusal(413, f"the body holds {len(messages):,} messages, {most:,} may come at once")


def read_call(source: Source, messages: list[object], ways: Ways) -> CallRead:
    """What the messages say in the source's format. Raises Refusal for too many of them."""
    refuse_too_many(messages, ways)
    return read_all(FORMATS[source.format], messages, source.dialect)


async def meet(
    ways: Ways, grouping: Grouping, mentions: Sequence[Mention], *, activate: bool
) -> None:
    """Have the way in meet audiences that are new to it, and activate the unknown ones.

    Raises Refusal (503) when there are more of these than one call may activate: sent again, the
    call activates further ones.
    """
    if not mentions:
        return
    if not activate:
        await asyncio.to_thread(meet_audiences, grouping.intake, mentions, None)
        return
    async with ways.activating:
        left = await asyncio.to_thread(
            meet_audiences, grouping.intake, mentions, ways.doorbell.deliver
        )
    if left:
        raise later(f"{len(left):,} more audiences are new: send it again to activate them")


async def take(ways: Ways, source: Source, call: CallRead) -> dict[str, Any]:
    """Stage what was read; returns, after the commit, what is to be said of it."""
    grouping = ways.grouping(source.label, source.connection_id)
    mentions = unmet_mentions(grouping.intake, call)
    await meet(ways, grouping, mentions, activate=source.activate_unknown)
    messages = messages_of(call, source.id, ways.deployment.keyring)
    outcomes = await grouping.stage(messages, call.unreadable)
    answer = answer_for(call, outcomes)
    count_events(source.label, answer)
    return answer
