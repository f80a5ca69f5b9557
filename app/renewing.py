"""Renewing logins: new tokens in time, by one process at a time, and after a refusal at once.

Tokens are renewed at half of their life, also of connections that rest, with jitter. The row's
lease keeps it to one process; the request goes out with no transaction open; both tokens change in
one commit. Pinterest may hand out a new refresh token and let the old one die (API facts, section
5), so the one just used is kept until its successor has worked: a process that dies between the
answer and the commit leaves a working login where Pinterest still takes the old one, and a clear
"login revoked" where it does not.

A refused access token is renewed once for all workers: they name the version they used, and who
comes late finds a newer one. A refused renewal stops nothing while the access token still works,
and is tried again for as long as it takes: an app's secret may be mended.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import sqlalchemy as sa

from app.backoff import pause
from app.connections import hold_connection, resume_connection
from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, LeaseLost
from app.lease import NOW, Claim, release, seconds, try_claim, write_under
from app.logins import Login, Tokens, read_login, renewal_due_at, store_login, warning_days
from app.pinterest.oauth import OAuthClient, read_tokens
from app.pinterest.outcomes import Answer
from app.pinterest.wire import Patience
from app.settings import Settings
from app.tables import connection, login

log = logging.getLogger(__name__)

REFUSED_AGAIN = timedelta(minutes=10)
"""A new token refused so soon after the last refusal: renewing does not help."""
LOGIN_REASONS = ("log in again", "login expired", "login revoked")
"""Why a connection is held for its login; a renewal that works lets it go on."""


class Renewal(Enum):
    RENEWED = "there are new tokens"
    BUSY = "another process is at it"
    LATER = "it is tried again later"
    HELD = "a person has to log in"


@dataclass(frozen=True)
class _Task:
    """One renewal under its lease."""

    deployment: Deployment
    claim: Claim
    tokens: Login
    refused: bool
    """The access token does not work any more: nothing can be sent before this ends well."""


def renew_due_once(deployment: Deployment) -> int:
    """Renew every login whose time has come; returns how many. Beat asks for it once a minute."""
    with transaction(deployment.engine) as tx:
        now: datetime = tx.execute(sa.select(NOW)).scalar_one()
        rows = tx.execute(
            sa.select(login.c.id, connection.c.name, connection.c.held_reason)
            .join(connection, connection.c.id == login.c.id)
            .where(connection.c.removed_at.is_(None))
            .order_by(login.c.id)
        ).all()
        logins = [(row, read_login(tx, deployment.keyring, row.id)) for row in rows]
    renewed = 0
    for row, tokens in logins:
        due = renewal_due_at(tokens, _chance(row.id, tokens.version))
        if due is not None and (due <= now or row.held_reason in LOGIN_REASONS):
            renewed += renew(deployment, row.id) is Renewal.RENEWED
        _warn(deployment, row, tokens, now)
    return renewed


def renew_refused(deployment: Deployment, connection_id: int, version: int) -> Renewal:
    """Renew because Pinterest refused the access token of this version.

    Where another process is at it, waits a little for its end.
    """
    deadline = time.monotonic() + deployment.settings.patience
    while True:
        outcome = renew(deployment, connection_id, version)
        if outcome is not Renewal.BUSY or time.monotonic() >= deadline:
            return outcome
        time.sleep(0.1)


def renew(deployment: Deployment, connection_id: int, refused: int | None = None) -> Renewal:
    """Renew the tokens of a connection, because it is time or because version ``refused`` was.

    Raises Unavailable when Postgres goes away; the lease then runs out by itself.
    """
    with transaction(deployment.engine) as tx:
        claim = try_claim(tx, login, connection_id, deployment.settings)
        tokens = read_login(tx, deployment.keyring, connection_id)
        now: datetime = tx.execute(sa.select(NOW)).scalar_one()
        if refused is not None and tokens.version != refused:
            if claim is not None:
                release(tx, login, claim)
            return Renewal.RENEWED
        if claim is None:
            return _taken_or_resting(tx, connection_id)
        ended = tokens.access_expires_at is not None and tokens.access_expires_at <= now
        task = _Task(deployment, claim, tokens, refused=refused is not None or ended)
        if tokens.refresh is None:
            message = "Pinterest refuses the access token, and there is no refresh token"
            return _fail(tx, task, "log in again", message)
        if refused is not None and _was_refused_lately(tx, connection_id):
            message = "Pinterest refuses tokens that it gave out minutes ago"
            return _fail(tx, task, "login revoked", message)
    try:
        answer, used = _ask(deployment.settings, tokens)
    except ConfigError as problem:
        with transaction(deployment.engine) as tx:
            return _fail(tx, task, "log in again", str(problem))
    try:
        with transaction(deployment.engine) as tx:
            write_under(tx, login, claim, epoch=login.c.epoch)  # still ours?
            return _settle(tx, task, answer, used)
    except LeaseLost:
        return Renewal.BUSY


def _taken_or_resting(tx: sa.Connection, connection_id: int) -> Renewal:
    resting = sa.select(login.c.not_before > NOW).where(login.c.id == connection_id)
    return Renewal.LATER if tx.execute(resting).scalar() else Renewal.BUSY


def _was_refused_lately(tx: sa.Connection, connection_id: int) -> bool:
    lately = sa.select(login.c.refused_at > NOW - REFUSED_AGAIN).where(login.c.id == connection_id)
    return bool(tx.execute(lately).scalar())


def _ask(s: Settings, tokens: Login) -> tuple[Answer, str]:
    """The answer to the refresh token, or to the one before it where that one is refused.

    Returns the token it is an answer to. Raises ConfigError where no app is set.
    """
    app_id, app_secret = s.require_app()
    client = OAuthClient(s.pinterest_url, app_id, app_secret, Patience.of(s))
    last_moment = time.monotonic() + s.lease - s.call_deadline
    try:
        used = tokens.refresh or ""
        answer = client.refresh(used)
        if _is_refusal(answer) and tokens.previous_refresh and time.monotonic() < last_moment:
            used = tokens.previous_refresh
            answer = client.refresh(used)
        return answer, used
    finally:
        client.close()


def _is_refusal(answer: Answer) -> bool:
    """True when Pinterest said in its own words that it does not take the token, or the app."""
    return answer.status in (400, 401, 403) and answer.own_words and answer.code != 12


def _settle(tx: sa.Connection, task: _Task, answer: Answer, used: str) -> Renewal:
    """Act on the answer, in one transaction."""
    now: datetime = tx.execute(sa.select(NOW)).scalar_one()
    new = read_tokens(answer.body, now) if answer.ok else None
    if new is not None:
        store_login(
            tx,
            task.deployment.keyring,
            task.claim.id,
            _completed(new, task.tokens, used),
            previous_refresh=used if new.refresh not in (None, used) else None,
        )
        refused = {"refused_at": NOW} if task.refused else {}
        release(tx, login, task.claim, **refused)
        _resume(tx, task.claim.id)
        return Renewal.RENEWED
    if _is_refusal(answer):
        end = task.tokens.refresh_expires_at
        expired = end is not None and end <= now
        return _fail(tx, task, "login expired" if expired else "login revoked", answer.message)
    return _fail(tx, task, None, answer.message, answer.retry_after)


def _completed(new: Tokens, old: Login, used: str) -> Tokens:
    """What was given; what was not given stays as it was."""
    return Tokens(
        access=new.access,
        access_expires_at=new.access_expires_at,
        refresh=new.refresh or used,
        refresh_expires_at=new.refresh_expires_at or old.refresh_expires_at,
        scopes=new.scopes or old.scopes,
    )


def _fail(
    tx: sa.Connection,
    task: _Task,
    reason: str | None,
    message: str,
    wait: float | None = None,
) -> Renewal:
    """Note a failure and come again later; hold the connection where there is a reason to.

    There is one only when the access token does not work any more.
    """
    failures = task.tokens.failures + 1
    later = NOW + seconds(wait or pause(failures, task.deployment.settings))
    release(tx, login, task.claim, failures=failures, not_before=later, problem=message)
    if not task.refused:
        return Renewal.LATER
    if reason is not None:
        hold_connection(tx, task.claim.id, reason, message)
        return Renewal.HELD
    which = connection.c.id == task.claim.id
    tx.execute(sa.update(connection).where(which).values(not_before=later))
    return Renewal.LATER


def _resume(tx: sa.Connection, connection_id: int) -> None:
    """What was held for the login goes on; what is held for another reason stays."""
    held = sa.select(connection.c.held_reason).where(connection.c.id == connection_id)
    if tx.execute(held).scalar() in (None, *LOGIN_REASONS):
        resume_connection(tx, connection_id)


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
