"""Problems: what a caller is told when its request cannot be done, and whether to send it again.

    400 401 403 404 405 409 413 415 422   stop: the request is wrong, or not allowed
    408 500 503                           retry: the same request may succeed later

An answer names fields and places, never a value of the request.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.errors import (
    ConfigError,
    InvalidEvent,
    NotFound,
    PinfoldError,
    Refused,
    Unavailable,
    kind_and_place,
)
from app.gate import GateBusy

log = logging.getLogger(__name__)
RETRY_AFTER_S = 5


class Problem(BaseModel):
    """What every answer of 400 and above says."""

    detail: str = Field(examples=["audience: the upstream id of the audience is needed, as text"])


class Refusal(HTTPException):
    """Raised anywhere in the service to end a request."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers or {}))


def later(detail: str, seconds: int = RETRY_AFTER_S) -> Refusal:
    """Not now: nothing was accepted, or nobody knows; sending it again is safe."""
    return Refusal(503, detail, {"Retry-After": str(seconds)})


def register(service: FastAPI) -> None:
    service.add_exception_handler(HTTPException, _refused)
    service.add_exception_handler(RequestValidationError, _invalid)
    service.add_exception_handler(PinfoldError, _failed)


async def _refused(_request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, HTTPException)  # noqa: S101 as it was registered
    return answer_of(problem)


def answer_of(refusal: HTTPException) -> JSONResponse:
    return JSONResponse({"detail": refusal.detail}, refusal.status_code, refusal.headers)


async def _invalid(_request: Request, problem: Exception) -> JSONResponse:
    """The framework's own text would repeat what was sent."""
    assert isinstance(problem, RequestValidationError)  # noqa: S101 as it was registered
    places = [f"{_place(error)}: {error['msg']}" for error in problem.errors()]
    return JSONResponse({"detail": "; ".join(dict.fromkeys(places))}, 422)


def _place(error: Mapping[str, Any]) -> str:
    """Where it is; the name of a field that we do not know is the caller's text."""
    known = error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]
    return ".".join(map(str, known))


async def _failed(_request: Request, problem: Exception) -> JSONResponse:
    return answer_of(as_refusal(problem))


def as_refusal(problem: Exception) -> Refusal:
    """What our own errors are over HTTP."""
    if isinstance(problem, InvalidEvent):
        return Refusal(400, str(problem))
    if isinstance(problem, NotFound):
        return Refusal(404, str(problem))
    if isinstance(problem, Refused):
        return Refusal(409, str(problem))
    if isinstance(problem, GateBusy):
        return later("much is being accepted for this audience just now: send it again", 1)
    if isinstance(problem, Unavailable):
        return later("the database cannot be reached: send it again")
    if isinstance(problem, ConfigError):
        log.error("%s", problem)
        return later("the service is not set up rightly, its log says how: send it again later")
    return Refusal(500, "an error in Pinfold itself: its log says where")


def unexpected(problem: Exception) -> JSONResponse:
    """The answer to a mistake of ours; the log gets its kind and place, never its text.

    The text of an exception may name what was sent.
    """
    log.error("unexpected %s", kind_and_place(problem))
    return JSONResponse({"detail": as_refusal(problem).detail}, 500)
