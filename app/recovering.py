"""Recovering: what a database must be told after it was restored from a backup.

A restored database is in the past. Pinterest is not: its listing shows how many records each list
has had, and which lists were made since the backup. ``survey`` asks for that and changes nothing
but a login that Pinterest refuses, which it renews; ``recover`` then, in one transaction,

- charges every list with what Pinterest counted, and holds those it could not ask about (the cap);
- lets every list rest for the quarantine, and fences whoever worked before the loss (the order);
- settles what was in flight as unknown;
- holds lists that are gone: should they come back, they are counted first (app.resuming);
- notes the backup's time with the connection, so that no list is made that exists (app.creation).

What waited when the backup was taken goes again before anything newer, or is written off. Only the
upstream system has what was accepted since, and its sending that again makes membership right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.errors import NotFound, Refused
from app.lease import NOW
from app.lists import GONE, RESUMED
from app.reconciling import UNRECONCILED, reconcile
from app.surveying import Question, Survey, SurveyedList, survey_connections
from app.tables import (
    attempt,
    audience,
    batch,
    connection,
    customer_list,
    login,
    staged_chunk,
    sweep,
)
from app.writing_off import GIVEN_UP, WrittenOff, forget_ids, write_off

LEAP = 1_000_000
"""Added to every epoch: no worker from the time between the backup and the loss has one as high."""


@dataclass(frozen=True)
class Plan:
    """What `recover` would do, and what it rests on."""

    backup_taken_at: datetime
    now: datetime
    newest_at: datetime | None
    """When the newest due check ended that the database knows of."""
    connections: list[Survey]
    waiting_messages: int
    waiting_records: int


@dataclass(frozen=True)
class Recovered:
    raised: Counter[str]
    """Records by which charges grew, by the names of the lists."""
    gone: list[str]
    held: list[str]
    """Lists that were not recovered, because Pinterest did not say what they have had."""
    in_flight: int
    """Requests that were under way when the backup was taken."""
    written_off: WrittenOff


def survey(
    deployment: Deployment,
    backup_taken_at: datetime,
    allowance: int | None = None,
    charged: Mapping[str, int] | None = None,
) -> Plan:
    """Ask Pinterest about every list, and reckon what has to be charged.

    ``allowance``: records that Pinterest may have got and not counted yet, per list; by default
    those of one request. ``charged``: what lists of a name were charged at least, from elsewhere.
    Raises Refused for a backup in the future or without a connection, NotFound where no list has a
    name.
    """
    charged = charged or {}
    with transaction(deployment.engine) as tx:
        now: datetime = tx.execute(sa.select(NOW)).scalar_one()
        newest = tx.execute(sa.select(sa.func.max(sweep.c.finished_at))).scalar()
        names = set(tx.execute(sa.select(customer_list.c.name)).scalars())
        messages = tx.execute(sa.select(sa.func.sum(staged_chunk.c.message_count))).scalar()
        lanes = sa.select(sa.func.sum(batch.c.record_count)).where(batch.c.state == "waiting")
        records = tx.execute(lanes).scalar()
    if backup_taken_at > now:
        raise Refused(f"the backup cannot be of the future: it is {now:%Y-%m-%dT%H:%MZ} here")
    for name in charged.keys() - names:
        raise NotFound(f"no list is called {name}: AUDIENCE-EMAIL or AUDIENCE-MAID")
    question = Question(backup_taken_at, allowance, charged)
    connections = survey_connections(deployment, question)
    if not connections:  # nor one to note the backup's time with
        raise Refused("no connection is known here: `pinfold connect NAME`, then recover again")
    return Plan(backup_taken_at, now, newest, connections, int(messages or 0), int(records or 0))


def recover(deployment: Deployment, plan: Plan, *, give_up_waiting: bool = False) -> Recovered:
    """Do what was planned, all of it or nothing. Safe to repeat; no charge is ever lowered."""
    raised: Counter[str] = Counter()
    with transaction(deployment.engine) as tx:
        _note_the_backup(tx, plan)
        in_flight = _abandon_in_flight(tx)
        _fence_everybody(tx)
        lists = [each for account in plan.connections for each in account.lists]
        for each in lists:
            if each.least is not None:
                added = reconcile(tx, each.list_id, each.least, plan.now, each.seen)
                raised += Counter({each.name: added})
            _hold_or_let_go(tx, each, plan.now)
        written_off = _give_up_waiting(tx) if give_up_waiting else WrittenOff(0, 0)
    return Recovered(
        raised,
        [each.name for each in lists if each.gone],
        [each.name for each in lists if each.least is None and not each.gone],
        in_flight,
        written_off,
    )


def _note_the_backup(tx: sa.Connection, plan: Plan) -> None:
    """The earliest backup counts: a second recovery does not know what came before the first."""
    standing = connection.c.removed_at.is_(None)
    tx.execute(
        sa.update(connection)
        .where(standing)
        .values(
            backup_taken_at=sa.func.least(connection.c.backup_taken_at, plan.backup_taken_at),
            restored_at=NOW,
            not_before=None,
        )
    )


def _abandon_in_flight(tx: sa.Connection) -> int:
    """What was under way when the backup was taken ended since, nobody knows how."""
    detail = "it was under way when the backup was taken"
    return tx.execute(
        sa.update(attempt)
        .where(attempt.c.state == "in_flight")
        .values(state="unknown", settled_at=NOW, detail=detail)
    ).rowcount


def _fence_everybody(tx: sa.Connection) -> None:
    """Void every lease, and let later uploads rest as after a request without an end."""
    tx.execute(sa.update(login).values(epoch=login.c.epoch + LEAP, lease_until=None))
    tx.execute(sa.update(audience).values(epoch=audience.c.epoch + LEAP, lease_until=None))
    c = customer_list.c
    tx.execute(
        sa.update(customer_list).values(
            epoch=c.epoch + LEAP,
            lease_until=None,
            not_before=None,
            failures=0,
            unknown_at=NOW,
            unknown_upload_id=None,
            create_unknown_at=sa.case((c.pinterest_list_id.is_(None), NOW)),
            observe_not_before=None,
        )
    )


def _hold_or_let_go(tx: sa.Connection, each: SurveyedList, asked_at: datetime) -> None:
    """Nothing may be sent to a list before it is known what it has had.

    A list that is gone is held as of before ``restored_at``, which tells it from those that vanish
    later and are counted (``app.reconciling.uncounted``).
    """
    c = customer_list.c
    which = sa.update(customer_list).where(c.id == each.list_id)
    if each.gone or each.least is None:
        reason = GONE if each.gone else UNRECONCILED
        held = {"held_reason": reason, "held_message": each.trouble, "held_at": asked_at}
        tx.execute(which.values(**held))
    else:
        ended = (UNRECONCILED,) if each.seen is None else (UNRECONCILED, GONE)
        tx.execute(which.where(c.held_reason.in_(ended)).values(**RESUMED))


def _give_up_waiting(tx: sa.Connection) -> WrittenOff:
    written_off = write_off(tx, GIVEN_UP)
    if any(written_off):
        forget_ids(tx)
    return written_off
