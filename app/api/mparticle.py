"""mParticle's partner protocol over HTTP (event-formats, section 2).

mParticle sends 408, 429 and 500 to 504 again and nothing else, so whatever may succeed later gets
one of those, and a bad identity never fails its message. Registration needs no secret.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import Request

from app.api.access import shows_secret, unauthorised
from app.api.body import Limits, decode, read_body
from app.api.problems import Refusal
from app.api.subscriptions import answer_subscription
from app.api.taking import beside_the_loop, read_call, take
from app.api.ways import Ways
from app.doors import Door
from app.formats.mparticle import MEMBERSHIP
from app.formats.mparticle_answers import (
    REGISTRATION,
    SUBSCRIPTION,
    kind_of,
    membership_answer,
    registration_answer,
)

WANTED = "the source's secret: Authorization: Token SECRET"
OPEN_BODY = 64 << 10
"""Bytes that are read of somebody who did not show a secret: a registration is far smaller."""


async def deliver_mparticle(request: Request, ways: Ways, door: Door) -> dict[str, Any]:
    """The protocol's own answer to any of its messages; returned after the commit."""
    let_in = shows_secret(request, door)
    if let_in:
        await ways.refuse_over_backlog(door.source.connection_id)
        body = await read_body(request, ways.limits)
    else:
        body = await _read_open(request, ways)
    message = await beside_the_loop(ways, body, lambda: decode(body))
    kind = kind_of(message)
    now_ms = time.time_ns() // 1_000_000
    if kind == REGISTRATION:
        return registration_answer(message, now_ms)
    if not let_in:
        raise unauthorised(WANTED)
    source = door.source
    if kind == SUBSCRIPTION:
        return await asyncio.to_thread(answer_subscription, ways, source, message, now_ms)
    if kind != MEMBERSHIP:
        raise Refusal(400, "type: only registration, audience subscriptions and memberships")
    call = await beside_the_loop(ways, body, lambda: read_call(source, [message], ways))
    await take(ways, source, call)
    if call.unreadable:
        raise Refusal(400, f"{call.faults[0].field}: {call.faults[0].reason}")
    return membership_answer(message, now_ms)


async def _read_open(request: Request, ways: Ways) -> bytes:
    """What somebody sends who did not show a secret; longer than a registration, it wants one."""
    try:
        return await read_body(request, Limits(OPEN_BODY, ways.limits.seconds))
    except Refusal as refusal:
        raise unauthorised(WANTED) if refusal.status_code == 413 else refusal from None
