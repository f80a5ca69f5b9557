"""``/healthz``, ``/readyz``, ``/metrics``: for load balancers and monitoring; no token needed.

They name no identity and no audience. The counts of requests and events are summed over the
processes of one `pinfold api`; the gauges are read from the database and hold for all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import Problem, answer_of, later, unexpected
from app.api.ways import Ways
from app.errors import PinfoldError
from app.gauges import MEANINGS, BookSum

router = APIRouter(tags=["health"])
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
OWN = CollectorRegistry()
REQUESTS = Counter("pinfold_http_requests", "requests answered", ["route", "status"], registry=OWN)
SECONDS = Histogram(
    "pinfold_http_request_seconds",
    "from request to answer",
    ["route"],
    buckets=BUCKETS,
    registry=OWN,
)
EVENTS = Counter(
    "pinfold_http_events",
    "events by what became of them; ignored and noted ones by message",
    ["source", "outcome"],
    registry=OWN,
)


@router.get("/healthz", summary="Does the process live?")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Can it accept events?",
    responses={503: {"model": Problem, "description": "Not now, and why."}},
)
async def readyz(request: Request) -> Any:
    """The database answers, its schema serves this version, and the keys fit."""
    ways: Ways = request.app.state.ways
    try:
        await asyncio.to_thread(ways.deployment.require_schema)
        await asyncio.to_thread(ways.presence.renew)
    except PinfoldError as problem:
        return JSONResponse({"detail": str(problem)}, 503)
    return {"status": "ready"}


@router.get("/metrics", summary="For Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    ways: Ways = request.app.state.ways
    registry = CollectorRegistry()
    if ways.counts_directory:
        multiprocess.MultiProcessCollector(registry, path=ways.counts_directory)  # type: ignore[no-untyped-call]
    registry.register(_Gauges(await ways.gauges.get(), ways.gauges.books))
    text = generate_latest(registry)
    if not ways.counts_directory:
        text = generate_latest(OWN) + text
    return Response(text, media_type=CONTENT_TYPE_LATEST)


class _Gauges:
    def __init__(self, found: dict[str, float], books: list[BookSum]) -> None:
        self._found, self._books = found, books

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for name, value in self._found.items():
            yield GaugeMetricFamily(f"pinfold_{name}", MEANINGS[name], value=value)
        books = GaugeMetricFamily(
            "pinfold_books",
            "the books in sum: received is what the other items add up to, charged is attempted",
            labels=["connection", "item"],
        )
        for each in self._books:
            books.add_metric([each.connection, each.item], each.identities)
        yield books


def count_events(source: str, answer: Mapping[str, Any]) -> None:
    """Count what became of a call's events, as it was answered (``app.api.answers``)."""
    for outcome in ("accepted", "rejected", "duplicates"):
        if answer.get(outcome):
            EVENTS.labels(source, outcome).inc(answer[outcome])
    for outcome in ("ignored", "noted"):
        if answer.get(outcome):
            EVENTS.labels(source, outcome).inc(sum(answer[outcome].values()))


class Measured:
    """Counts and times every request, by the route it took and never by its path.

    It stands outermost, so what went wrong unexpectedly ends here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, started = time.perf_counter(), 500, False

        async def noting(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:  # the server ends, and the call took longer than its grace
            if not started:
                await answer_of(later("the service ends: send it again"))(scope, receive, noting)
        except Exception as problem:  # noqa: BLE001 the server would log it with its text
            answer = unexpected(problem)
            if not started:
                await answer(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            REQUESTS.labels(route, str(status)).inc()
            SECONDS.labels(route).observe(time.perf_counter() - began)
