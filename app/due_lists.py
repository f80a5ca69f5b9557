"""Which customer lists have something to do, found from Postgres alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from app.lease import has_passed
from app.lists import forwarded
from app.settings import Settings
from app.tables import APP, audience, batch, budget, connection, customer_list

DAY = 86_400.0


def lists_due(
    tx: sa.Connection, s: Settings, connection_id: int | None = None, most: int | None = None
) -> list[int]:
    """The lists with something to do (of one connection): to create, to deliver, or to book.

    Those that were served longest ago come first, those that never were before them.
    """
    query = _lists_due_query(s, of_one=connection_id is not None)
    return list(tx.execute(query.limit(most), {"of_connection": connection_id}).scalars())


def lane() -> sa.ColumnElement[bool]:
    """True for lists with batches that wait."""
    return sa.exists().where(
        batch.c.customer_list_id == customer_list.c.id, batch.c.state == "waiting"
    )


@lru_cache
def _lists_due_query(s: Settings, *, of_one: bool) -> sa.Select[Any]:
    """Put together once, as every turn ends with it."""
    this_one = connection.c.id == sa.bindparam("of_connection", type_=sa.BigInteger())
    wanted = sa.and_(
        customer_list.c.current,
        customer_list.c.pinterest_list_id.is_(None),
        connection.c.create_on_activation,
    )
    no_audience_yet = sa.and_(
        # an older list asks again where it has a time for it: it was too small when rolled over
        sa.or_(customer_list.c.current, customer_list.c.audience_not_before.is_not(None)),
        customer_list.c.pinterest_list_id.is_not(None),
        customer_list.c.pinterest_audience_id.is_(None),
        has_passed(customer_list.c.audience_not_before, s.longest_pause, once=True),
    )
    sends = sa.and_(audience.c.state == "active", forwarded())
    books = sa.or_(audience.c.state == "deactivated", sa.not_(forwarded()))
    return (
        sa.select(customer_list.c.id)
        .join(audience, audience.c.id == customer_list.c.audience_id)
        .join(connection, connection.c.id == audience.c.connection_id)
        .where(
            this_one if of_one else sa.true(),
            has_passed(customer_list.c.lease_until, s.lease, once=True),
            has_passed(customer_list.c.not_before, s.longest_pause, once=True),
            sa.or_(
                sa.and_(
                    sends,
                    customer_list.c.held_reason.is_(None),
                    connection.c.held_reason.is_(None),
                    has_passed(connection.c.not_before, s.longest_pause, once=True),
                    _may_write(s),
                    sa.or_(lane(), wanted, no_audience_yet),
                ),
                sa.and_(books, lane()),
            ),
        )
        .order_by(customer_list.c.served_at.nulls_first(), customer_list.c.id)
    )


def _may_write(s: Settings) -> sa.ColumnElement[bool]:
    """True for connections without a pause of writing, of their own or of a trial app."""

    def resting(longest: float) -> sa.Select[Any]:
        return sa.select(budget.c.connection_id).where(
            budget.c.category == "ads_write",
            sa.not_(has_passed(budget.c.not_before, longest, once=True)),
        )

    own = connection.c.id.not_in(resting(s.longest_pause))
    if not s.trial_app:
        return own
    return sa.and_(own, sa.not_(resting(DAY).where(budget.c.connection_id == APP).exists()))
