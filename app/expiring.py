"""Logins that come to an end: renewed at half of their life, warned of when that does not work."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.errors import PinfoldError, Unavailable
from app.lease import NOW
from app.logins import Login, read_login, renewal_due_at, warning_days
from app.renewing import LOGIN_REASONS, Renewal, renew
from app.tables import connection, login

log = logging.getLogger(__name__)

RUN_S = 40.0
"""After which one run begins no further renewal."""


def renew_due_once(deployment: Deployment) -> int:
    """Renew every login whose time has come; returns how many. Beat asks for it once a minute.

    One that cannot be renewed, or not even be read, stops none of the others.
    """
    with transaction(deployment.engine) as tx:
        rows = tx.execute(
            sa.select(login.c.id, connection.c.name, connection.c.held_reason)
            .join(connection, connection.c.id == login.c.id)
            .where(connection.c.removed_at.is_(None))
            .order_by(login.c.id)
        ).all()
    ends_at = time.monotonic() + RUN_S
    renewed = 0
    for row in rows:
        if time.monotonic() > ends_at:
            break
        try:
            renewed += _renew_if_due(deployment, row)
        except Unavailable:
            raise
        except PinfoldError as problem:
            log.warning("the login of connection %s cannot be renewed: %s", row.name, problem)
    return renewed


def _renew_if_due(deployment: Deployment, row: Any) -> bool:
    with transaction(deployment.engine) as tx:
        tokens = read_login(tx, deployment.keyring, row.id)
        now: datetime = tx.execute(sa.select(NOW)).scalar_one()
    _warn(deployment, row, tokens, now)
    due = renewal_due_at(tokens, _chance(row.id, tokens.version))
    failed = row.held_reason in LOGIN_REASONS and tokens.failures > 0
    if due is None or not (due <= now or failed):
        return False
    return renew(deployment, row.id) is Renewal.RENEWED


def _chance(connection_id: int, version: int) -> float:
    """A number in [0, 1) that stays the same for one version of a login."""
    return (connection_id * 0.618034 + version * 0.414214) % 1


def _warn(deployment: Deployment, row: Any, tokens: Login, now: datetime) -> None:
    """Say in the log, once for each of the days, that a login is about to end."""
    days = warning_days(tokens, now)
    if days is None:
        return
    untold = sa.or_(login.c.warned_days.is_(None), login.c.warned_days > days)
    with transaction(deployment.engine) as tx:
        told = tx.execute(
            sa.update(login)
            .where(login.c.id == row.id, login.c.version == tokens.version, untold)
            .values(warned_days=days)
        ).rowcount
    if told:
        log.warning(
            "the login of connection %s ends within %s days: pinfold connection replace-login %s",
            *(row.name, days, row.name),
        )
