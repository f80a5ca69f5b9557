"""A turn: one worker's time with one customer list, under its lease.

Every request that writes goes through ``Turn.send``: take a rate slot, charge, send under the
dead-man timer with no transaction open, and hand the answer back to be settled. What a list looks
like now is read anew for every step (``Turn.look``), so a switch or a pause counts at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.connections import open_client
from app.database import transaction
from app.deadman import armed
from app.deployment import Deployment
from app.errors import LeaseLost
from app.lease import NOW, Claim, has_passed, seconds, write_under
from app.lists import forwarded
from app.lots import Lot
from app.pinterest.client import PinterestClient
from app.pinterest.heeding import heed
from app.pinterest.outcomes import Action, Answer, Settlement, Verdict, judge
from app.pinterest.throttle import take_slot
from app.quota import Charge, charge, settle
from app.tables import audience, connection, customer_list

_LIST = sa.select(customer_list).where(
    customer_list.c.id == sa.bindparam("list_id"), customer_list.c.epoch == sa.bindparam("claimed")
)


@cache
def _around(longest_pause: float) -> sa.Select[Any]:
    """A list's connection, with what else counts for it; put together once, as it is read often."""
    return (
        sa.select(
            connection,
            audience.c.name.label("audience_name"),
            audience.c.state.label("audience_state"),
            forwarded().label("is_forwarded"),
            NOW.label("now"),
            has_passed(connection.c.not_before, longest_pause).label("rested"),
            has_passed(customer_list.c.audience_not_before, longest_pause).label("audience_due"),
        )
        .join_from(customer_list, audience, audience.c.id == customer_list.c.audience_id)
        .join(connection, connection.c.id == audience.c.connection_id)
        .where(customer_list.c.id == sa.bindparam("list_id"))
    )


class View(NamedTuple):
    """A list with its audience and connection, as they stand now."""

    list: sa.Row[Any]
    audience_name: str
    state: str
    forwarded: bool
    connection: sa.Row[Any]
    now: datetime
    connection_rested: bool
    audience_due: bool
    """Pinterest has no audience of the list yet, and it is time to ask for one."""

    def limit(self, operation: str, cap: int) -> int:
        """The most that may be charged for an operation: ADDs leave the removal reserve free."""
        cap = cap if self.connection.record_cap is None else self.connection.record_cap
        reserve = 0 if operation == "REMOVE" else self.connection.removal_reserve
        return max(0, int(cap - reserve))


class Sent(NamedTuple):
    """A request that went out, or was prevented after its charge, with what it means."""

    charge: Charge
    answer: Answer
    verdict: Verdict


