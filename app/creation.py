"""Creation: make a customer list at Pinterest, and the audience from it (design section 6).

The API demands records on create, so a list begins with one placeholder: the SHA-1 of a random
address under the reserved ``.invalid`` domain, or of a random UUID. It is charged like any other.

Creating has no idempotency key and names are not unique; other tools use the same names. After an
unknown outcome the quarantine passes first; then a list is adopted only if it has the exact name,
a fresh creation time, one batch with one record, and an id in no row of ours. Audiences are
matched by the list they are made from.

A restored database does not know the lists that were made after its backup, and by now they were
written to. So each new list of a restored connection is looked for first, and one of its name made
between the backup and the recovery is adopted with all that Pinterest counted for it.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha1
from typing import Any

import sqlalchemy as sa

from app.backoff import pause
from app.database import transaction
from app.lease import NOW, seconds
from app.pinterest.outcomes import Action, Answer, Settlement, judge
from app.pinterest.replies import audience_values, list_values
from app.reconciling import counted, reconcile
from app.settings import CAP
from app.settling import hold, stop
from app.tables import attempt, customer_list, observation
from app.turn import Sent, Turn, View, is_unknown

CLOCK_TOLERANCE = timedelta(minutes=10)
"""How far Pinterest's clock may be from the database's for a creation time to count as fresh."""


def placeholder(list_type: str) -> bytes:
    """The hex digest of an identity that nobody can have."""
    nobody = (
        f"{secrets.token_hex(16)}@pinfold.invalid" if list_type == "EMAIL" else str(uuid.uuid4())
    )
    return sha1(nobody.encode()).hexdigest().encode()  # noqa: S324 Pinterest's choice


def make_list(turn: Turn, view: View) -> bool:
    """Create the customer list, or adopt the one that an unknown attempt made. True: go on."""
    row = view.list
    if row.create_unknown_at is not None:
        # a beginning that lies ahead shows that the clock was set back: all of it is still to come
        unknown_at = min(row.create_unknown_at, view.now)
        calm_at = unknown_at + timedelta(seconds=turn.deployment.settings.quarantine)
        if calm_at > view.now:
            with transaction(turn.deployment.engine) as tx:
                turn.update(tx, not_before=calm_at, create_unknown_at=unknown_at)
            return False
        return _adopt_or_forget(turn, view)
    return _create(turn, view)


def _create(turn: Turn, view: View) -> bool:
    row = view.list
    sent = turn.send(
        lambda: turn.client.create_list(row.name, row.list_type, placeholder(row.list_type)),
        purpose="CREATE",
        records=1,
        limit=view.limit("ADD", turn.deployment.settings.record_cap),
    )
    with transaction(turn.deployment.engine) as tx:
        if sent is None:
            hold(tx, turn, "no room under the cap", "the cap leaves no room for the first record")
            return False
        turn.settle(tx, sent)
        list_id = _digits(sent.answer.body.get("id"))
        if sent.verdict.settlement is Settlement.SENT and list_id:
            turn.update(tx, pinterest_list_id=list_id, failures=0, not_before=None)
            return True
        if is_unknown(sent) or sent.answer.ok:  # accepted, but the reply was unreadable
            turn.update(tx, create_unknown_at=NOW)
        if sent.answer.ok:
            return True
        if sent.verdict.action in (Action.NARROW, Action.HALVE):
            hold(tx, turn, "list refused", sent.verdict.message)
            return False
        return stop(tx, turn, view, sent.verdict)


def _adopt_or_forget(turn: Turn, view: View) -> bool:
    """Look whether the list was made already: adopt it, or create anew in the next step."""
    oldest = _earliest(turn, view) - CLOCK_TOLERANCE
    candidates: dict[str, dict[str, Any]] = {}
    for item in _items(turn, view, turn.client.list_pages()):
        if item is None:
            return False
        created = item.get("created_time")
        if isinstance(created, int | float) and created < oldest.timestamp():
            break  # newest first: everything that follows is older still
        list_id = _digits(item.get("id"))
        fits = _is_untouched(item) or _is_forgotten(view, item)
        if list_id and item.get("name") == view.list.name and fits:
            candidates[list_id] = item
    with transaction(turn.deployment.engine) as tx:
        free = [found for found in candidates if not _is_ours(tx, found)]
        if len(free) > 1:
            hold(tx, turn, "several lists", f"{len(free)} new lists have this name at Pinterest")
            return False
        turn.update(tx, create_unknown_at=None, pinterest_list_id=free[0] if free else None)
        if free and _is_forgotten(view, candidates[free[0]]):
            _charge_forgotten(tx, turn, view, list_values(candidates[free[0]]))
    return True


def _charge_forgotten(tx: sa.Connection, turn: Turn, view: View, seen: dict[str, Any]) -> None:
    """Charge what a list had before we came to know it again, and a request that may be late."""
    most = view.connection.records_per_request or turn.deployment.settings.records_per_request
    reconcile(tx, turn.claim.id, (counted(seen) or 0) + most, view.now, seen)


def make_audience(turn: Turn, view: View) -> bool:
    """Create the Pinterest audience of a list, or find the one that exists. True: go on.

    A refusal is no failure: the list may still be too small. It is tried again later.
    """
    list_id = view.list.pinterest_list_id
    if view.connection.restored_at is not None or _attempted_audience(turn):
        for item in _items(turn, view, turn.client.audience_pages()):
            if item is None:
                return False
            rule = item.get("rule")
            if isinstance(rule, dict) and str(rule.get("customer_list_id")) == list_id:
                return _keep_audience(turn, item)
    sent = turn.send(
        lambda: turn.client.create_audience(view.list.name, list_id),
        purpose="AUDIENCE",
        records=0,
        limit=CAP,  # it carries no record, so it fits even where a lowered cap was passed
    )
    if sent is None:
        return False
    with transaction(turn.deployment.engine) as tx:
        turn.settle(tx, sent)
        audience_id = _digits(sent.answer.body.get("id"))
        if sent.answer.ok and audience_id:
            _note_audience(tx, turn, sent.answer.body)
            return True
        if sent.verdict.action in (Action.NARROW, Action.HALVE, Action.WAIT, Action.GO_ON):
            turn.update(tx, audience_not_before=NOW + seconds(_until_next_try(turn, sent)))
            return True
        return stop(tx, turn, view, sent.verdict)


def _until_next_try(turn: Turn, sent: Sent) -> float:
    """Soon after a failure on the way, in an hour when the list was too small."""
    s = turn.deployment.settings
    refused = sent.verdict.action in (Action.NARROW, Action.HALVE)
    return s.canary_interval if refused else sent.verdict.wait or pause(1, s)


def _keep_audience(turn: Turn, item: dict[str, Any]) -> bool:
    with transaction(turn.deployment.engine) as tx:
        _note_audience(tx, turn, item)
    return True


def _note_audience(tx: sa.Connection, turn: Turn, said: Mapping[str, Any]) -> None:
    """Keep the audience's id, and what Pinterest said of it."""
    turn.update(tx, pinterest_audience_id=_digits(said.get("id")), audience_not_before=None)
    tx.execute(
        sa.insert(observation).values(customer_list_id=turn.claim.id, **audience_values(said))
    )


