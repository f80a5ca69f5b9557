"""The fault tests stand on the workshops and fleets of the other tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import broker_url, fleet, fleets, make, rabbitmq_url, valkey_url
from tests.faults.restored import installation, lost
from tests.integration.conftest import open_with, serve, service, workshop

__all__ = [
    "broker_url",
    "fleet",
    "fleets",
    "installation",
    "lost",
    "make",
    "open_with",
    "rabbitmq_url",
    "serve",
    "service",
    "valkey_url",
    "workshop",
]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that Postgres, which does not run as root, can get to; kept when the test fails.

    Pytest's own are closed to other users.
    """
    place = Path(tempfile.mkdtemp(prefix="pinfold-torture-"))
    place.chmod(0o755)
    yield place
    if not (place / "violations").exists():
        shutil.rmtree(place, ignore_errors=True)
