"""``POST /in/NAME``: the address of a source, in whichever format its upstream system speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request, Response

from app.api.access import DOCUMENTED, presented, shows_secret, unauthorised
from app.api.answers import EventsAnswer, status_of
from app.api.body import Limits, decode, decode_lines, read_body
from app.api.events import EVENTS_ANSWERS, JSON, IdempotencyKey, OwnForm, take_events
from app.api.mparticle import OPEN_BODY, deliver_mparticle
from app.api.problems import Problem, Refusal
from app.api.subscriptions import create_audience, get_audience
from app.api.taking import beside_the_loop, read_call, take
from app.api.ways import Ways
from app.doors import Door
from app.formats import CallRead, messages_of
from app.formats.signature import is_signed
from app.sources import Source

router = APIRouter(tags=["sources"], dependencies=DOCUMENTED)
Name = Annotated[str, Path(description="The source's name: pinfold source add NAME")]
PROFILE = {
    "user_identities": [{"type": "email", "encoding": "raw", "value": "ana.ruiz@example.org"}],
    "audiences": [{"audience_id": 31001, "audience_name": "Lapsed buyers", "action": "add"}],
}
EXAMPLES = {
    "mParticle": {
        "type": "audience_membership_change_request",
        "id": "0b7c2a1e-52f4-4a6f-9c58-6f0de3a41b77",
        "timestamp_ms": 1_767_265_200_123,
        "firehose_version": "3.2.0",
        "user_profiles": [PROFILE],
    },
    "Segment": {
        "type": "track",
        "event": "Audience Entered",
        "messageId": "m-1",
        "timestamp": "2026-02-03T08:15:30.250Z",
        "context": {
            "traits": {"email": "ana.ruiz@example.org"},
            "personas": {"computation_class": "audience", "computation_key": "31001"},
        },
        "properties": {"31001": True},
    },
    "RudderStack": {
        "type": "audiencelist",
        "messageId": "r-1",
        "context": {"externalId": [{"type": "PINTEREST_AUDIENCE-31001"}]},
        "properties": {"listData": {"add": [{"EMAIL": "ana.ruiz@example.org"}]}},
    },
}
SOURCE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {"type": ["object", "array"]},
                "examples": {
                    name: {"summary": name, "value": value} for name, value in EXAMPLES.items()
                },
            }
        },
    }
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    **EVENTS_ANSWERS,
    200: {
        "model": EventsAnswer | dict[str, Any],
        "description": "Accepted, at least in part; a protocol with answers of its own gets those.",
    },
}
AUDIENCE_ANSWERS: dict[int | str, dict[str, Any]] = {
    **{status: EVENTS_ANSWERS[status] for status in (400, 401, 404, 408, 409, 413, 415, 503)},
    422: {"model": Problem, "description": "It cannot be the name of an audience."},
}


@router.post(
    "/in/{name}", responses=ANSWERS, openapi_extra=SOURCE_BODY, summary="Deliver to a source"
)
async def deliver(request: Request, name: Name, idempotency_key: IdempotencyKey = None) -> Response:
    """What the upstream system sends, in its own format; gzip too.

    Answered after the commit. What cannot be used is counted and never costs the rest.
    `Idempotency-Key` counts for the format `events`; the others have ids in their messages.
    """
    ways: Ways = request.app.state.ways
    door = await ways.access.door_of(request, name)
    if door is not None and door.source.format == "mparticle":
        return _json(await deliver_mparticle(request, ways, door))
    secret_shown = shows_secret(request, door)
    if door is None or not (secret_shown or (door.signing_keys and not presented(request))):
        raise unauthorised("the source's secret: Authorization: Bearer SECRET")
    source = door.source
    if source.format == "events":
        way = OwnForm(
            source.label,
            source.connection_id,
            f"source {source.id}",
            source.dialect,
            source.activate_unknown,
        )
        return await take_events(request, ways, way, idempotency_key)
    await ways.refuse_over_backlog(source.connection_id)
    limits = ways.limits if secret_shown else Limits(OPEN_BODY, ways.limits.seconds)
    body = await read_body(request, limits)
    await _check_signature(request, ways, door, body)

    def read() -> CallRead:
        most = ways.deployment.settings.events_per_call
        # lines are no form of Segment's, and only its own forms are signed as a whole or in part
        value = decode(body) if door.signing_keys else decode_lines(body, most)
        messages = messages_of(value)
        if len(messages) > 1 and not secret_shown:
            raise unauthorised("only the first event is signed: Authorization: Bearer SECRET")
        return read_call(source, messages, ways)

    answer = await take(ways, source, await beside_the_loop(ways, body, read))
    return _json(answer, status_of(answer))


# Segment's webhooks may be set to either (event-formats, section 4.1).
for method in ("PUT", "PATCH"):
    router.add_api_route("/in/{name}", deliver, methods=[method], include_in_schema=False)


async def _check_signature(request: Request, ways: Ways, door: Door, body: bytes) -> None:
    """Raise Refusal (401) where the source has signing keys and none of them made the signature."""
    signature = request.headers.get("x-signature", "")
    if door.signing_keys and not await beside_the_loop(
        ways, body, lambda: is_signed(body, signature, door.signing_keys)
    ):
        raise unauthorised("a signature by the source's key: X-Signature")


def _one_field(name: str) -> dict[str, Any]:
    """The body of a call of Segment's Webhook Audiences, of which only one field counts."""
    schema = {"type": "object", "required": [name], "properties": {name: {"type": "string"}}}
    content = {JSON: {"schema": schema, "example": {name: "Lapsed buyers"}}}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/in/{name}/audiences",
    summary="Segment: create",
    responses=AUDIENCE_ANSWERS,
    openapi_extra=_one_field("audienceName"),
)
async def create(request: Request, name: Name) -> Response:
    """Segment's Webhook Audiences: `{"audienceName": ...}` in, `{"externalId": ...}` out."""
    return await _segment_call(request, name, create_audience)


@router.post(
    "/in/{name}/audiences/get",
    summary="Segment: get",
    responses=AUDIENCE_ANSWERS,
    openapi_extra=_one_field("externalId"),
)
async def get(request: Request, name: Name) -> Response:
    """Segment's Webhook Audiences: `{"externalId": ...}` in, the same out where it is known."""
    return await _segment_call(request, name, get_audience)


async def _segment_call(
    request: Request, name: str, act: Callable[[Ways, Source, object], dict[str, Any]]
) -> Response:
    """Answer one of these calls; raises Refusal (401, or 404 where Segment does not call)."""
    ways: Ways = request.app.state.ways
    door = await ways.access.door_of(request, name)
    if not shows_secret(request, door) or door is None:
        raise unauthorised("the source's secret: Authorization: Bearer SECRET")
    if door.source.format != "segment":
        raise Refusal(404, f"source {name} speaks {door.source.format}, which has no such call")
    message = decode(await read_body(request, Limits(OPEN_BODY, ways.limits.seconds)))
    return _json(await asyncio.to_thread(act, ways, door.source, message))


def _json(answer: object, status: int = 200) -> Response:
    return Response(orjson.dumps(answer), status, media_type=JSON)
