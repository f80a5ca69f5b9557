"""Postgres ends at once, as by a crash: row 8 of the fault matrix."""

from __future__ import annotations

import os
import signal

import pytest
import sqlalchemy as sa

from app.database import create_engine, transaction
from app.errors import Unavailable
from app.sandbox.embedded_postgres import EmbeddedPostgres
from tests.acceptance.fleet import happens


def crash_in_a_transaction(postgres: EmbeddedPostgres, engine: sa.Engine) -> None:
    with transaction(engine) as tx:
        tx.exec_driver_sql("SELECT 1")
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGQUIT)  # "immediate shutdown"
        happens(postgres.died)
        tx.exec_driver_sql("SELECT 1")


def test_a_transaction_that_a_crash_breaks_off_says_that_postgres_is_away(
    own_postgres: EmbeddedPostgres,
) -> None:
    engine = create_engine(own_postgres.url())
    with pytest.raises(Unavailable, match="Postgres cannot be reached"):
        crash_in_a_transaction(own_postgres, engine)
    engine.dispose()
