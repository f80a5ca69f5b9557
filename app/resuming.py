"""Letting what was held go on: at a person's word, or when a look shows that the cause is gone."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.connections import open_client, resume_connection
from app.database import transaction
from app.deployment import Deployment
from app.lease import NOW, has_passed, seconds
from app.lists import GONE, RESUMED
from app.pinterest.oauth import may_change_audiences, roles_of
from app.pinterest.outcomes import Answer
from app.tables import audience, connection, customer_list


def retry(deployment: Deployment, audience_id: int | None = None) -> dict[str, int]:
    """Let everything held go on now (of one audience); returns how many of each went on.

    Failures and pauses are forgotten. Chunks set aside return to the queue in their old place.
    """
    with transaction(deployment.engine) as tx:
        mine = sa.true() if audience_id is None else audience.c.id == audience_id
        ids = sa.select(audience.c.id).where(mine)
        accounts = sa.select(audience.c.connection_id).where(mine)
        waits = sa.or_(
            customer_list.c.held_reason.is_not(None), customer_list.c.not_before.is_not(None)
        )
        lists = tx.execute(
            sa.update(customer_list)
            .where(customer_list.c.audience_id.in_(ids), waits)
            .values(**RESUMED)
        ).rowcount
        held = (
            tx.execute(
                sa.select(connection.c.id).where(
                    connection.c.id.in_(accounts) if audience_id is not None else sa.true(),
                    connection.c.held_reason.is_not(None),
                )
            )
            .scalars()
            .all()
        )
        for connection_id in held:
            resume_connection(tx, connection_id)
        tx.execute(
            sa.update(audience)
            .where(audience.c.id.in_(ids), audience.c.not_before.is_not(None))
            .values(not_before=None, flush_failures=0)
        )
        chunks = tx.execute(_RETURN_CHUNKS, {"audience_id": audience_id}).rowcount
    return {"connections": len(held), "lists": lists, "chunks": chunks}


_RETURN_CHUNKS = sa.text("""
WITH back AS (
    DELETE FROM held_chunk WHERE audience_id = :audience_id OR :audience_id IS NULL RETURNING *
)
INSERT INTO staged_chunk (id, audience_id, message_count, email_count, maid_count, arrived_at, body)
OVERRIDING SYSTEM VALUE
SELECT id, audience_id, message_count, email_count, maid_count, arrived_at, body FROM back
""").bindparams(sa.bindparam("audience_id", type_=sa.BigInteger))


def check_held_once(deployment: Deployment) -> int:
    """The canary: read from Pinterest what is held, and resume what answers; returns how many.

    Connections are asked for their account, lists that were gone for themselves. Each is asked
    once an interval; ``not_before`` keeps the time of the next look.
    """
    s = deployment.settings
    with transaction(deployment.engine) as tx:
        accounts = tx.execute(
            sa.select(connection).where(
                connection.c.held_reason.is_not(None),
                has_passed(connection.c.not_before, s.canary_interval),
            )
        ).all()
        lists = tx.execute(
            sa.select(
                customer_list.c.id.label("list_id"), customer_list.c.pinterest_list_id, connection
            )
            .join(audience, audience.c.id == customer_list.c.audience_id)
            .join(connection, connection.c.id == audience.c.connection_id)
            .where(
                customer_list.c.held_reason == GONE,
                has_passed(customer_list.c.not_before, s.canary_interval),
            )
        ).all()
    return sum(_look_at_connection(deployment, row) for row in accounts) + sum(
        _look_at_list(deployment, row) for row in lists
    )


def _look_at_connection(deployment: Deployment, row: sa.Row[Any]) -> bool:
    with transaction(deployment.engine) as tx:
        client = open_client(deployment, tx, row)
    answer = client.get_account()
    client.close()
    lost = answer.ok and not may_change_audiences(roles_of(answer.body))
    with transaction(deployment.engine) as tx:
        if answer.ok and not lost:
            resume_connection(tx, row.id)
            return True
        _look_again_later(deployment, tx, connection, row.id)
        if lost:  # the account may be seen, which does not help
            which = connection.c.id == row.id
            tx.execute(sa.update(connection).where(which).values(held_reason="role lost"))
    return False


def _look_at_list(deployment: Deployment, row: sa.Row[Any]) -> bool:
    with transaction(deployment.engine) as tx:
        client = open_client(deployment, tx, row)
    answer: Answer = client.get_list(row.pinterest_list_id)
    client.close()
    with transaction(deployment.engine) as tx:
        if answer.ok:
            tx.execute(
                sa.update(customer_list).where(customer_list.c.id == row.list_id).values(**RESUMED)
            )
        else:
            _look_again_later(deployment, tx, customer_list, row.list_id)
    return answer.ok


def _look_again_later(
    deployment: Deployment, tx: sa.Connection, table: sa.Table, row_id: int
) -> None:
    later = NOW + seconds(deployment.settings.canary_interval)
    tx.execute(sa.update(table).where(table.c.id == row_id).values(not_before=later))
