"""The queries that run every 15 seconds and for every batch stay on their indexes."""

from typing import Any

import pytest
import sqlalchemy as sa

from app.delivery import _next_lot
from app.due import audiences_due
from tests.workshop import Workshop, emails


class Explained:
    """The plans of the statements that run on an engine, read as they pass."""

    def __init__(self, engine: sa.Engine) -> None:
        self.plans: list[str] = []
        sa.event.listen(engine, "before_cursor_execute", self._explain)

    def _explain(
        self,
        connection: sa.Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        if statement.startswith(("SELECT", "WITH")):
            with connection.connection.cursor() as asking:
                asking.execute("EXPLAIN " + statement, parameters)
                self.plans.append("\n".join(row[0] for row in asking.fetchall()))


@pytest.fixture
def crowded(workshop: Workshop) -> Workshop:
    """Many audiences with many chunks, and a long lane, vacuumed and analysed."""
    audience_id = workshop.ready()
    workshop.stage(*emails(range(10)))
    workshop.flush(audience_id)
    workshop.execute(
        "INSERT INTO batch (upload_id, customer_list_id, operation, record_count, state,"
        " settled_at, payload)"
        " SELECT upload_id, customer_list_id, operation, 1,"
        " CASE WHEN n % 50 = 0 THEN 'waiting' ELSE 'sent' END,"
        " CASE WHEN n % 50 = 0 THEN NULL ELSE now() END,"
        " CASE WHEN n % 50 = 0 THEN ''::bytea END"
        " FROM batch, generate_series(1, 20000) AS n WHERE batch.record_count = 10"
    )
    workshop.execute(
        "INSERT INTO audience (connection_id, upstream_id, name)"
        " SELECT connection_id, 'x' || n, 'x' || n FROM audience, generate_series(1, 300) AS n"
    )
    workshop.execute(
        "INSERT INTO staged_chunk (audience_id, message_count, email_count, maid_count, body)"
        " SELECT id, 10, 10, 0, repeat('x', 1800)::bytea"
        " FROM audience, generate_series(1, 60) AS n"
    )
    with workshop.deployment.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
    return workshop


def test_the_due_check_reads_the_index_of_the_chunks_and_never_the_rows(crowded: Workshop) -> None:
    explained = Explained(crowded.deployment.engine)
    with crowded.transaction() as tx:
        audiences_due(tx, crowded.deployment.settings)
    (plan,) = [plan for plan in explained.plans if "staged_chunk" in plan]
    assert "Index Only Scan using staged_chunk_pkey" in plan, plan
    assert "Seq Scan on staged_chunk" not in plan


def test_the_next_batch_of_a_lane_comes_from_the_index_in_order(crowded: Workshop) -> None:
    list_id = crowded.value("SELECT customer_list_id FROM batch GROUP BY customer_list_id LIMIT 1")
    explained = Explained(crowded.deployment.engine)

    class _Turn:
        claim = type("Claim", (), {"id": list_id})

    with crowded.transaction() as tx:
        _next_lot(tx, _Turn())  # type: ignore[arg-type]
    (plan,) = explained.plans
    assert "batch_lane_idx" in plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan


def test_the_sum_of_what_waits_in_lanes_reads_the_index_of_the_lanes(crowded: Workshop) -> None:
    explained = Explained(crowded.deployment.engine)
    with crowded.transaction() as tx:
        audiences_due(tx, crowded.deployment.settings)
    assert "Seq Scan on batch" not in explained.plans[0]
