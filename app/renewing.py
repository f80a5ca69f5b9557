"""Renewing logins: new tokens in time, by one process at a time, and after a refusal at once.

Tokens are renewed at half of their life, also of connections that rest, with jitter. The row's
lease keeps it to one process; the request goes out with no transaction open; both tokens change in
one commit. Pinterest may hand out a new refresh token and let the old one die (API facts, section
5), so the one just used is kept until its successor has worked: a process that dies between the
answer and the commit leaves a working login where Pinterest still takes the old one, and a clear
"login revoked" where it does not.

A refused access token is renewed once for all workers: they name the version they used, and who
comes late finds a newer one. A refused renewal stops nothing while the access token still works,
and is tried again for as long as it takes: an app's secret may be mended. New tokens are kept even
where the lease ran out meanwhile, unless the login has another version by then: a person's counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from app.backoff import pause
from app.connections import hold_connection, resume_connection
from app.database import may_pass, transaction
from app.deployment import Deployment
from app.errors import ConfigError, LeaseLost, Unavailable
from app.lease import NOW, Claim, release, seconds, try_claim, write_under
from app.logins import Login, Tokens, read_login, store_login
from app.pinterest.entries import Action, Entry
from app.pinterest.error_book import explain
from app.pinterest.oauth import OAuthClient, read_tokens
from app.pinterest.outcomes import Answer
from app.pinterest.wire import Patience
from app.tables import connection, login

REFUSED_AGAIN = timedelta(minutes=10)
"""A new token refused so soon after the last refusal: renewing does not help."""
COMMIT_PAUSE_S = 0.5
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
    by_pinterest: bool
    """It was Pinterest that said so, not the clock."""
    sends_until: float
    """By the monotonic clock: a request begun later might outlast the lease."""


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
    s = deployment.settings
    began = time.monotonic()
    with transaction(deployment.engine) as tx:
        claim = try_claim(tx, login, connection_id, s)
        tokens = read_login(tx, deployment.keyring, connection_id)
        now: datetime = tx.execute(sa.select(NOW)).scalar_one()
        if refused is not None and tokens.version != refused:
            if claim is not None:
                release(tx, login, claim)
            return Renewal.RENEWED
        if claim is None:
            return _taken_or_resting(tx, connection_id, refused is not None)
        ended = tokens.access_expires_at is not None and tokens.access_expires_at <= now
        dead = refused is not None or ended
        last = began + s.lease - s.call_deadline
        task = _Task(deployment, claim, tokens, dead, refused is not None, last)
        if tokens.refresh is None:
            message = "Pinterest refuses the access token, and there is no refresh token"
            return _fail(tx, task, "log in again", message)
        if refused is not None and _was_refused_lately(tx, connection_id):
            # renewing again would not help: only a look that works lets it go on
            message = "Pinterest refuses tokens that it gave out minutes ago"
            hold_connection(tx, connection_id, "login revoked", message)
            release(tx, login, claim)
            return Renewal.HELD
    answer, used = _ask(task)
    return _settle_surely(task, answer, used)


def _taken_or_resting(tx: sa.Connection, connection_id: int, refused: bool) -> Renewal:
    """Why the lease could not be had; while renewing rests, a dead login sends nothing either."""
    rests_until = sa.select(login.c.not_before).where(
        login.c.id == connection_id, login.c.not_before > NOW
    )
    until = tx.execute(rests_until).scalar()
    if until is None:
        return Renewal.BUSY
    if refused:
        which = connection.c.id == connection_id
        tx.execute(sa.update(connection).where(which).values(not_before=until))
    return Renewal.LATER


def _was_refused_lately(tx: sa.Connection, connection_id: int) -> bool:
    # one that lies ahead shows that the clock was set back, and nothing about how long ago it was
    lately = login.c.refused_at.between(NOW - REFUSED_AGAIN, NOW)
    return bool(tx.execute(sa.select(lately).where(login.c.id == connection_id)).scalar())


def _ask(task: _Task) -> tuple[Answer, str]:
    """The answer to the refresh token, or to the one before it where that one is refused.

    Returns the token it is an answer to.
    """
    s, tokens = task.deployment.settings, task.tokens
    used = tokens.refresh or ""
    try:
        app_id, app_secret = s.require_app()
    except ConfigError as problem:
        return Answer(None, left=False, fault=str(problem)), used
    client = OAuthClient(s.pinterest_url, app_id, app_secret, Patience.of(s))
    try:
        if time.monotonic() > task.sends_until:  # this process was frozen
            return Answer(None, left=False, fault="too little of the lease was left"), used
        answer = client.refresh(used)
        again = tokens.previous_refresh is not None and time.monotonic() < task.sends_until
        if again and _refusal(answer) is not None:
            used = tokens.previous_refresh or ""
            answer = client.refresh(used)
        return answer, used
    finally:
        client.close()


def _refusal(answer: Answer) -> Entry | None:
    """The book's entry when Pinterest said in its own words that it does not take the token."""
    if answer.status not in (400, 401, 403) or not answer.own_words:
        return None
    entry = explain(answer.status, answer.code, answer.message)
    return None if entry.action in (Action.WAIT, Action.WAIT_CONNECTION) else entry


def _settle_surely(task: _Task, answer: Answer, used: str) -> Renewal:
    """Settle; tokens that are in hand are not given up for what may pass in a moment."""
    ends_at = task.sends_until + task.deployment.settings.call_deadline
    while True:
        try:
            with transaction(task.deployment.engine) as tx:
                return _settle(tx, task, answer, used)
        except LeaseLost:
            return Renewal.BUSY
        except (Unavailable, DBAPIError) as problem:
            if not (answer.ok and may_pass(problem)) or time.monotonic() > ends_at:
                raise
            time.sleep(COMMIT_PAUSE_S)


def _settle(tx: sa.Connection, task: _Task, answer: Answer, used: str) -> Renewal:
    """Act on the answer, in one transaction."""
    row = tx.execute(
        sa.select(login.c.version, NOW.label("now"))
        .where(login.c.id == task.claim.id)
        .with_for_update()
    ).one_or_none()
    if row is None or row.version != task.tokens.version:
        release(tx, login, task.claim)
        return Renewal.RENEWED  # by a person, or by who took over
    new = read_tokens(answer.body, row.now) if answer.ok else None
    if new is not None:
        rotated = new.refresh not in (None, used)
        store_login(
            tx,
            task.deployment.keyring,
            task.claim.id,
            _completed(new, task.tokens, used),
            previous_refresh=used if rotated else None,
        )
        refused = {"refused_at": NOW} if task.by_pinterest else {}
        release(tx, login, task.claim, **refused)
        _resume(tx, task.claim.id)
        return Renewal.RENEWED
    write_under(tx, login, task.claim, epoch=login.c.epoch)  # a refusal counts from its holder only
    refusal = _refusal(answer)
    if refusal is None:
        reason = None if task.deployment.settings.app_id else "log in again"
        return _fail(tx, task, reason, answer.message, answer.retry_after)
    if refusal.slug in ("app restricted", "scope missing"):
        return _fail(tx, task, refusal.slug, answer.message)
    end = task.tokens.refresh_expires_at
    expired = end is not None and end <= row.now
    return _fail(tx, task, "login expired" if expired else "login revoked", answer.message)


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
    s = task.deployment.settings
    rest = pause(failures, s) if wait is None else min(max(wait, 1.0), s.backoff_most)
    later = NOW + seconds(rest)
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
