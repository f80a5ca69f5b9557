"""Deliver: post the batches of one customer list in order, one request after another.

    lease -> create the list if it does not exist -> per batch: slot, charge, send, settle

A turn ends when nothing is left, when something has to wait (that stands in the database then), or
after a few seconds. Whoever ends one calls up the list of the connection that was served longest
ago, so that lists take turns, however much one has to send and however few workers there are. The
next turn, by whichever worker, goes on from what stands in the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from app.bodies import hex_records
from app.creation import make_audience, make_list, placeholder
from app.database import transaction
from app.deployment import Deployment
from app.due_lists import lane, lists_due
from app.errors import ConfigError, LeaseLost, UnreadableBody
from app.keyring import batch_purpose
from app.lease import NOW, has_passed, release, seconds, try_claim
from app.lots import Lot, book_over_cap
from app.pinterest.outcomes import Settlement, judge
from app.pinterest.replies import list_values
from app.quota import abandon_in_flight, room
from app.renewing import Renewal, renew_refused
from app.settling import book_lane, hold, settle_batch, settle_probe, stop
from app.tables import audience, batch, customer_list, observation, staged_chunk
from app.turn import Paused, Turn, View, client_of, unknown_values

SEEN_LATELY = 60.0
"""Seconds after an observation in which turns with the list add none."""
UNKNOWNS_BEFORE_LOOKING = 2
"""Unknown outcomes in a row after which a read must succeed before the next charge."""


_NEXT_LOT = (
    sa.select(
        batch.c.id,
        batch.c.upload_id,
        batch.c.parent_id,
        batch.c.operation,
        batch.c.record_count,
        batch.c.refused,
        batch.c.payload,
    )
    .where(batch.c.customer_list_id == sa.bindparam("list_id"), batch.c.state == "waiting")
    .order_by(batch.c.upload_id, batch.c.operation.desc(), batch.c.id)
    .limit(1)
)


@dataclass(frozen=True)
class Delivered:
    """What one turn did."""

    audience_id: int
    posts: int
    next_id: int | None
    """The list of the connection whose turn is next, if one can go on at once: often the same."""
    drains: bool
    """A bounded window left chunks of the audience behind, and their cut may wait for this lane."""

    @property
    def more(self) -> bool:
        return self.next_id is not None


def deliver_once(
    deployment: Deployment, list_id: int, stopping: Callable[[], bool] = lambda: False
) -> Delivered | None:
    """Take one turn with a list, None when there is nothing to do, or another worker has it, or it
    has to wait.

    Raises Unavailable when Postgres goes away: the lease then runs out by itself, and what was
    in flight is settled as unknown by the next turn.
    """
    turn = _begin(deployment, list_id)
    if turn is None:
        return None
    turn.stopping = stopping
    unfinished = False
    try:
        while _step(turn):
            unfinished = time.monotonic() >= turn.ends_at or turn.stopping()
            if unfinished:
                break
    except (Paused, LeaseLost):
        pass  # what it waits for stands in the database, or somebody else goes on
    finally:
        turn.client.close()
        _end(turn)
    goes_on = unfinished or turn.posts > 0
    if turn.login_refused:
        renewal = renew_refused(deployment, turn.connection_id, turn.client.login_version)
        goes_on = renewal is Renewal.RENEWED
    if not goes_on:
        return Delivered(turn.audience_id, turn.posts, None, drains=False)
    return _and_then(turn)


def _begin(deployment: Deployment, list_id: int) -> Turn | None:
    s = deployment.settings
    with transaction(deployment.engine) as tx:
        claim = try_claim(tx, customer_list, list_id, s, _something_to_do())
        if claim is None:
            return None
        audience_id, connection_id, client = client_of(deployment, tx, list_id)
        turn = Turn(
            deployment, claim, client, audience_id, connection_id, time.monotonic() + s.slice
        )
        for orphan in abandon_in_flight(tx, claim):
            if orphan.purpose == "CREATE":
                turn.update(tx, create_unknown_at=NOW)
            elif orphan.purpose != "AUDIENCE":
                turn.update(tx, **unknown_values(NOW, orphan.upload_id))
    return turn


def _step(turn: Turn) -> bool:
    """Do the one thing that is next for the list; True when there may be more to do now."""
    s = turn.deployment.settings
    with transaction(turn.deployment.engine) as tx:
        view = turn.look(tx)
        if view.state == "deactivated" or not view.forwarded:
            book_lane(tx, turn)
            return False
        held = view.list.held_reason or view.connection.held_reason
        if view.state != "active" or held or not view.connection_rested:
            return False
        lot = _next_lot(tx, turn)
    if view.list.pinterest_list_id is None:
        if lot is None and not view.connection.create_on_activation:
            return False
        return make_list(turn, view)
    if view.audience_due:
        return make_audience(turn, view)
    if lot is None:
        return False
    if view.list.unknown_streak >= UNKNOWNS_BEFORE_LOOKING:
        return _look_first(turn, view)
    quiet_since = _quarantined_since(view, lot, s.quarantine)
    if quiet_since is not None:
        with transaction(turn.deployment.engine) as tx:
            quiet_until = quiet_since + timedelta(seconds=s.quarantine)
            turn.update(tx, not_before=quiet_until, unknown_at=quiet_since)
        return False
    if view.list.probe_upload_id is not None:
        return _probe(turn, view)
    return _post(turn, view, lot)


def _post(turn: Turn, view: View, lot: Lot) -> bool:
    """Charge one batch, send it, settle it."""
    s, keyring = turn.deployment.settings, turn.deployment.keyring
    try:
        records = hex_records(keyring.open(lot.payload, batch_purpose(turn.claim.id)))
    except ConfigError:  # another worker may have the key; until then the other lists go first
        with transaction(turn.deployment.engine) as tx:
            turn.update(tx, not_before=NOW + seconds(s.backoff_first))
        raise
    except UnreadableBody as problem:
        with transaction(turn.deployment.engine) as tx:
            hold(tx, turn, "unreadable batch", f"batch {lot.id}: {problem}")
        return False
    limit = view.limit(lot.operation, s.record_cap)
    list_id = view.list.pinterest_list_id
    sent = turn.send(
        lambda: turn.client.change_list(list_id, lot.operation, records),
        purpose=lot.operation,
        records=lot.record_count,
        limit=limit,
        lot=lot,
    )
    with transaction(turn.deployment.engine) as tx:
        if sent is None:
            turn.confirm(tx)
            book_over_cap(tx, keyring, turn.claim, lot, room(tx, turn.claim, limit))
            return True
        return settle_batch(tx, turn, view, lot, sent)


def _probe(turn: Turn, view: View) -> bool:
    """Send one placeholder alone, to learn whether the list or its records are refused."""
    sent = turn.send(
        lambda: turn.client.change_list(
            view.list.pinterest_list_id, "ADD", placeholder(view.list.list_type)
        ),
        purpose="PROBE",
        records=1,
        limit=view.limit("ADD", turn.deployment.settings.record_cap),
        upload_id=view.list.probe_upload_id,
    )
    with transaction(turn.deployment.engine) as tx:
        if sent is None:  # no room to ask: take the list for well, so that nothing waits for ever
            turn.update(tx, proved_upload_id=view.list.probe_upload_id, probe_upload_id=None)
            return True
        return settle_probe(tx, turn, view, sent)


def _look_first(turn: Turn, view: View) -> bool:
    """After unknown outcomes in a row: a read must succeed, so that an outage eats no cap."""
    verdict = judge(turn.read(lambda: turn.client.get_list(view.list.pinterest_list_id)))
    with transaction(turn.deployment.engine) as tx:
        if verdict.settlement is Settlement.SENT:
            turn.update(tx, unknown_streak=UNKNOWNS_BEFORE_LOOKING - 1)
            return True
        return stop(tx, turn, view, verdict)


def _quarantined_since(view: View, lot: Lot, quarantine: float) -> datetime | None:
    """When the quarantine that a later upload waits for began, None when this batch may go.

    A beginning that lies ahead shows that the clock was set back; how much has passed of the
    quarantine cannot be told then, so all of it is still to come (design section 4).
    """
    row = view.list
    if row.unknown_at is None or row.unknown_upload_id == lot.upload_id:
        return None
    began: datetime = min(row.unknown_at, view.now)
    return began if began + timedelta(seconds=quarantine) > view.now else None


def _next_lot(tx: sa.Connection, turn: Turn) -> Lot | None:
    """The batch at the head of the lane: by upload, REMOVEs first, then in order of cutting."""
    row = tx.execute(_NEXT_LOT, {"list_id": turn.claim.id}).one_or_none()
    return None if row is None else Lot(*row[:-1], payload=bytes(row.payload))


def _something_to_do() -> sa.ColumnElement[bool]:
    """A hint often comes when another turn has done it all: a claim in vain would be two writes."""
    return sa.or_(
        lane(),
        customer_list.c.pinterest_list_id.is_(None),
        customer_list.c.pinterest_audience_id.is_(None),
    )


def _and_then(turn: Turn) -> Delivered:
    """What follows a turn: the list of the connection that was served longest ago and can go on."""
    left = sa.select(staged_chunk.c.id).join(audience, audience.c.id == staged_chunk.c.audience_id)
    drains = left.where(
        staged_chunk.c.audience_id == turn.audience_id, staged_chunk.c.id <= audience.c.drain_to
    ).exists()
    with transaction(turn.deployment.engine) as tx:
        waiting = lists_due(tx, turn.deployment.settings, turn.connection_id, most=1)
        left_behind = turn.posts > 0 and bool(tx.execute(sa.select(drains)).scalar())
    next_id = waiting[0] if waiting else None
    return Delivered(turn.audience_id, turn.posts, next_id, left_behind)


def _end(turn: Turn) -> None:
    """Give the lease back and keep, now and then, what Pinterest last said of the list."""
    with transaction(turn.deployment.engine) as tx:
        values = list_values(turn.last_reply)
        if values["batches"] is not None and not _seen_lately(tx, turn.claim.id):
            tx.execute(sa.insert(observation).values(customer_list_id=turn.claim.id, **values))
        release(tx, customer_list, turn.claim, **({"served_at": NOW} if turn.posts else {}))


def _seen_lately(tx: sa.Connection, list_id: int) -> bool:
    """True a minute long after counters were kept: turns are short, and a row each is too many."""
    newest = (
        sa.select(observation.c.observed_at)
        .where(observation.c.customer_list_id == list_id, observation.c.batches.is_not(None))
        .order_by(observation.c.id.desc())
        .limit(1)
        .subquery()
    )
    rests = sa.not_(has_passed(newest.c.observed_at + seconds(SEEN_LATELY), SEEN_LATELY))
    return bool(tx.execute(sa.select(rests)).scalar())
