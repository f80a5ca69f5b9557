"""Flush: turn a prefix of an audience's chunks into the batches of one upload.

    lease -> look again -> fix the window under the gate -> read, hash, fold -> cut and commit

Nothing changes before the last transaction: a crash until then leaves the chunks as they were,
after it the batches are durable and the plain identities are gone. A window is bounded, so memory
stays flat however much waits; what is left behind is drained at once, not 3 hours later.

A flush that failed five times takes one chunk at a time; a chunk that then still fails is set
aside by name while the rest goes on.
"""

from __future__ import annotations

import struct
from contextlib import closing, suppress
from dataclasses import dataclass

import sqlalchemy as sa

from app.backoff import pause
from app.bodies import pack_digests
from app.copying import array_text, copy_rows
from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, LeaseLost, PinfoldError, Unavailable
from app.events import ListType
from app.flush_rule import facts_of, flush_reason
from app.folding import Folded, cut_batches
from app.gate import GateBusy, end_who_is_stuck
from app.keyring import batch_purpose
from app.lease import NOW, release, seconds, try_claim, write_under
from app.lists import ensure_lists
from app.tables import audience, batch, connection, customer_list, upload
from app.window import Plan, Window, fix_window, read_and_fold

FAILURES_BEFORE_NARROWING = 5

# put together once, as every flush begins with them
_OF_AUDIENCE = sa.bindparam("of_audience", type_=sa.BigInteger())
_PLANNING = (
    sa.select(connection, audience.c.flush_failures, audience.c.flush_requested_at)
    .join(audience, audience.c.connection_id == connection.c.id)
    .where(audience.c.id == _OF_AUDIENCE)
)
_CURRENT_LISTS = sa.select(customer_list.c.list_type, customer_list.c.id).where(
    customer_list.c.audience_id == _OF_AUDIENCE, customer_list.c.current
)


class FlushDied(PinfoldError):
    """Flushes of one chunk killed their worker again and again."""


@dataclass(frozen=True)
class Flushed:
    """One upload that was cut: its messages, and the lists whose lanes have something new."""

    upload_id: int
    reason: str
    messages: int
    batches: int
    list_ids: list[int]
    more: bool
    """Chunks were left behind: the next cut follows when the lanes are empty."""


def flush_once(deployment: Deployment, audience_id: int) -> Flushed | None:
    """Cut one upload of an audience if it is due and nobody else is at it; None otherwise.

    Raises Unavailable when Postgres goes away, which is no failure of the chunks (where that can
    not be noted, the lease runs out by itself), and whatever made the flush fail, after that was
    noted.
    """
    plan = _claim(deployment, audience_id)
    if plan is None:
        return None
    window = Window([], None)
    try:
        window = fix_window(deployment, plan)
        if not window.chunks:
            _give_up(deployment, plan, failures=0)
            return None
        if plan.failures > 2 * FAILURES_BEFORE_NARROWING:  # it died each time, without a word
            raise FlushDied(f"the flush of chunk {window.chunks[0].id} ended without a word")
        folded = read_and_fold(deployment, plan, window)
        return _commit(deployment, plan, window, folded)
    except GateBusy:
        with transaction(deployment.engine) as tx:
            end_who_is_stuck(tx, audience_id)
        _give_up(deployment, plan, failures=plan.failures - 1)
    except Unavailable:
        with suppress(Unavailable):
            _give_up(deployment, plan, failures=plan.failures - 1, rest=True)
        raise
    except LeaseLost:
        return None
    except ConfigError:
        _give_up(deployment, plan, failures=plan.failures - 1, rest=True)
        raise
    except Exception as failure:
        _note_failure(deployment, plan, window, failure)
        raise
    return None


def _claim(deployment: Deployment, audience_id: int) -> Plan | None:
    s = deployment.settings
    with transaction(deployment.engine) as tx:
        claim = try_claim(tx, audience, audience_id, s)
        if claim is None:
            return None
        facts = facts_of(tx, audience_id, s)
        reason = flush_reason(facts)
        if reason is None:
            nothing_waits = {} if facts.waiting_messages else {"flush_requested_at": None}
            release(tx, audience, claim, **nothing_waits)
            return None
        write_under(tx, audience, claim, flush_failures=audience.c.flush_failures + 1)
        row = tx.execute(_PLANNING, {"of_audience": audience_id}).one()
        forward = {ListType.EMAIL: row.forward_email, ListType.MAID: row.forward_device_id}
        list_ids = _lists(tx, audience_id)
        lacking = [kind for kind, wanted in forward.items() if wanted and kind not in list_ids]
        if lacking and reason != "deactivated":
            # activated while the kind was being switched on: neither saw the other
            ensure_lists(tx, audience_id)
            list_ids = _lists(tx, audience_id)
        return Plan(
            claim=claim,
            reason=reason,
            failures=row.flush_failures,
            one_chunk=row.flush_failures > FAILURES_BEFORE_NARROWING,
            asked_at=row.flush_requested_at,
            records_per_request=row.records_per_request or s.records_per_request,
            forward=forward,
            forward_other_digests=row.forward_other_digests,
            case=row.device_id_case,
            list_ids=list_ids,
        )


