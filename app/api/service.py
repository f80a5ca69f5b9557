"""The service as one ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.api import audiences, events, health, problems, sources
from app.api.ways import Ways
from app.deployment import Deployment
from app.doorbell import Doorbell

THREADS = 12
"""What waits for Postgres waits in one of these; the pool has a connection for each."""
DESCRIPTION = """Membership events in, Pinterest audiences kept in step.

`/v1` takes an API token (`pinfold token add NAME --permission write`), `/in/NAME` the secret of a
source (`pinfold source add NAME --format ...`), both as `Authorization: Bearer ...`. An answer
comes after the commit: what was answered with 2xx is durable; anything else can be sent again."""


def create_service(
    deployment: Deployment, doorbell: Doorbell, counts_directory: str | None = None
) -> FastAPI:
    """The service over one deployment, which should have ``THREADS`` connections to give.

    ``counts_directory``: where the processes of one `pinfold api` keep their counts.
    """
    ways = Ways(deployment, doorbell, counts_directory)
    service = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="Pinfold",
        version=version("pinfold"),
        description=DESCRIPTION,
        lifespan=_living(ways),
    )
    service.state.ways = ways
    service.add_middleware(health.Measured)
    problems.register(service)
    for part in (events, audiences, sources, health):
        service.include_router(part.router)
    return service


def _living(ways: Ways):  # type: ignore[no-untyped-def]  # FastAPI's own type is private
    @asynccontextmanager
    async def living(_service: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        yield
        await asyncio.to_thread(ways.presence.leave)
        ways.deployment.engine.dispose()

    return living
