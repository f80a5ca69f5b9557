"""Ending rests where the clock of Postgres was set back: by a person, or because a standby whose
clock is behind took over.

A rest is a time before which nothing is tried again. It was begun by the old time, so by the new
one it would last longer by as much as the clock was set back. Every rest may end early: what was
wrong still says so, and begins another. What must not end early, the quarantine, stands on its own
beginning (``app.delivery``), and leases are never stretched beyond three of their length.
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

    Those begun since end too, which does no harm. Each kind ends in a transaction of its own, so
    that nobody who locks rows in another order is met.
    """
    for rest in RESTS:
        with transaction(deployment.engine) as tx:
            tx.execute(sa.update(rest.table).where(rest > NOW).values({rest.name: NOW}))
    log.warning("the clock of Postgres was set back by %s: all rests are over", set_back)