def _items(turn: Turn, view: View, pages: Iterator[Answer]) -> Iterator[dict[str, Any] | None]:
    """The items of all pages; None, after the verdict was acted on, when a page fails."""
    for answer in turn.read_pages(pages):
        if not answer.ok or not isinstance(answer.body.get("items"), list):
            with transaction(turn.deployment.engine) as tx:
                verdict = judge(answer if not answer.ok else Answer(None, fault="unreadable page"))
                stop(tx, turn, view, verdict)
            yield None
            return
        yield from (item for item in answer.body["items"] if isinstance(item, dict))


def _is_untouched(item: dict[str, Any]) -> bool:
    """One batch with one record: what a create of ours leaves, and nobody has written since."""
    return item.get("num_batches") == 1 and item.get("num_uploaded_user_records") == 1


def _is_forgotten(view: View, item: dict[str, Any]) -> bool:
    """Made when a restored database cannot know of it: after the backup, before the recovery."""
    account, created = view.connection, item.get("created_time")
    if account.restored_at is None or not isinstance(created, int | float):
        return False
    began = (account.backup_taken_at - CLOCK_TOLERANCE).timestamp()
    return bool(began <= created <= (account.restored_at + CLOCK_TOLERANCE).timestamp())


def _is_ours(tx: sa.Connection, list_id: str) -> bool:
    query = sa.select(customer_list.c.id).where(customer_list.c.pinterest_list_id == list_id)
    return tx.execute(query).first() is not None


def _earliest(turn: Turn, view: View) -> datetime:
    """When the first create without a known end began; that of a forgotten one, at the backup."""
    began = _first_unknown_attempt(turn)
    backup = view.connection.backup_taken_at
    return began if backup is None else min(began, backup)


def _first_unknown_attempt(turn: Turn) -> datetime:
    """When the first create without a known end began."""
    query = sa.select(sa.func.coalesce(sa.func.min(attempt.c.started_at), NOW)).where(
        attempt.c.customer_list_id == turn.claim.id,
        attempt.c.purpose == "CREATE",
        attempt.c.state.in_(("unknown", "sent")),
    )
    with transaction(turn.deployment.engine) as tx:
        began: datetime = tx.execute(query).scalar_one()
    return began


def _attempted_audience(turn: Turn) -> bool:
    """True when an earlier attempt may have made the audience already."""
    query = sa.select(attempt.c.id).where(
        attempt.c.customer_list_id == turn.claim.id,
        attempt.c.purpose == "AUDIENCE",
        attempt.c.state.in_(("unknown", "sent")),
    )
    with transaction(turn.deployment.engine) as tx:
        return tx.execute(query).first() is not None


def _digits(value: object) -> str | None:
    """An id of Pinterest: a string of digits, which some replies might give as a number."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if text.isascii() and text.isdigit() and len(text) <= 18 else None
