"""``/v1/audiences``: activate, look, pause, resume, deactivate, flush.

The wish is recorded and answered; a worker carries it out. Nothing is ever deleted at Pinterest.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app import audiences
from app.api.access import DOCUMENTED
from app.api.activating import activate_and_ring
from app.api.body import Limits, decode, read_body
from app.api.problems import Problem, Refusal
from app.api.ways import Ways
from app.api_tokens import ApiToken
from app.connections import find_connection
from app.errors import NotFound
from app.status import AudienceStatus, read_status
from app.tables import audience

router = APIRouter(prefix="/v1/audiences", tags=["audiences"], dependencies=DOCUMENTED)
MOST_LISTED = 1_000
LONGEST_ACTIVATION = 16 << 10
"""Bytes."""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        400: "The body cannot be read.",
        401: "No token, or none that is known.",
        403: "The token may not do this.",
        404: "There is none, or the token is for another connection.",
        408: "The body took too long.",
        409: "It contradicts the present state; nothing was changed.",
        413: "The body is too long.",
        415: "Packed with something else than gzip.",
        422: "A field is not as described.",
        503: "Not now; send it again after Retry-After seconds.",
    }.items()
}
AudienceId = Annotated[
    int, Path(ge=1, le=2**63 - 1, description="`audience_id`, as activating answers it")
]


class Activation(BaseModel):
    """An audience of yours that is to be forwarded to Pinterest."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "Lapsed buyers", "id": "31001"}]},
    )
    name: str = Field(description="what the Pinterest audiences are called", max_length=200)
    id: str = Field(description="its id in your system, as in the events", max_length=1_000)
    connection: str | None = Field(None, description="needed where there are several")


class AudienceList(BaseModel):
    audiences: list[AudienceStatus]
    next_after: int | None = Field(description="for the next page; null on the last one")


@router.post(
    "",
    status_code=202,
    responses=PROBLEMS,
    summary="Activate an audience",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": Activation.model_json_schema()}},
        }
    },
)
async def activate(request: Request) -> AudienceStatus:
    """Forward it from now on, as NAME-EMAIL and NAME-MAID. Safe to repeat.

    Events are accepted at once; a worker makes the lists at Pinterest.
    """
    ways, token = await _let_in(request, "administer")
    wanted = await _read_activation(request, ways)
    row = await asyncio.to_thread(_connection_of, ways, token, wanted.connection)
    audience_id = await asyncio.to_thread(activate_and_ring, ways, row.id, wanted.name, wanted.id)
    return await _status_of(ways, token, audience_id)


@router.get("", responses=PROBLEMS, summary="List audiences")
async def list_(
    request: Request,
    upstream_id: Annotated[str | None, Query(description="only those with this id")] = None,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next_after`")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
) -> AudienceList:
    """What `pinfold status` shows, in the order of activation."""
    ways, token = await _let_in(request, "read")
    wanted = sa.select(audience.c.id).where(audience.c.id > after, _mine(token))
    if upstream_id is not None:
        wanted = wanted.where(audience.c.upstream_id == upstream_id.replace("\x00", ""))
    page = wanted.order_by(audience.c.id).limit(limit + 1)  # one more tells whether more follow
    status = await asyncio.to_thread(read_status, ways.deployment, audience.c.id.in_(page))
    found = sorted(status.audiences, key=lambda each: each.audience_id)
    shown = found[:limit]
    return AudienceList(
        audiences=shown, next_after=shown[-1].audience_id if len(found) > limit else None
    )


@router.get("/{audience_id}", responses=PROBLEMS, summary="Show an audience")
async def show(request: Request, audience_id: AudienceId) -> AudienceStatus:
    """What waits, what was sent, what comes next, what is held and why."""
    ways, token = await _let_in(request, "read")
    return await _status_of(ways, token, audience_id)


@router.post("/{audience_id}/pause", responses=PROBLEMS, summary="Pause")
async def pause(request: Request, audience_id: AudienceId) -> AudienceStatus:
    """Send nothing for now; events go on being accepted and wait."""
    return await _change(request, audience_id, audiences.pause)


@router.post("/{audience_id}/resume", responses=PROBLEMS, summary="Resume")
async def resume(request: Request, audience_id: AudienceId) -> AudienceStatus:
    """Send again what waited while paused."""
    return await _change(request, audience_id, audiences.resume)


@router.post("/{audience_id}/deactivate", responses=PROBLEMS, summary="Deactivate")
async def deactivate(request: Request, audience_id: AudienceId) -> AudienceStatus:
    """Accept and send nothing more; what waits is booked as not forwarded.

    Its audiences at Pinterest stay, with all their members.
    """
    return await _change(request, audience_id, audiences.deactivate)


@router.post("/{audience_id}/flush", status_code=202, responses=PROBLEMS, summary="Flush")
async def flush(request: Request, audience_id: AudienceId) -> AudienceStatus:
    """Upload what waits now, instead of at its count or age."""
    return await _change(request, audience_id, audiences.request_flush)


async def _read_activation(request: Request, ways: Ways) -> Activation:
    """The body by hand: the framework would read it before anybody was asked for a token."""
    body = await read_body(request, Limits(LONGEST_ACTIVATION, ways.limits.seconds))
    try:
        return Activation.model_validate(decode(body))
    except ValidationError as problem:
        faults = problem.errors(include_input=False, include_url=False)
        raise RequestValidationError(
            [{**fault, "loc": ("body", *fault["loc"])} for fault in faults]
        ) from None


async def _change(request: Request, audience_id: int, change: Any) -> AudienceStatus:
    ways, token = await _let_in(request, "administer")
    await _status_of(ways, token, audience_id)  # 404 for another connection's
    for list_id in await asyncio.to_thread(change, ways.deployment, audience_id) or []:
        await asyncio.to_thread(ways.doorbell.deliver, list_id)
    await asyncio.to_thread(ways.doorbell.flush, audience_id)
    return await _status_of(ways, token, audience_id)


async def _let_in(request: Request, permission: str) -> tuple[Ways, ApiToken]:
    ways: Ways = request.app.state.ways
    return ways, await ways.access.token_of(request, permission)


def _connection_of(ways: Ways, token: ApiToken, name: str | None) -> sa.Row[Any]:
    if token.connection is not None and name not in (None, token.connection):
        raise Refusal(403, f"token {token.name} is good for {token.connection} only")
    return find_connection(ways.deployment, name or token.connection)


def _mine(token: ApiToken) -> sa.ColumnElement[bool]:
    if token.connection_id is None:
        return sa.true()
    return audience.c.connection_id == token.connection_id


async def _status_of(ways: Ways, token: ApiToken, audience_id: int) -> AudienceStatus:
    which = sa.and_(audience.c.id == audience_id, _mine(token))
    status = await asyncio.to_thread(read_status, ways.deployment, which)
    if not status.audiences:
        raise NotFound(f"there is no audience {audience_id}")
    return status.audiences[0]
