"""Fleets for the acceptance tests: one per test, on a database and a broker of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.sandbox.embedded_valkey import EmbeddedValkey
from app.sandbox.pinterest import PinterestSimulator
from tests.acceptance.fleet import Fleet, make_fleet
from tests.acceptance.publishing import DEAD, EVENTS, forget_queues

FleetMaker = Callable[..., Fleet]
RABBITMQ_QUEUES = (EVENTS, DEAD, "flush", "deliver", "upkeep")


@pytest.fixture
def valkey_url(valkey: EmbeddedValkey) -> str:
    """The address of an empty Valkey."""
    valkey.flush()
    return valkey.url()


@pytest.fixture
def rabbitmq_url() -> Iterator[str]:
    """The address of a RabbitMQ without any queue of ours."""
    url = os.environ["PINFOLD_TEST_RABBITMQ_URL"]
    forget_queues(url, *RABBITMQ_QUEUES)
    yield url
    forget_queues(url, *RABBITMQ_QUEUES)


@pytest.fixture(params=["valkey", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def broker_url(request: pytest.FixtureRequest) -> str:
    """The address of either broker in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def fleets(
    tmp_path: Path, fresh_database: str, simulator: PinterestSimulator
) -> Iterator[FleetMaker]:
    """Makes the test's installation over a broker, with settings of the test's choice."""
    made: list[Fleet] = []

    def make(broker_url: str | None, **settings: str) -> Fleet:
        made.append(make_fleet(tmp_path, fresh_database, broker_url, simulator, **settings))
        return made[-1]

    yield make
    for fleet in made:
        fleet.stop()


@pytest.fixture
def make(fleets: FleetMaker, valkey_url: str) -> FleetMaker:
    """Makes the test's installation over Valkey, with settings of the test's choice."""
    return lambda **settings: fleets(valkey_url, **settings)


@pytest.fixture
def fleet(make: FleetMaker) -> Fleet:
    """An installation with a connection, over Valkey; no process runs yet."""
    made = make()
    made.connect()
    return made
