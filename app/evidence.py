"""Evidence: keep what a look saw, compare the counters with our ledger, and act on it if allowed.

The comparison itself is pure (``app.witness``). Nothing here replaces sending again; giving charges
back is a setting that is off by default.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.lease import NOW, seconds
from app.quota import give_back_unknown
from app.reconciling import RECOVERY, last_recovery, reconcile_late
from app.tables import attempt, audience, carried_list, connection, customer_list, observation
from app.witness import NOTHING, PLACEHOLDER, Counters, Finding, Ledger, compare, effect

DOUBT = 86_400.0
"""Seconds after which a request without an answer will not land any more."""
WRITES = ("ADD", "REMOVE", "PROBE")
LATE = 7 * 86_400.0
"""Seconds after a recovery within which counters that come late still raise the charge."""
KEPT_DAYS = 30
"""Days after which only the last observation of each day is kept."""
GIVEN_BACK = "given back: a day later the counters were exactly what was accepted"


def note_look(
    deployment: Deployment, list_id: int, asked_at: datetime, values: dict[str, Any]
) -> Finding | None:
    """Keep what a look that began at ``asked_at`` saw; None where Pinterest gave no counters.

    ``values`` are columns of an observation. Gives charges back where that is set and proven. In
    the days after a recovery, counters beyond the charge raise it.
    """
    s = deployment.settings
    observed, finding, proven = _counters(values), None, False
    if observed is not None:
        with transaction(deployment.engine) as tx:
            ledger = read_ledger(tx, list_id, asked_at, s.call_deadline)
        finding = compare(observed, ledger)  # takes a moment: no transaction is open meanwhile
        proven = observed == ledger.accepted and not ledger.meanwhile
    with transaction(deployment.engine) as tx:
        if s.give_back_unknown and proven and _is_counted(tx, list_id, asked_at):
            give_back_unknown(tx, list_id, DOUBT, GIVEN_BACK)
        if observed is not None and _is_restored_lately(tx, list_id):
            reconcile_late(tx, list_id, observed.uploaded + observed.removed)
        tx.execute(
            sa.insert(observation).values(
                customer_list_id=list_id,
                observed_at=asked_at,
                finding=sa.null() if finding is None else finding.as_json(),
                **values,
            )
        )
    return finding


def _is_restored_lately(tx: sa.Connection, list_id: int) -> bool:
    query = (
        sa.select(connection.c.restored_at > NOW - seconds(LATE))
        .join(audience, audience.c.connection_id == connection.c.id)
        .join(customer_list, customer_list.c.audience_id == audience.c.id)
        .where(customer_list.c.id == list_id)
    )
    return bool(tx.execute(query).scalar())


def _is_counted(tx: sa.Connection, list_id: int, asked_at: datetime) -> bool:
    """True when the counters had a day for all that was accepted.

    Counters may come late. A newer request that is not counted yet, by as much as an unknown one
    that landed, would make it look lost.
    """
    lately = sa.select(attempt.c.id).where(
        attempt.c.customer_list_id == list_id,
        attempt.c.state == "sent",
        attempt.c.purpose.in_(WRITES),
        attempt.c.settled_at > asked_at - timedelta(seconds=DOUBT),
    )
    return tx.execute(lately.limit(1)).first() is None


def _counters(values: dict[str, Any]) -> Counters | None:
    given = (values["batches"], values["uploaded_records"], values["removed_records"])
    return None if None in given else Counters(*given)


def read_ledger(tx: sa.Connection, list_id: int, asked_at: datetime, longest: float) -> Ledger:
    """Our writes to a list as they stood at ``asked_at``; a request lasts ``longest`` seconds.

    After a recovery, those since then on top of what was counted at that time.
    """
    mine = sa.and_(
        attempt.c.customer_list_id == list_id,
        attempt.c.purpose.in_(WRITES),
        attempt.c.id > last_recovery(list_id),
    )
    accepted = sa.and_(attempt.c.state == "sent", attempt.c.settled_at <= asked_at)
    removes = attempt.c.purpose == "REMOVE"
    records = sa.func.coalesce(sa.func.sum(attempt.c.record_count).filter(~removes), 0)
    removed = sa.func.coalesce(sa.func.sum(attempt.c.record_count).filter(removes), 0)
    sums = tx.execute(sa.select(sa.func.count(), records, removed).where(mine, accepted)).one()
    others = tx.execute(
        sa.select(attempt.c.purpose, attempt.c.record_count, attempt.c.state).where(
            mine,
            attempt.c.state != "refused",
            sa.not_(sa.func.coalesce(accepted, sa.false())),
            attempt.c.started_at <= asked_at + timedelta(seconds=longest),
        )
    ).all()
    return Ledger(
        _beginning(tx, list_id).plus(_dropped(tx, list_id)).plus(Counters(*map(int, sums))),
        unknown=tuple(effect(p, n) for p, n, state in others if state == "unknown"),
        meanwhile=tuple(effect(p, n) for p, n, state in others if state != "unknown"),
    )


def _beginning(tx: sa.Connection, list_id: int) -> Counters:
    """The counters before the first of our writes that the ledger knows of."""
    o = observation.c
    row = tx.execute(
        sa.select(o.batches, o.uploaded_records, o.removed_records)
        .join(attempt, attempt.c.id == last_recovery(list_id))
        .where(
            o.customer_list_id == list_id,
            o.observed_at == attempt.c.settled_at,
            o.batches.is_not(None),
        )
        .limit(1)
    ).one_or_none()
    return PLACEHOLDER if row is None else Counters(*map(int, row))


def _dropped(tx: sa.Connection, list_id: int) -> Counters:
    """Accepted writes since then whose attempts are past their time (``app.purging``)."""
    c = carried_list.c
    query = sa.select(c.requests, c.added, c.removed).where(c.customer_list_id == list_id)
    row = tx.execute(query).one_or_none()
    return NOTHING if row is None else Counters(*map(int, row))


def thin_observations_once(deployment: Deployment) -> int:
    """Of observations past their time keep the last of each day and list; returns how many went.

    Those that a recovery began with stay: later looks are compared with them.
    """
    with transaction(deployment.engine) as tx:
        return int(tx.execute(_THIN, {"days": KEPT_DAYS, "recovery": RECOVERY}).rowcount)


_THIN = sa.text("""
DELETE FROM observation AS o
 WHERE o.observed_at < clock_timestamp() - :days * interval '1 day'
   AND EXISTS (SELECT 1 FROM observation AS later
                WHERE later.customer_list_id = o.customer_list_id AND later.id > o.id
                  AND date_trunc('day', later.observed_at) = date_trunc('day', o.observed_at))
   AND NOT EXISTS (SELECT 1 FROM attempt AS a
                    WHERE a.customer_list_id = o.customer_list_id AND a.purpose = :recovery
                      AND a.settled_at = o.observed_at)
""")
