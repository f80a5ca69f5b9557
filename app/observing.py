"""Observing: what Pinterest says of our lists and audiences, looked at from time to time.

A list is looked at hourly within a day after an upload, else daily, and once after an unknown
outcome. Whoever looks first pushes ``observe_not_before`` ahead by the shorter interval, so two
workers never look at the same list and a crash only delays; a list without uploads rests longer.
Looks take slots of the read budget. They never touch a list's lane; a list that is gone is held,
as delivery does, and what concerns the login or the pace concerns the whole connection.

Lists that take no uploads are left alone, but in the week after a recovery: counters that come late
raise their charge too, for what still stands in an older list's lane, or an audience that is
activated again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.connections import hold_connection, open_client
from app.database import transaction
from app.deployment import Deployment
from app.evidence import LATE, note_look
from app.lease import NOW, has_passed, seconds
from app.lists import GONE
from app.pinterest.client import PinterestClient
from app.pinterest.heeding import heed
from app.pinterest.outcomes import Action, Answer, judge
from app.pinterest.replies import audience_values, list_values
from app.pinterest.throttle import take_slot
from app.reconciling import UNRECONCILED
from app.renewing import Renewal, renew_refused
from app.settings import Settings
from app.standing import AUDIENCE_GONE
from app.tables import audience, connection, customer_list

MOST_LOOKS = 200
"""Lists in one run."""
RUN_S = 40.0
"""Seconds after which a run begins no further look."""
AFTER_UPLOAD = 86_400.0
"""Seconds after an upload, or the activation, within which looks are frequent."""


@dataclass
class _Round:
    """One run: the clients it opened, and the connections that cannot be asked any more."""

    deployment: Deployment
    stack: ExitStack
    clients: dict[int, PinterestClient] = field(default_factory=dict)
    resting: set[int] = field(default_factory=set)

    def client(self, connection_id: int) -> PinterestClient:
        if connection_id not in self.clients:
            with transaction(self.deployment.engine) as tx:
                row = tx.execute(
                    sa.select(connection).where(connection.c.id == connection_id)
                ).one()
                client = open_client(self.deployment, tx, row)
            self.clients[connection_id] = self.stack.enter_context(closing(client))
        return self.clients[connection_id]

    def may_read(self, connection_id: int) -> bool:
        """Wait for a slot for one read; False when the connection's next one is too far off."""
        s = self.deployment.settings
        with transaction(self.deployment.engine) as tx:
            wait = take_slot(tx, connection_id, s, category="ads_read")
        if wait > s.patience:
            self.resting.add(connection_id)
            return False
        time.sleep(wait)
        return True

    def read(self, connection_id: int, call: Callable[[PinterestClient], Answer]) -> Answer:
        """Make one read; what the answer says of the pace is heeded."""
        answer = call(self.client(connection_id))
        with transaction(self.deployment.engine) as tx:
            heed(tx, connection_id, self.deployment.settings, answer, "ads_read")
        return answer


def observe_due_once(deployment: Deployment) -> int:
    """Look at every list whose time has come, within bounds; returns how many were seen.

    Connections take turns, so that one with many lists or few reads does not hold up others.
    """
    ends_at = time.monotonic() + RUN_S
    with transaction(deployment.engine) as tx:
        due = tx.execute(_due(deployment.settings)).all()
    seen = 0
    with ExitStack() as stack:
        this = _Round(deployment, stack)
        for row in due:
            if time.monotonic() >= ends_at:
                break
            if row.connection_id not in this.resting:
                seen += _look(this, row)
    return seen


def _due(s: Settings) -> sa.Select[Any]:
    """The lists whose time has come, the next of each connection first."""
    takes_uploads = sa.and_(customer_list.c.current, audience.c.state != "deactivated")
    in_turn = sa.func.row_number().over(
        partition_by=audience.c.connection_id,
        order_by=customer_list.c.observe_not_before.asc().nulls_first(),
    )
    return (
        sa.select(
            customer_list.c.id,
            customer_list.c.pinterest_list_id,
            customer_list.c.pinterest_audience_id,
            customer_list.c.observe_not_before,
            audience.c.connection_id,
            takes_uploads.label("takes_uploads"),
        )
        .join(audience, audience.c.id == customer_list.c.audience_id)
        .join(connection, connection.c.id == audience.c.connection_id)
        .where(
            sa.or_(takes_uploads, _is_restored_lately()),
            customer_list.c.pinterest_list_id.is_not(None),
            customer_list.c.held_reason.is_distinct_from(GONE),
            connection.c.removed_at.is_(None),
            connection.c.held_reason.is_(None),
            has_passed(connection.c.not_before, s.longest_pause, once=True),
            _time_has_come(s),
        )
        .order_by(in_turn, customer_list.c.id)
        .limit(MOST_LOOKS)
    )


