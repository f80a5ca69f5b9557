"""Grouping: concurrent small calls of one way in share a commit; each is answered after it.

While one commit is under way, the calls that arrive wait for the next one, so nobody waits for a
timer: alone, a call is committed at once; among many, a commit carries all of them. Large calls are
a commit of their own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from app.errors import PinfoldError
from app.remembering import Message, Outcome, stage_messages
from app.staging import CALL_MESSAGES, Intake

AT_ONCE = 2
"""Commits of one way in under way at the same time: one is made while Postgres writes another."""


@dataclass
class _Call:
    messages: Sequence[Message]
    unreadable: Counter[str]
    answer: asyncio.Future[list[Outcome]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def size(self) -> int:
        return max(1, sum(len(message.events) for message in self.messages))


class Grouping:
    """The commits of one way in. To be used from one event loop."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self._waiting: list[_Call] = []
        self._committing: set[asyncio.Task[None]] = set()

    async def stage(self, messages: Sequence[Message], unreadable: Counter[str]) -> list[Outcome]:
        """Stage the messages of a call; returns after the commit, with an outcome for each.

        ``unreadable``: what came with them and was no message, by reason.
        Raises what ``stage_messages`` raises.
        """
        call = _Call(messages, unreadable)
        self._waiting.append(call)
        if len(self._committing) < AT_ONCE:
            self._committing.add(asyncio.create_task(self._commit()))
        return await call.answer

    async def _commit(self) -> None:
        """Commit group after group until nobody waits.

        It takes itself out in the same breath in which it finds nobody waiting: a task that counts
        as committing but has looked for the last time would leave the next call unanswered.
        """
        try:
            await self._commit_all()
        finally:
            self._committing.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _commit_all(self) -> None:
        while group := self._next_group():
            try:
                await self._commit_together(group)
            except PinfoldError as problem:
                _fail(group, problem)
            except Exception as problem:  # noqa: BLE001 told to the caller it belongs to
                if len(group) == 1:
                    _fail(group, problem)
                for call in group if len(group) > 1 else []:
                    await self._commit_alone(call)

    def _next_group(self) -> list[_Call]:
        """The calls that waited longest, as many as make one call of staging."""
        group: list[_Call] = []
        size = 0
        while self._waiting and (not group or size + self._waiting[0].size <= CALL_MESSAGES):
            size += self._waiting[0].size
            group.append(self._waiting.pop(0))
        return group

    async def _commit_together(self, group: list[_Call]) -> None:
        messages = [message for call in group for message in call.messages]
        unreadable = sum((call.unreadable for call in group), Counter[str]())
        outcomes = await asyncio.to_thread(
            stage_messages, self.intake, messages, unreadable=unreadable
        )
        at = 0
        for call in group:
            if not call.answer.done():  # whoever asked may have gone
                call.answer.set_result(outcomes[at : at + len(call.messages)])
            at += len(call.messages)

    async def _commit_alone(self, call: _Call) -> None:
        try:
            await self._commit_together([call])
        except Exception as problem:  # noqa: BLE001 told to the caller it belongs to
            _fail([call], problem)


def _fail(group: list[_Call], problem: Exception) -> None:
    for call in group:
        if not call.answer.done():
            call.answer.set_exception(problem)
