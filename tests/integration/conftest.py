"""The workshop of one test: its own database, its own Pinterest, its HTTP service."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from app.api.service import THREADS
from app.deployment import Deployment
from app.doorbell import Doorbell
from app.sandbox.pinterest import PinterestSimulator
from tests.service import Service, running_service
from tests.workshop import Workshop, open_workshop


@pytest.fixture
def open_with(
    fresh_database: str, simulator: PinterestSimulator
) -> Iterator[Callable[..., Workshop]]:
    """Opens a workshop with settings of its own."""
    simulator.behaviour.writes_per_minute = None
    with ExitStack() as stack:

        def opening(**settings: Any) -> Workshop:
            return stack.enter_context(open_workshop(fresh_database, simulator, **settings))

        yield opening


@pytest.fixture
def workshop(open_with: Callable[..., Workshop]) -> Workshop:
    """A workshop with the usual short times."""
    return open_with()


@pytest.fixture
def serve(
    open_with: Callable[..., Workshop], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Service]]:
    """Runs the HTTP service over a workshop's database, with connections of its own.

    It knows a token or a secret as soon as it is made.
    """
    monkeypatch.setattr("app.api.access.NEWS_S", 0.0)
    monkeypatch.setattr("app.api.ways.GAUGES_KEPT_S", -1.0)
    with ExitStack() as stack:

        def serving(workshop: Workshop, doorbell: Doorbell | None = None) -> Service:
            deployment = Deployment(workshop.deployment.settings, connections=THREADS)
            return stack.enter_context(running_service(deployment, doorbell))

        yield serving


@pytest.fixture
def service(workshop: Workshop, serve: Callable[..., Service]) -> Service:
    """The HTTP service over the usual workshop, with one connection and the audience 31001."""
    workshop.connect()
    workshop.activate()
    return serve(workshop)
