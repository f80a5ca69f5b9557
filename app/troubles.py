"""Troubles: why a list or a connection is held or waits, in the words of the error book.

What is held carries its reason. What only waits is explained by the answer that its newest attempt
got, or by the pace of its connection; so nothing more has to be written down when a request fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.lease import NOW, has_passed, seconds
from app.lists import forwarded
from app.pinterest.entries import Action, Entry
from app.pinterest.error_book import entry, explain
from app.pinterest.throttle import Pace, read_pace
from app.settings import Settings
from app.tables import attempt, audience, batch, connection, customer_list, login

SHORT = 15.0
"""Seconds of waiting, without a failure, that are not worth a word."""


@dataclass(frozen=True)
class Trouble:
    reason: str
    held: bool
    """False for what goes on by itself."""
    message: str | None
    """What Pinterest said, redacted, or what Pinfold saw."""
    answer: str | None
    """HTTP status, code and request id, where the trouble began with an answer of Pinterest."""
    cause: str
    who: str
    retried: str
    fix: str


def read_connection_troubles(tx: sa.Connection) -> dict[int, Trouble]:
    """Why connections are held, or their logins not renewed, by the connection's id."""
    not_renewed = sa.and_(login.c.problem.is_not(None), login.c.refresh_sealed.is_not(None))
    query = (
        sa.select(connection, login.c.problem)
        .outerjoin(login, login.c.id == connection.c.id)
        .where(sa.or_(connection.c.held_reason.is_not(None), not_renewed))
    )
    found = {}
    for row in tx.execute(query):
        held = row.held_reason is not None
        reason = row.held_reason if held else "login not renewed"
        message = row.held_message if held else row.problem
        found[int(row.id)] = _trouble(reason, message, None, held=held, names=(row.name, "NAME"))
    return found


def read_list_troubles(tx: sa.Connection, s: Settings) -> dict[int, Trouble]:
    """The troubles of all current lists that have one, by the list's id."""
    slow = _read_slow(tx, s)
    found = {}
    for row in tx.execute(_lists_in_trouble(s.quarantine, list(slow))):
        trouble = _of_list(row, slow)
        if trouble is not None:
            found[int(row.list_id)] = trouble
    return found


def _read_slow(tx: sa.Connection, s: Settings) -> dict[int, Pace]:
    """The pace of connections whose next write is further off than workers wait for, by id.

    Those that rest for their login are left out: that is a trouble of the connection.
    """
    well = sa.and_(
        connection.c.held_reason.is_(None),
        connection.c.removed_at.is_(None),
        has_passed(connection.c.not_before, s.longest_pause),
    )
    ids = tx.execute(sa.select(connection.c.id).where(well).order_by(connection.c.id)).scalars()
    paces = {int(each): read_pace(tx, each, s) for each in ids.all()}
    return {each: pace for each, pace in paces.items() if pace.paused_until is not None}


def _lists_in_trouble(quarantine: float, slow: list[int]) -> sa.Select[Any]:
    """Lists that are held, failed at last, or wait, each with its newest attempt that ended.

    ``slow``: connections that have to wait, and so does each list that has something to send.
    """
    last = (
        sa.select(
            attempt.c.state,
            attempt.c.http_status,
            attempt.c.pinterest_code,
            attempt.c.request_id,
            attempt.c.detail,
        )
        .where(attempt.c.customer_list_id == customer_list.c.id, attempt.c.state != "in_flight")
        .order_by(attempt.c.id.desc())
        .limit(1)
        .lateral("last")
    )
    rests = customer_list.c.unknown_at + seconds(quarantine) > NOW
    lane = sa.exists().where(
        batch.c.customer_list_id == customer_list.c.id, batch.c.state == "waiting"
    )
    to_make = sa.and_(
        customer_list.c.pinterest_list_id.is_(None), connection.c.create_on_activation
    )
    waits = sa.and_(
        audience.c.state == "active",
        connection.c.held_reason.is_(None),
        sa.or_(
            customer_list.c.failures > 0,
            customer_list.c.not_before > NOW + seconds(SHORT),
            sa.and_(connection.c.id.in_(slow), forwarded(), sa.or_(lane, to_make)),
        ),
    )
    return (
        sa.select(
            customer_list.c.id.label("list_id"),
            customer_list.c.held_reason,
            customer_list.c.held_message,
            customer_list.c.failures,
            rests.label("rests"),
            connection.c.id.label("connection_id"),
            connection.c.name.label("connection_name"),
            audience.c.name.label("audience_name"),
            last,
        )
        .join(audience, audience.c.id == customer_list.c.audience_id)
        .join(connection, connection.c.id == audience.c.connection_id)
        .outerjoin(last, sa.true())
        .where(customer_list.c.current, sa.or_(customer_list.c.held_reason.is_not(None), waits))
    )


def _of_list(row: sa.Row[Any], slow: dict[int, Pace]) -> Trouble | None:
    names = (row.connection_name, row.audience_name)
    if row.held_reason is not None:
        from_attempt = row.state not in (None, "sent") and row.detail == row.held_message
        answer = _answer(row) if from_attempt else None
        return _trouble(row.held_reason, row.held_message, answer, held=True, names=names)
    if not row.failures:
        reason, message = _why_it_waits(row, slow.get(row.connection_id))
        return _trouble(reason, message, None, held=False, names=names)
    known = _explained(row)
    if known is None or known.action not in (Action.WAIT, Action.WAIT_CONNECTION):
        return None
    return _trouble(known.slug, row.detail, _answer(row), held=False, names=names)


def _why_it_waits(row: sa.Row[Any], slow: Pace | None) -> tuple[str, str | None]:
    """Why a list waits that did not fail itself, and when its connection may write again."""
    if slow is None:
        return "resting" if row.rests else "pacing", None
    message = f"the next request goes at {slow.paused_until:%Y-%m-%d %H:%M} UTC"
    return "rate limited" if slow.paused else "pacing", message


def _explained(row: sa.Row[Any]) -> Entry | None:
    """The entry for what a list's newest attempt met, None when it met nothing bad."""
    if row.state in (None, "sent"):
        return None
    if row.http_status is None:
        return entry("unreachable" if row.state == "refused" else "timed out")
    return explain(row.http_status, row.pinterest_code, row.detail or "")


def _answer(row: sa.Row[Any]) -> str | None:
    if row.http_status is None:
        return None
    parts = [f"HTTP {row.http_status}"]
    if row.pinterest_code is not None:
        parts.append(f"code {row.pinterest_code}")
    if row.request_id:
        parts.append(f"request {row.request_id}")
    return ", ".join(parts)


def _trouble(
    reason: str, message: str | None, answer: str | None, *, held: bool, names: tuple[str, str]
) -> Trouble:
    known = entry(reason)
    return Trouble(
        reason=reason,
        held=held,
        message=message,
        answer=answer,
        cause=known.cause,
        who=known.who,
        retried=known.retried,
        fix=known.fix_for(*names),
    )
