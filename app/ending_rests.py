"""Ending rests where the clock of Postgres was set back: by a person, or because a standby whose
clock is behind took over.

A rest is a time before which nothing is tried again. It was begun by the old time, so by the new
one it would last longer by as much as the clock was set back. Every rest may end early: what was
wrong still says so, and begins another. What must not end early, the quarantine, stands on its own
beginning (``app.delivery``), and leases are never stretched beyond three of their length.

The due check notices it by the end of the check before, which then lies ahead. It cannot where the
clock was set back by less than has passed since then, or in the midst of a check: rests then last
longer by as much.
"""

from __future__ import annotations

import logging
from datetime import timedelta

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.lease import NOW
from app.tables import audience, budget, connection, customer_list, login

log = logging.getLogger(__name__)

RESTS = (
    connection.c.not_before,
    login.c.not_before,
    audience.c.not_before,
    customer_list.c.not_before,
    customer_list.c.audience_not_before,
    customer_list.c.observe_not_before,
    budget.c.not_before,
)


def end_stretched_rests(deployment: Deployment, set_back: timedelta) -> None:
    """Let every rest be over that was begun before the clock was set back by so much.

    Those begun since end too, which does no harm. Who holds several rows here waits for none, and
    who waits for one holds no other, so it deadlocks with nobody, in whatever order they lock.
    Where it fails it is done again: the check that called it has not ended.
    """
    for rest in RESTS:
        key = sa.tuple_(*rest.table.primary_key)
        lasting = sa.select(*rest.table.primary_key).where(rest > NOW)
        ending = sa.update(rest.table).where(rest > NOW).values({rest.name: NOW})
        with transaction(deployment.engine) as tx:
            free = lasting.with_for_update(key_share=True, skip_locked=True)
            tx.execute(ending.where(key.in_(free)))
            locked = tx.execute(lasting).all()
        for row in locked:
            with transaction(deployment.engine) as tx:
                tx.execute(ending.where(key == sa.tuple_(*row)))
    log.warning("the clock of Postgres was set back by %s: all rests are over", set_back)
