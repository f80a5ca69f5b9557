"""Letting what was held go on: at a person's word, or when a look shows that the cause is gone.

A list that was gone when the database was restored goes on by a look alone, and only once it is
charged with what that look counted (promise 3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.connections import open_client, resume_connection
from app.database import transaction
from app.deployment import Deployment
from app.errors import PinfoldError, Unavailable
from app.lease import NOW, has_passed, seconds
from app.lists import GONE, RESUMED
from app.pinterest.oauth import may_change_audiences, roles_of
from app.pinterest.outcomes import Answer
from app.pinterest.replies import list_values
from app.reconciling import UNRECONCILED, counted, reconcile, uncounted
from app.tables import audience, connection, customer_list

log = logging.getLogger(__name__)
Look = Callable[[Deployment, sa.Row[Any]], bool]

COUNTED_FIRST = (
    "it was gone when the database was restored: before it goes on, Pinterest is asked what it has "
    "had, within ten minutes"
)


def retry(deployment: Deployment, audience_id: int | None = None) -> dict[str, int]:
    """Let everything held go on now (of one audience); returns how many of each went on.

    Failures and pauses are forgotten. Chunks set aside return to the queue in their old place.
    Lists of which is not known what was sent to them stay: those that could not be recovered, and
    those that were gone at that time, which are looked at soon.
    """
    with transaction(deployment.engine) as tx:
        mine = sa.true() if audience_id is None else audience.c.id == audience_id
        ids = sa.select(audience.c.id).where(mine)
        accounts = sa.select(audience.c.connection_id).where(mine)
        # connections, audiences, lists: in the order in which everybody locks them
        held = tx.execute(
            sa.select(connection.c.id)
            .where(
                connection.c.id.in_(accounts) if audience_id is not None else sa.true(),
                connection.c.held_reason.is_not(None),
            )
            .order_by(connection.c.id)
            .with_for_update()
        ).scalars()
        resumed = list(held)
        for connection_id in resumed:
            resume_connection(tx, connection_id)
        tx.execute(
            sa.update(audience)
            .where(audience.c.id.in_(ids), audience.c.not_before.is_not(None))
            .values(not_before=None, flush_failures=0)
        )
        waits = sa.or_(
            customer_list.c.held_reason.is_not(None), customer_list.c.not_before.is_not(None)
        )
        lists = tx.execute(
            sa.update(customer_list)
            .where(
                customer_list.c.audience_id.in_(ids),
                waits,
                customer_list.c.held_reason.is_distinct_from(UNRECONCILED),
                sa.not_(uncounted()),
            )
            .values(**RESUMED)
        ).rowcount
        tx.execute(
            sa.update(customer_list)
            .where(customer_list.c.audience_id.in_(ids), uncounted())
            .values(not_before=None, held_message=COUNTED_FIRST)
        )
        chunks = tx.execute(_RETURN_CHUNKS, {"audience_id": audience_id}).rowcount
    return {"connections": len(resumed), "lists": lists, "chunks": chunks}


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
                connection.c.removed_at.is_(None),
                has_passed(connection.c.not_before, s.canary_interval),
            )
        ).all()
        lists = tx.execute(
            sa.select(
                customer_list.c.id.label("list_id"),
                customer_list.c.held_at.label("list_held_at"),
                customer_list.c.pinterest_list_id,
                connection,
            )
            .join(audience, audience.c.id == customer_list.c.audience_id)
            .join(connection, connection.c.id == audience.c.connection_id)
            .where(
                customer_list.c.held_reason == GONE,
                connection.c.removed_at.is_(None),
                has_passed(customer_list.c.not_before, s.canary_interval),
            )
        ).all()
    looks = [(_look_at_connection, row) for row in accounts]
    looks += [(_look_at_list, row) for row in lists]
    return sum(_looked(deployment, look, row) for look, row in looks)


def _looked(deployment: Deployment, look: Look, row: sa.Row[Any]) -> bool:
    """One look; what is wrong with one connection keeps nobody from looking at the next."""
    try:
        return look(deployment, row)
    except Unavailable:
        raise
    except PinfoldError as problem:
        log.warning("connection %s cannot be looked at: %s", row.name, problem)
        return False


def _look_at_connection(deployment: Deployment, row: sa.Row[Any]) -> bool:
    with transaction(deployment.engine) as tx:
        client = open_client(deployment, tx, row)
    answer = client.get_account()
    client.close()
    lost = answer.ok and not may_change_audiences(roles_of(answer.body))
    # what was mended meanwhile is left alone
    still_held = sa.and_(connection.c.id == row.id, connection.c.held_at == row.held_at)
    with transaction(deployment.engine) as tx:
        if answer.ok and not lost:
            if tx.execute(sa.select(connection.c.id).where(still_held)).first():
                resume_connection(tx, row.id)
            return True
        later = _look_again(deployment)
        if lost:  # the account may be seen, which does not help
            later["held_reason"] = "role lost"
        tx.execute(sa.update(connection).where(still_held).values(**later))
    return False


def _look_at_list(deployment: Deployment, row: sa.Row[Any]) -> bool:
    with transaction(deployment.engine) as tx:
        client = open_client(deployment, tx, row)
        asked_at = tx.execute(sa.select(NOW)).scalar_one()
    answer: Answer = client.get_list(row.pinterest_list_id)
    client.close()
    still_held = sa.and_(
        customer_list.c.id == row.list_id, customer_list.c.held_at == row.list_held_at
    )
    with transaction(deployment.engine) as tx:
        owing = sa.select(customer_list.c.id).where(still_held, uncounted()).with_for_update()
        owes = tx.execute(owing).first() is not None
        goes_on = answer.ok and (not owes or _charged(deployment, tx, row, answer, asked_at))
        values = RESUMED if goes_on else _look_again(deployment)
        tx.execute(sa.update(customer_list).where(still_held).values(**values))
    return goes_on


def _charged(
    deployment: Deployment, tx: sa.Connection, row: sa.Row[Any], answer: Answer, asked_at: datetime
) -> bool:
    """Charge a list with what Pinterest counted, as a recovery does; False where it did not say."""
    seen = list_values(answer.body)
    records = counted(seen)
    if records is None:
        return False
    allowance = row.records_per_request or deployment.settings.records_per_request
    reconcile(tx, row.list_id, records + allowance, asked_at, seen)
    return True


def _look_again(deployment: Deployment) -> dict[str, Any]:
    return {"not_before": NOW + seconds(deployment.settings.canary_interval)}
