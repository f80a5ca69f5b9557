"""The workshop of one test: its own database, its own Pinterest."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from app.sandbox.pinterest import PinterestSimulator
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