@dataclass
class Turn:
    deployment: Deployment
    claim: Claim
    client: PinterestClient
    audience_id: int
    connection_id: int
    ends_at: float
    """By the monotonic clock; a step begun before may end after it."""
    stopping: Callable[[], bool] = lambda: False
    """True once the process was asked to stop: the turn ends after the request under way."""
    posts: int = 0
    last_reply: dict[str, Any] = field(default_factory=dict)
    login_refused: bool = False
    """Pinterest did not take the access token: it is to be renewed."""

    def look(self, tx: sa.Connection) -> View:
        named = {"list_id": self.claim.id, "claimed": self.claim.epoch}
        row = tx.execute(_LIST, named).one_or_none()
        if row is None:
            raise LeaseLost(f"list {self.claim.id} was taken over")
        around = tx.execute(_around(self.deployment.settings.longest_pause), named).one()
        return View(
            list=row,
            audience_name=around.audience_name,
            state=around.audience_state,
            forwarded=around.is_forwarded,
            connection=around,
            now=around.now,
            connection_rested=around.rested,
            audience_due=row.pinterest_audience_id is None and around.audience_due,
        )

    def send(
        self,
        call: Callable[[], Answer],
        *,
        purpose: str,
        records: int,
        limit: int,
        lot: Lot | None = None,
        upload_id: int | None = None,
    ) -> Sent | None:
        """Charge and make one writing request; None when the charge does not fit under ``limit``.

        Raises Paused when the connection's next slot is too far off. The caller settles.
        """
        self._await_slot()
        s = self.deployment.settings
        leased_at = time.monotonic()
        with transaction(self.deployment.engine) as tx:
            made = charge(
                tx,
                self.claim,
                s,
                purpose=purpose,
                records=records,
                limit=limit,
                lot=lot,
                upload_id=upload_id,
            )
        if made is None:
            return None
        answer = self._call_in_time(call, leased_at)
        self.posts += 1
        if answer.ok:
            self.last_reply = dict(answer.body)
        return Sent(made, answer, judge(answer))

    def read(self, call: Callable[[], Answer]) -> Answer:
        """Make one reading request. Raises Paused when the next slot is too far off."""
        self._await_slot("ads_read")
        answer = call()
        with transaction(self.deployment.engine) as tx:
            heed(tx, self.connection_id, self.deployment.settings, answer, "ads_read")
        return answer

    def read_pages(self, pages: Iterator[Answer]) -> Iterator[Answer]:
        """The pages of a listing, each by a reading request of its own."""
        while True:
            answer = self.read(lambda: next(pages))
            yield answer
            if not answer.ok or not answer.body.get("bookmark"):
                return

    def settle(self, tx: sa.Connection, sent: Sent, **values: Any) -> None:
        """Record what became of the attempt, and what the answer says about the pace.

        ``values``: what is to be written about the list besides.
        """
        if sent.verdict.action is Action.HOLD_CONNECTION:
            self._lock_connection(tx)
        settle(tx, self.claim, sent.charge, sent.verdict.settlement, sent.answer, **values)
        heed(tx, self.connection_id, self.deployment.settings, sent.answer)

    def update(self, tx: sa.Connection, **values: Any) -> None:
        """Write about the list under its lease."""
        write_under(tx, customer_list, self.claim, **values)

    def confirm(self, tx: sa.Connection) -> None:
        """Raise LeaseLost unless the lease is still ours, before writing elsewhere under it."""
        self.update(tx, epoch=customer_list.c.epoch)

    def _lock_connection(self, tx: sa.Connection) -> None:
        """Before the list: whoever changes the connection's settings locks them in this order."""
        mine = sa.select(connection.c.id).where(connection.c.id == self.connection_id)
        tx.execute(mine.with_for_update(key_share=True))

    def _await_slot(self, category: str = "ads_write") -> None:
        """Wait for a rate slot, under the lease but before the charge and in no transaction.

        Raises Paused when it is too far off: the list comes back when it can wait for it. A turn
        that would begin in a crowd of writers ends silently: one of those in line calls the list
        up. Readers join any line: it may be of observers, who call nobody up.
        """
        s = self.deployment.settings
        joining = category == "ads_write" and self.posts == 0
        with transaction(self.deployment.engine) as tx:
            # one that a crash of Postgres forgets is taken twice, which the pace has room for
            tx.exec_driver_sql("SET LOCAL synchronous_commit = off")
            wait = take_slot(tx, self.connection_id, s, category, joining=joining)
        if wait > s.patience:
            if wait < math.inf:
                later = min(wait - s.patience, s.backoff_most)
                with transaction(self.deployment.engine) as tx:
                    self.update(tx, not_before=NOW + seconds(later))
            raise Paused
        if wait > 0:
            time.sleep(wait)

    def _call_in_time(self, call: Callable[[], Answer], leased_at: float) -> Answer:
        """Make the request unless too little of the lease is left for it."""
        s = self.deployment.settings
        last_moment = leased_at + s.dead_man - s.call_deadline
        too_late = Answer(None, left=False, fault="too little of the lease was left")
        if time.monotonic() > last_moment:
            return too_late
        with armed(leased_at + s.dead_man - time.monotonic()):
            # once more: the process may have been frozen before the timer was armed
            return too_late if time.monotonic() > last_moment else call()


class Paused(Exception):
    """The turn ends here; when it goes on stands in the database."""


def client_of(
    deployment: Deployment, tx: sa.Connection, list_id: int
) -> tuple[int, int, PinterestClient]:
    """The audience and the connection of a list, and a client that speaks for it."""
    row = tx.execute(
        sa.select(connection, customer_list.c.audience_id)
        .join(audience, audience.c.connection_id == connection.c.id)
        .join(customer_list, customer_list.c.audience_id == audience.c.id)
        .where(customer_list.c.id == list_id)
    ).one()
    return row.audience_id, row.id, open_client(deployment, tx, row)


def unknown_values(sent_at: Any, upload_id: int | None) -> dict[str, Any]:
    """What a list remembers after an unknown outcome: the quarantine of later uploads begins."""
    return {
        "unknown_at": sent_at,
        "unknown_upload_id": upload_id,
        "unknown_streak": customer_list.c.unknown_streak + 1,
    }


def is_unknown(sent: Sent) -> bool:
    return sent.verdict.settlement is Settlement.UNKNOWN
