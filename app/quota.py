"""The cap: charge before sending, settle after (design section 4).

``charged`` of a list is an upper bound of the records Pinterest may have processed, at every
instant: it grows in the transaction that inserts the attempt, before the first byte leaves, and
shrinks only where an attempt was certainly not processed. One attempt is at most one request.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.errors import LeaseLost
from app.lease import NOW, Claim, seconds, write_under
from app.lists import forwarded
from app.lots import Lot
from app.pinterest.outcomes import Answer, Settlement
from app.reconciling import last_recovery
from app.settings import Settings
from app.tables import attempt, audience, connection, customer_list


class Charge(NamedTuple):
    """The right to send one request of ``records`` records."""

    attempt_id: int
    records: int


def charge(
    tx: sa.Connection,
    claim: Claim,
    s: Settings,
    *,
    purpose: str,
    records: int,
    limit: int,
    lot: Lot | None = None,
    upload_id: int | None = None,
) -> Charge | None:
    """Charge an attempt in flight, and renew the lease; None when it would pass ``limit``.

    Raises LeaseLost when the lease is gone, the audience is not active or its kind is not
    forwarded any more. If the commit fails, nothing may be sent.
    """
    named = {"list_id": claim.id, "claimed": claim.epoch, "more": records, "most": limit}
    updated = tx.execute(_charging(), named | {"leased_for": timedelta(seconds=s.lease)})
    if updated.rowcount != 1:
        if _charged(tx, claim) + records <= limit:
            raise LeaseLost(f"list {claim.id} may not be sent to any more")
        return None
    attempt_id: int = tx.execute(
        sa.insert(attempt)
        .values(
            customer_list_id=claim.id,
            batch_id=lot.id if lot else None,
            upload_id=lot.upload_id if lot else upload_id,
            purpose=purpose,
            record_count=records,
            epoch=claim.epoch,
        )
        .returning(attempt.c.id)
    ).scalar_one()
    return Charge(attempt_id, records)


@cache
def _charging() -> sa.Update:
    """The statement that charges, put together once, as it runs for every request.

    Its values are named unlike any column: SQLAlchemy would take them for what is to be set.
    """
    more = sa.bindparam("more", type_=sa.BigInteger())
    return (
        sa.update(customer_list)
        .where(
            customer_list.c.id == sa.bindparam("list_id"),
            customer_list.c.epoch == sa.bindparam("claimed"),
            customer_list.c.lease_until > NOW,
            customer_list.c.charged + more <= sa.bindparam("most"),
            _may_send(),
        )
        .values(
            charged=customer_list.c.charged + more,
            lease_until=NOW + sa.bindparam("leased_for", type_=sa.Interval()),
        )
    )


def _may_send() -> sa.ColumnElement[bool]:
    """The audience is active and the list's kind forwarded, read in the charging statement."""
    return sa.exists(
        sa.select(sa.literal(1))
        .select_from(audience.join(connection, connection.c.id == audience.c.connection_id))
        .where(
            audience.c.id == customer_list.c.audience_id, audience.c.state == "active", forwarded()
        )
        .correlate(customer_list)
    )


def room(tx: sa.Connection, claim: Claim, limit: int) -> int:
    """How many records still fit under a limit."""
    return max(0, limit - _charged(tx, claim))


def _charged(tx: sa.Connection, claim: Claim) -> int:
    charged: int = tx.execute(
        sa.select(customer_list.c.charged).where(customer_list.c.id == claim.id)
    ).scalar_one()
    return charged


def settle(
    tx: sa.Connection,
    claim: Claim,
    made: Charge,
    settlement: Settlement,
    answer: Answer,
    **values: Any,
) -> None:
    """Record what became of an attempt; a refused one gives its charge back.

    ``values``: what else is to be written about the list.

    Raises LeaseLost when another epoch took over: it has settled this attempt as unknown.
    """
    given_back = made.records if settlement is Settlement.REFUSED else 0
    # the list before its attempts: whoever rebuilds it locks them in this order
    values["charged"] = customer_list.c.charged - given_back
    write_under(tx, customer_list, claim, **values)
    updated = tx.execute(
        sa.update(attempt)
        .where(
            attempt.c.id == made.attempt_id,
            attempt.c.state == "in_flight",
            attempt.c.epoch == claim.epoch,
        )
        .values(
            state=settlement.value,
            settled_at=NOW,
            http_status=answer.status,
            pinterest_code=answer.code,
            request_id=(answer.request_id or "")[:100] or None,
            detail=None if settlement is Settlement.SENT else answer.message,
        )
    )
    if updated.rowcount != 1:
        raise LeaseLost(f"attempt {made.attempt_id} was settled by a later worker")


def abandon_in_flight(tx: sa.Connection, claim: Claim) -> list[sa.Row[tuple[int | None, str]]]:
    """Settle what an earlier worker left in flight as unknown; returns upload id and purpose."""
    return list(
        tx.execute(
            sa.update(attempt)
            .where(attempt.c.customer_list_id == claim.id, attempt.c.state == "in_flight")
            .values(state="unknown", settled_at=NOW, detail="its worker died")
            .returning(attempt.c.upload_id, attempt.c.purpose)
        )
    )


def give_back_unknown(tx: sa.Connection, list_id: int, older_than: float, why: str) -> int:
    """Give back the charges of unknown writes to a list that ended so many seconds ago.

    Only for who knows that they did not land. They count as refused from then on, noted in their
    detail, in the transaction that lowers ``charged`` by as much. Creations keep theirs: another
    list may have come of them. So does what a recovery found: it may have been counted in there.
    Returns the records given back.
    """
    tx.execute(sa.select(customer_list.c.id).where(customer_list.c.id == list_id).with_for_update())
    given_back = tx.execute(
        sa.update(attempt)
        .where(
            attempt.c.customer_list_id == list_id,
            attempt.c.id > last_recovery(list_id),
            attempt.c.state == "unknown",
            attempt.c.purpose.in_(("ADD", "REMOVE", "PROBE")),
            attempt.c.settled_at < NOW - seconds(older_than),
        )
        .values(state="refused", detail=sa.func.concat_ws("; ", attempt.c.detail, why))
        .returning(attempt.c.record_count)
    ).scalars()
    records: int = sum(given_back)
    tx.execute(
        sa.update(customer_list)
        .where(customer_list.c.id == list_id)
        .values(charged=customer_list.c.charged - records)
    )
    return records