def _lists(tx: sa.Connection, audience_id: int) -> dict[ListType, int]:
    """The ids of the lists that take new uploads."""
    rows = tx.execute(_CURRENT_LISTS, {"of_audience": audience_id})
    return {ListType(row.list_type): row.id for row in rows}


def _commit(
    deployment: Deployment, plan: Plan, window: Window, folded: dict[ListType, Folded]
) -> Flushed:
    """The one transaction that changes anything: fence, upload, batches, exact delete."""
    state = "deactivated" if plan.reason == "deactivated" else "active"
    messages = sum(chunk.messages for chunk in window.chunks)
    sealed = [
        (list_type, operation, digests, deployment.keyring.seal(payload, purpose))
        for list_type, result in folded.items()
        for purpose in [batch_purpose(plan.list_ids.get(list_type, 0))]
        for operation, digests in cut_batches(result, plan.records_per_request)
        for payload in [pack_digests(digests, only_sha1=result.only_sha1)]
    ]
    with transaction(deployment.engine) as tx:
        write_under(
            tx,
            audience,
            plan.claim,
            audience.c.state == state,
            last_upload_at=NOW,
            drain_to=window.drain_to,
            flush_requested_at=sa.case(
                (audience.c.flush_requested_at == plan.asked_at, None),
                else_=audience.c.flush_requested_at,
            ),
            flush_failures=0,
            not_before=None,
            lease_until=None,
        )
        upload_id = _insert_upload(tx, plan, messages, folded)
        with closing(tx.connection.cursor()) as cursor:
            copy_rows(
                cursor,
                batch,
                ("upload_id", "customer_list_id", "operation", "record_count", "payload"),
                (
                    _pack_batch(upload_id, plan.list_ids[list_type], operation, len(digests), body)
                    for list_type, operation, digests, body in sealed
                ),
            )
        _delete_exactly(tx, plan.claim.id, [chunk.id for chunk in window.chunks])
    list_ids = {plan.list_ids[list_type] for list_type, *_ in sealed}
    more = window.drain_to is not None
    return Flushed(upload_id, plan.reason, messages, len(sealed), sorted(list_ids), more)


def _insert_upload(
    tx: sa.Connection, plan: Plan, messages: int, folded: dict[ListType, Folded]
) -> int:
    email, maid = folded[ListType.EMAIL], folded[ListType.MAID]
    upload_id: int = tx.execute(
        sa.insert(upload)
        .values(
            audience_id=plan.claim.id,
            reason=plan.reason,
            message_count=messages,
            email_read=email.read,
            email_not_forwarded=email.not_forwarded,
            email_folded=email.folded,
            maid_read=maid.read,
            maid_not_forwarded=maid.not_forwarded,
            maid_folded=maid.folded,
        )
        .returning(upload.c.id)
    ).scalar_one()
    return upload_id


def _pack_batch(
    upload_id: int, list_id: int, operation: str, record_count: int, payload: bytes
) -> bytes:
    name = operation.encode()
    return (
        struct.pack(
            f">hiqiqi{len(name)}siii",
            *(5, 8, upload_id, 8, list_id, len(name), name, 4, record_count, len(payload)),
        )
        + payload
    )


def _delete_exactly(tx: sa.Connection, audience_id: int, ids: list[int]) -> None:
    """Delete the chunks that were read, by id: one that came later with a smaller id stays (P1)."""
    deleted = tx.exec_driver_sql(
        "DELETE FROM staged_chunk WHERE audience_id = %s AND id = ANY(%s::bigint[])",
        (audience_id, array_text(ids)),
    ).rowcount
    if deleted != len(ids):
        raise LeaseLost(f"{len(ids) - deleted} chunks of the cut are gone: somebody else took them")


def _give_up(deployment: Deployment, plan: Plan, *, failures: int, rest: bool = False) -> None:
    later = {"not_before": NOW + seconds(deployment.settings.backoff_first)} if rest else {}
    with transaction(deployment.engine) as tx:
        release(tx, audience, plan.claim, flush_failures=failures, **later)


def _note_failure(deployment: Deployment, plan: Plan, window: Window, failure: Exception) -> None:
    """Come again later; a chunk that failed on its own is set aside and the rest goes on."""
    with transaction(deployment.engine) as tx:
        if plan.one_chunk and window.chunks:
            _set_aside(tx, plan.claim.id, window.chunks[0].id, type(failure).__name__)
            release(tx, audience, plan.claim, flush_failures=0)
        else:
            rest = pause(plan.failures, deployment.settings)
            release(tx, audience, plan.claim, not_before=NOW + seconds(rest))


_SET_ASIDE = sa.text("""
WITH chunk AS (
    DELETE FROM staged_chunk WHERE audience_id = :audience_id AND id = :chunk_id RETURNING *
)
INSERT INTO held_chunk
       (id, audience_id, message_count, email_count, maid_count, arrived_at, body, held_reason)
SELECT id, audience_id, message_count, email_count, maid_count, arrived_at, body, :reason FROM chunk
""")


def _set_aside(tx: sa.Connection, audience_id: int, chunk_id: int, reason: str) -> None:
    """Move a chunk out of the way, under its id, until a person lets it try again."""
    values = {"audience_id": audience_id, "chunk_id": chunk_id, "reason": reason}
    tx.execute(_SET_ASIDE, values)
