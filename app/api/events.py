"""``POST /v1/events``: our own form, for everything that has no form of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request, Response

from app.api.access import DOCUMENTED
from app.api.answers import EventsAnswer, answer_for_events, status_of
from app.api.body import decode_lines, read_body
from app.api.health import count_events
from app.api.problems import Problem, Refusal
from app.api.taking import beside_the_loop, meet, refuse_too_many
from app.api.ways import Ways
from app.connections import find_connection
from app.formats import messages_of
from app.formats.own import EventsRead, read_events
from app.formats.own_columns import read_whole
from app.formats.reading import PLAIN, Dialect, Mention
from app.remembering import Message, Outcome, key_of

router = APIRouter(tags=["events"], dependencies=DOCUMENTED)
LONGEST_KEY = 200
JSON = "application/json"

_EXAMPLE = {
    "audience": "31001",
    "operation": "add",
    "email": "ana.ruiz@example.org",
    "occurred_at": "2026-02-03T08:15:30Z",
}
_EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["audience", "operation"],
    "properties": {
        "audience": {"type": "string", "description": "its id in your system"},
        "operation": {"type": "string", "enum": ["add", "remove"]},
        "occurred_at": {
            "description": "ISO 8601, or epoch seconds or milliseconds; absent: now",
            "type": ["string", "number", "null"],
        },
        **{
            kind: {
                "description": f"{what}, or its MD5, SHA-1 or SHA-256 in hex; one or several",
                "anyOf": [
                    {"type": ["string", "null"]},
                    {"type": "array", "items": {"type": ["string", "null"]}},
                ],
            }
            for kind, what in (
                ("email", "an address"),
                ("idfa", "an Apple advertising id"),
                ("gaid", "a Google advertising id"),
            )
        },
    },
}
EVENTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {"anyOf": [_EVENT_SCHEMA, {"type": "array", "items": _EVENT_SCHEMA}]},
                "examples": {
                    "one": {"summary": "one event", "value": _EXAMPLE},
                    "several": {
                        "summary": "several events",
                        "value": [_EXAMPLE, {**_EXAMPLE, "operation": "remove"}],
                    },
                },
            },
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": "\n".join(
                    orjson.dumps({**_EXAMPLE, "operation": word}).decode()
                    for word in ("add", "remove")
                ),
            },
        },
    }
}
EVENTS_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": EventsAnswer, "description": "Accepted, at least in part."},
    422: {
        "model": EventsAnswer | Problem,
        "description": "None of the events could be accepted, or the call is not as described.",
    },
    **{
        status: {"model": Problem, "description": description}
        for status, description in {
            400: "The body is not JSON.",
            401: "No token, or none that is known.",
            403: "The token may not do this.",
            404: "There is no such connection.",
            408: "The body took too long.",
            409: "The key was used for another body.",
            413: "The body is too large.",
            415: "Packed with something else than gzip.",
            503: "Not now; send it again after Retry-After seconds.",
        }.items()
    },
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=LONGEST_KEY,
        description="The same key and body again within a week get the same answer and change "
        "nothing; the same key with another body is refused.",
    ),
]


@router.post(
    "/v1/events",
    responses=EVENTS_ANSWERS,
    openapi_extra=EVENTS_BODY,
    summary="Accept membership events",
)
async def post_events(
    request: Request,
    connection: Annotated[
        str | None, Query(description="Needed where several know the audience.")
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """One event, an array, or one a line; gzip too. Each is accepted or rejected for itself."""
    ways: Ways = request.app.state.ways
    token = await ways.access.token_of(request, "write")
    connection_id = token.connection_id
    if connection is not None and connection != token.connection:
        if connection_id is not None:  # whether there is such a one is not for this token to know
            raise Refusal(403, f"token {token.name} is good for {token.connection} only")
        row = await asyncio.to_thread(find_connection, ways.deployment, connection)
        connection_id = row.id
    way = OwnForm(
        f"token {token.name}",
        connection_id,
        f"token {token.id} over {connection_id}",
    )
    return await take_events(request, ways, way, idempotency_key)


@dataclass(frozen=True)
class OwnForm:
    """A way in that takes our own form."""

    label: str
    """As its receipts name it."""
    connection_id: int | None
    scope: str
    """Within it an idempotency key means one call."""
    dialect: Dialect = PLAIN
    activate_unknown: bool = False


async def take_events(
    request: Request, ways: Ways, way: OwnForm, idempotency_key: str | None
) -> Response:
    """Read, stage and answer a body of our own form."""
    await ways.refuse_over_backlog(way.connection_id)
    body = await read_body(request, ways.limits)
    read = await beside_the_loop(ways, body, lambda: _read(body, way.dialect, ways))
    grouping = ways.grouping(way.label, way.connection_id)
    if way.activate_unknown:
        new = {event.audience for event in read.events} - grouping.intake.audience_ids.keys()
        await meet(ways, grouping, [Mention((each,), None) for each in sorted(new)], activate=True)

    def answer(outcome: Outcome) -> bytes:
        return orjson.dumps(answer_for_events(read, outcome))

    key = (idempotency_key or "").strip()
    message = Message(
        read.events,
        key_of(way.scope, key) if key else None,
        ways.deployment.keyring.fingerprints(key.encode() + b"\n" + body) if key else (),
        answer,
        read.refused,
    )
    (outcome,) = await grouping.stage([message], Counter())
    if outcome.conflict or outcome.answer is None:
        raise Refusal(409, "Idempotency-Key: was used before, for another body")
    told = orjson.loads(outcome.answer)
    count_events(way.label, {"duplicates": 1} if outcome.duplicate else told)
    return Response(outcome.answer, status_of(told), media_type=JSON)


def _read(body: bytes, dialect: Dialect, ways: Ways) -> EventsRead:
    if (events := read_whole(body)) is not None:
        refuse_too_many(events, ways)
        return EventsRead(events, range(len(events)))
    messages = messages_of(decode_lines(body, ways.deployment.settings.events_per_call))
    refuse_too_many(messages, ways)
    return read_events(messages, dialect)
