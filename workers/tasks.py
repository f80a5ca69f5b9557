"""The tasks: each calls one step with a row id and rings for what follows. Returns are counts."""

from __future__ import annotations

from functools import cache

from app.books import check_books_once
from app.compacting import compact_once
from app.delivery import deliver_once
from app.due import check_due_once
from app.evidence import thin_observations_once
from app.expiring import renew_due_once
from app.flush import flush_once
from app.observing import observe_due_once
from app.purging import purge_history_once, purge_receipts_once
from app.remembering import forget_messages_once
from app.resuming import check_held_once
from workers.celery_app import app
from workers.doorbell import CeleryDoorbell
from workers.process import deployment, stopping


@cache
def doorbell() -> CeleryDoorbell:
    return CeleryDoorbell(app, deployment().settings)


@app.task(name="pinfold.check_due")  # type: ignore[untyped-decorator]
def check_due() -> str:
    """Ring for everything that is due; beat sends this every 15 seconds."""
    due = check_due_once(deployment())
    if due is None:
        return "another check just ran"
    for audience_id in due.audience_ids:
        doorbell().flush(audience_id)
    for list_id in due.list_ids:
        doorbell().deliver(list_id)
    return f"{len(due.audience_ids)} audiences to flush, {len(due.list_ids)} lists to deliver"


@app.task(name="pinfold.flush")  # type: ignore[untyped-decorator]
def flush(audience_id: int) -> str:
    """Cut one upload of an audience, if it is due."""
    flushed = flush_once(deployment(), audience_id)
    if flushed is None:
        return "not due"
    for list_id in flushed.list_ids:
        doorbell().deliver(list_id)
    if flushed.more and not flushed.list_ids:
        doorbell().flush(audience_id)
    return f"{flushed.messages} messages into {flushed.batches} batches ({flushed.reason})"


@app.task(name="pinfold.deliver")  # type: ignore[untyped-decorator]
def deliver(list_id: int) -> str:
    """Take one turn with a customer list."""
    delivered = deliver_once(deployment(), list_id, stopping)
    if delivered is None:
        return "not free, or nothing to do"
    if delivered.next_id is not None and not stopping():
        doorbell().deliver(delivered.next_id)
    if delivered.drains and delivered.next_id != list_id:
        doorbell().flush(delivered.audience_id)  # what a bounded window left behind follows at once
    return f"{delivered.posts} requests"


@app.task(name="pinfold.observe")  # type: ignore[untyped-decorator]
def observe() -> str:
    """Ask Pinterest what became of the lists and audiences whose time has come."""
    return f"{observe_due_once(deployment())} observed"


@app.task(name="pinfold.renew_logins")  # type: ignore[untyped-decorator]
def renew_logins() -> str:
    """Renew the tokens whose half life is over."""
    return f"{renew_due_once(deployment())} renewed"


@app.task(name="pinfold.compact")  # type: ignore[untyped-decorator]
def compact() -> str:
    """Join small chunks, so that the next due checks stay cheap."""
    return f"{compact_once(deployment(), stopping)} chunks fewer"


@app.task(name="pinfold.tidy")  # type: ignore[untyped-decorator]
def tidy() -> str:
    """Look at what is held; drop what is past its use."""
    resumed = check_held_once(deployment())
    receipts = purge_receipts_once(deployment())
    uploads, attempts = purge_history_once(deployment())
    forgotten = forget_messages_once(deployment())
    thinned = thin_observations_once(deployment())
    dropped = f"{receipts} receipts, {uploads} uploads, {attempts} attempts"
    return f"{resumed} resumed; dropped: {dropped}, {forgotten} message ids, {thinned} observations"


@app.task(name="pinfold.check_books")  # type: ignore[untyped-decorator]
def check_books() -> str:
    """See whether the books balance, and keep their sums for monitoring."""
    unbalanced = check_books_once(deployment())
    return "another is at it" if unbalanced is None else f"{unbalanced} lists do not balance"