def _is_restored_lately() -> sa.ColumnElement[bool]:
    now = sa.select(NOW).scalar_subquery()
    return connection.c.restored_at > now - seconds(LATE)


def _time_has_come(s: Settings) -> sa.ColumnElement[bool]:
    """True for lists to be looked at now; the last look was an interval before ``rested``."""
    now = sa.select(NOW).scalar_subquery()
    rested, interval = customer_list.c.observe_not_before, seconds(s.observe_interval)
    idle = seconds(max(0.0, s.observe_idle - s.observe_interval))
    since = sa.func.coalesce(audience.c.last_upload_at, audience.c.activated_at)
    calm_at = customer_list.c.unknown_at + seconds(s.quarantine)
    return sa.or_(
        rested.is_(None),
        rested + idle <= now,
        rested > now + seconds(3 * s.observe_interval),  # the clock was set back since
        sa.and_(rested <= now, since >= now - seconds(AFTER_UPLOAD)),
        sa.and_(calm_at <= now, calm_at > rested - interval),
    )


def _look(this: _Round, row: sa.Row[Any]) -> bool:
    """Look at one list and its audience, unless somebody else does; True when it was seen."""
    if not this.may_read(row.connection_id):
        return False
    asked_at = _claim(this.deployment, row)
    if asked_at is None:
        return False
    listed = this.read(row.connection_id, lambda client: client.get_list(row.pinterest_list_id))
    if not listed.ok:
        if not _is_gone(listed):
            _heed(this, row, listed)
        elif row.takes_uploads:
            _hold(this.deployment, row, listed.message)
        return False
    values = list_values(listed.body) | _look_at_audience(this, row)
    note_look(this.deployment, row.id, asked_at, values)
    return True


def _claim(deployment: Deployment, row: sa.Row[Any]) -> datetime | None:
    """Push the next look ahead; the time of the look, None where another worker was first."""
    c = customer_list.c
    with transaction(deployment.engine) as tx:
        asked_at: datetime | None = tx.execute(
            sa.update(customer_list)
            .where(
                c.id == row.id, c.observe_not_before.is_not_distinct_from(row.observe_not_before)
            )
            .values(observe_not_before=NOW + seconds(deployment.settings.observe_interval))
            .returning(NOW)
        ).scalar()
    return asked_at


def _look_at_audience(this: _Round, row: sa.Row[Any]) -> dict[str, Any]:
    if row.pinterest_audience_id is None or not this.may_read(row.connection_id):
        return {}
    answer = this.read(
        row.connection_id, lambda client: client.get_audience(row.pinterest_audience_id)
    )
    if answer.ok:
        return audience_values(answer.body)
    if _is_gone(answer):
        return {"audience_status": AUDIENCE_GONE}
    _heed(this, row, answer)
    return {}


def _is_gone(answer: Answer) -> bool:
    """True when Pinterest itself says so, not some page on the way."""
    return answer.own_words and judge(answer).reason == GONE


def _hold(deployment: Deployment, row: sa.Row[Any], message: str) -> None:
    """The list waits for a person to choose: rebuild or deactivate.

    One that could not be recovered waits for that: by this reason it would go on without it.
    """
    reason = sa.func.coalesce(customer_list.c.held_reason, "")
    with transaction(deployment.engine) as tx:
        tx.execute(
            sa.update(customer_list)
            .where(
                customer_list.c.id == row.id,
                reason.not_in((GONE, UNRECONCILED)),
            )
            .values(held_reason=GONE, held_message=message, held_at=NOW)
        )


def _heed(this: _Round, row: sa.Row[Any], answer: Answer) -> None:
    """A read failed: no more of this connection in this run; what is wrong with it is minded."""
    this.resting.add(row.connection_id)
    verdict = judge(answer)
    if verdict.action is Action.RENEW_LOGIN:
        version = this.client(row.connection_id).login_version
        if renew_refused(this.deployment, row.connection_id, version) is Renewal.RENEWED:
            _look_soon(this.deployment, row)
    elif verdict.action is Action.HOLD_CONNECTION:
        with transaction(this.deployment.engine) as tx:
            version = this.client(row.connection_id).login_version
            hold_connection(tx, row.connection_id, verdict.reason, verdict.message, version)


def _look_soon(deployment: Deployment, row: sa.Row[Any]) -> None:
    with transaction(deployment.engine) as tx:
        tx.execute(
            sa.update(customer_list)
            .where(customer_list.c.id == row.id)
            .values(observe_not_before=None)
        )
