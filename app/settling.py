"""Settling: what an answer changes about the batch, the list and the connection (design section 5).

Each function runs in the transaction that settles the attempt, under the list's epoch, so a crash
leaves either none or all of it. Texts of Pinterest arrive here redacted.
"""

from __future__ import annotations

import sqlalchemy as sa

from app import narrowing
from app.backoff import pause
from app.connections import hold_connection
from app.lease import NOW, seconds
from app.lots import Lot, close_batch, split
from app.narrowing import Step
from app.pinterest.outcomes import Action, Settlement, Verdict
from app.tables import batch
from app.turn import Sent, Turn, View, is_unknown, unknown_values

CONFLICTS_BEFORE_HOLDING = 5


def settle_batch(tx: sa.Connection, turn: Turn, view: View, lot: Lot, sent: Sent) -> bool:
    """Settle the attempt and act on the verdict; True when the lane goes on now."""
    verdict = sent.verdict
    if verdict.settlement is Settlement.SENT:
        turn.settle(tx, sent, failures=0, unknown_streak=0, not_before=None)
        close_batch(tx, lot, "sent")
        return True
    turn.settle(tx, sent)
    if is_unknown(sent):
        turn.update(tx, **unknown_values(NOW, lot.upload_id))
    if verdict.action is Action.NARROW:
        return _narrow(tx, turn, view, lot)
    if verdict.action is Action.HALVE and lot.record_count > 1:
        split(tx, turn.deployment.keyring, turn.claim, lot, lot.record_count // 2)
        return True
    return stop(tx, turn, view, verdict)


def stop(tx: sa.Connection, turn: Turn, view: View, verdict: Verdict) -> bool:
    """Wait or hold, as the verdict says; always False: this turn is over."""
    s = turn.deployment.settings
    failures = view.list.failures + 1
    rest = NOW + seconds(verdict.wait or pause(failures, s))
    if verdict.action is Action.WAIT_CONNECTION:  # the pause of all lists was noted with the pace
        turn.update(tx, failures=failures, not_before=rest)
    elif verdict.action is Action.RENEW_LOGIN:
        turn.login_refused = True  # renewed once this turn has given its lease back
    elif verdict.action is Action.HOLD_CONNECTION:
        version = turn.client.login_version
        hold_connection(tx, turn.connection_id, verdict.reason, verdict.message, version)
    elif verdict.action is Action.WAIT and not _keeps_conflicting(verdict, failures):
        turn.update(tx, failures=failures, not_before=rest)
    else:
        hold(tx, turn, verdict.reason, verdict.message)
    return False


def _keeps_conflicting(verdict: Verdict, failures: int) -> bool:
    return verdict.reason == "conflict" and failures >= CONFLICTS_BEFORE_HOLDING


def hold(tx: sa.Connection, turn: Turn, reason: str, message: str) -> None:
    """The list waits for a person; its identities wait with it."""
    turn.update(tx, held_reason=reason, held_message=message, held_at=NOW)


def _narrow(tx: sa.Connection, turn: Turn, view: View, lot: Lot) -> bool:
    """Pinterest refused the batch with 400: find out whether it is the list or a record."""
    step = narrowing.next_step(
        records=lot.record_count,
        sibling_refused=_sibling_refused(tx, lot),
        list_proved_well=view.list.proved_upload_id == lot.upload_id,
    )
    tx.execute(sa.update(batch).where(batch.c.id == lot.id).values(refused=True))
    if step is Step.PROBE:
        turn.update(tx, probe_upload_id=lot.upload_id)
    elif step is Step.HALVE:
        split(tx, turn.deployment.keyring, turn.claim, lot, lot.record_count // 2)
    else:
        close_batch(tx, lot, "quarantined")
    return True


def _sibling_refused(tx: sa.Connection, lot: Lot) -> bool:
    if lot.parent_id is None:
        return False
    query = sa.select(sa.func.bool_or(batch.c.refused)).where(
        batch.c.parent_id == lot.parent_id, batch.c.id != lot.id
    )
    return bool(tx.execute(query).scalar())


def settle_probe(tx: sa.Connection, turn: Turn, view: View, sent: Sent) -> bool:
    """After a lone placeholder: accepted, the records are to blame; refused, the list is."""
    turn.settle(tx, sent)
    upload_id = view.list.probe_upload_id
    if sent.verdict.settlement is Settlement.SENT:
        turn.update(tx, proved_upload_id=upload_id, probe_upload_id=None, failures=0)
        return True
    if is_unknown(sent):
        turn.update(tx, **unknown_values(NOW, upload_id))
    if sent.verdict.action in (Action.NARROW, Action.HALVE):
        hold(tx, turn, "refuses every record", sent.verdict.message)
        return False
    return stop(tx, turn, view, sent.verdict)


def book_lane(tx: sa.Connection, turn: Turn) -> int:
    """Book all that waits in a lane as not forwarded: switched off, or deactivated."""
    turn.update(tx, probe_upload_id=None)
    return tx.execute(
        sa.update(batch)
        .where(batch.c.customer_list_id == turn.claim.id, batch.c.state == "waiting")
        .values(state="not_forwarded", settled_at=NOW, payload=None)
    ).rowcount
