"""The textbook version, kept as the yardstick: one row per event, ORM rows in, ORM objects out.

It is written as its reader would write it well: one narrow table with one index, a naive loop, a
bulk DELETE, no needless refresh; ``delete_one_by_one`` shows what the bulk DELETE is worth. It
gives exactly the requests' worth of digests that ours gives. Without objects: see ``tidy``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha1
from typing import Any, NamedTuple

import requests
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from app.events import Kind, MembershipEvent, Operation

KINDS = {kind: number for number, kind in enumerate(Kind)}
OPERATIONS = {Operation.REMOVE: 0, Operation.ADD: 1}
LISTS = ("EMAIL", "MAID", "MAID")
"""The list of each kind, by its number."""


class Base(DeclarativeBase):
    pass


class EventRow(Base):
    """One event, as narrow as it gets; its only index is ``(audience_id, id)``."""

    __tablename__ = "event_row"

    audience_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    id: Mapped[int] = mapped_column(
        sa.BigInteger, sa.Identity(), primary_key=True, autoincrement=True
    )
    occurred_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True))
    operation: Mapped[int] = mapped_column(sa.SmallInteger)
    kind: Mapped[int] = mapped_column(sa.SmallInteger)
    value: Mapped[str] = mapped_column(sa.Text)


class Request(NamedTuple):
    """What one request to Pinterest says."""

    list_type: str
    operation: str
    digests: list[str]


Post = Callable[[int, Request], None]
"""Sends one request for an audience."""
Delete = Callable[[Session, Sequence[EventRow]], None]
"""Deletes rows that were read, of one audience and in order."""
WAITING = sa.select(EventRow.audience_id, sa.func.count()).group_by(EventRow.audience_id)
"""The due check: how many events wait for each audience."""


def copy_into(table: str) -> str:
    """The COPY that takes ``row_text`` into a table like ``event_row``."""
    return f"COPY {table} (audience_id, operation, kind, value, occurred_at) FROM STDIN"


COPY_ROWS = copy_into(EventRow.__tablename__)


def row_text(events: Iterable[MembershipEvent], audience_ids: Mapping[str, int]) -> bytes:
    """The events as COPY's text format, a row each. The values of the sample need no escaping."""
    return "".join(
        f"{audience_ids[audience]}\t{OPERATIONS[operation]}\t{KINDS[kind]}\t{value}\t{utc(at)}\n"
        for audience, operation, people, at in events
        for kind, value in people
    ).encode()


def utc(occurred_at_us: int | None) -> datetime:
    return datetime.fromtimestamp((occurred_at_us or 0) / 1e6, UTC)


def add_objects(
    session: Session, events: Iterable[MembershipEvent], audience_ids: Mapping[str, int]
) -> None:
    """Stage one call: an object per event, ``add_all``, commit."""
    session.add_all(
        EventRow(
            audience_id=audience_ids[audience],
            occurred_at=utc(at),
            operation=OPERATIONS[operation],
            kind=KINDS[kind],
            value=value,
        )
        for audience, operation, people, at in events
        for kind, value in people
    )
    session.commit()
    session.expunge_all()


def count_waiting(session: Session) -> dict[int, int]:
    return dict(iter(session.execute(WAITING)))


def delete_in_bulk(session: Session, rows: Sequence[EventRow]) -> None:
    """One statement, and no look at the objects in the session."""
    last = rows[-1]
    session.execute(
        sa.delete(EventRow)
        .where(EventRow.audience_id == last.audience_id, EventRow.id <= last.id)
        .execution_options(synchronize_session=False)
    )


def delete_one_by_one(session: Session, rows: Sequence[EventRow]) -> None:
    """As the ORM's tutorial has it."""
    for row in rows:
        session.delete(row)


def flush_objects(
    session: Session,
    audience_id: int,
    per_request: int,
    post: Post,
    delete: Delete = delete_in_bulk,
) -> None:
    """Read objects, hash and fold in a loop, post, delete, commit."""
    query = sa.select(EventRow).where(EventRow.audience_id == audience_id).order_by(EventRow.id)
    rows = session.scalars(query).all()
    deciding: dict[str, dict[str, int]] = {"EMAIL": {}, "MAID": {}}
    for row in rows:
        digest = sha1(row.value.strip().lower().encode()).hexdigest()
        deciding[LISTS[row.kind]][digest] = row.operation
    for list_type, operations in deciding.items():
        by_operation = defaultdict(list)
        for digest, operation in operations.items():
            by_operation[operation].append(digest)
        post_all(post, audience_id, list_type, by_operation, per_request)
    delete(session, rows)
    session.commit()
    session.expunge_all()


def post_all(
    post: Post,
    audience_id: int,
    list_type: str,
    by_operation: Mapping[int, Sequence[str]],
    per_request: int,
) -> None:
    """REMOVEs, then ADDs, so many records in each request."""
    for number, name in enumerate(("REMOVE", "ADD")):
        digests = by_operation[number]
        for start in range(0, len(digests), per_request):
            post(audience_id, Request(list_type, name, [*digests[start : start + per_request]]))


def send_what_is_due(
    session: Session, threshold: int, per_request: int, post: Post, delete: Delete
) -> None:
    """One due check, and a flush of each audience with enough waiting."""
    for audience_id, waiting in count_waiting(session).items():
        if waiting >= threshold:
            flush_objects(session, audience_id, per_request, post, delete)


class PinterestByTheBook:
    """Pinterest spoken to with ``requests`` and ``json=``, a connection each time."""

    version = "textbook"
    http: Any = requests
    """What sends: the module, or a session of it."""

    def __init__(self, base_url: str, ad_account_id: str, token: str) -> None:
        self._lists_url = f"{base_url}/ad_accounts/{ad_account_id}/customer_lists"
        self._headers = {"Authorization": f"Bearer {token}"}
        self.list_ids: dict[tuple[int, str], str] = {}

    def make_list(self, audience_id: int, list_type: str) -> None:
        """Create the customer list of an audience, which takes a first record."""
        body = {
            "name": f"{self.version} {audience_id} {list_type}",
            "list_type": list_type,
            "records": sha1(b"nobody").hexdigest(),
        }
        reply = self.http.post(self._lists_url, json=body, headers=self._headers, timeout=60)
        reply.raise_for_status()
        self.list_ids[audience_id, list_type] = reply.json()["id"]

    def post(self, audience_id: int, request: Request) -> None:
        """Change a list; raises ``requests.HTTPError`` when it is refused."""
        list_id = self.list_ids[audience_id, request.list_type]
        body = {"operation_type": request.operation, "records": ",".join(request.digests)}
        url = f"{self._lists_url}/{list_id}"
        reply = self.http.patch(url, json=body, headers=self._headers, timeout=60)
        reply.raise_for_status()
