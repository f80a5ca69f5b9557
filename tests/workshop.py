"""A small installation to test the steps on: a deployment, a simulated Pinterest, and builders.

Steps are called in this process (`flush_once`, `deliver_once`, ...), the database and Pinterest
are real ones over sockets. Leases, pauses and the quarantine are ended by moving their times in
the database, never by waiting.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr

from app.audiences import activate, request_flush
from app.books import ListBook, read_books
from app.connections import add_connection
from app.database import transaction
from app.delivery import Delivered, deliver_once
from app.deployment import Deployment
from app.due_lists import lists_due
from app.events import Identity, Kind, MembershipEvent, Operation
from app.flush import Flushed, flush_once
from app.keyring import new_key
from app.sandbox.pinterest import PinterestSimulator
from app.settings import Settings
from app.staging import Intake, Staged, stage

TOKEN = "pina_test"  # opens only the simulator
ACCOUNT = "549770000001"
KEY = new_key()
ADD, REMOVE = Operation.ADD, Operation.REMOVE


def short_settings(database_url: str, pinterest_url: str, **changes: Any) -> Settings:
    """Settings with short calls and no throttle to speak of; the chain of times holds."""
    usual: dict[str, Any] = {
        "database_url": database_url,
        "keys": KEY,
        "pinterest_url": pinterest_url,
        "allow_plain_http": True,
        "connect_timeout": 1,
        "read_timeout": 2,
        "call_deadline": 4,
        "dead_man": 30,
        "lease": 60,
        "writes_per_minute": 100_000,
    }
    return Settings(**usual | changes)


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment in which another process has the same settings."""
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {
        f"PINFOLD_{name.upper()}": str(
            value.get_secret_value() if isinstance(value, SecretStr) else value
        )
        for name, value in values.items()
    }


def address(number: int) -> str:
    return f"person{number}@example.org"


def device(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


def sha1_hex(value: str) -> str:
    """What Pinterest should get for a raw value."""
    return sha1(value.strip().lower().encode()).hexdigest()


def digests(numbers: range) -> set[str]:
    """What Pinterest should get for the addresses of numbered persons."""
    return {sha1_hex(address(number)) for number in numbers}


def email_event(
    value: str | int, operation: Operation = ADD, *, audience: str = "31001", at: int | None = None
) -> MembershipEvent:
    """A membership event with one address (of a numbered person); `at` in microseconds."""
    text = address(value) if isinstance(value, int) else value
    return MembershipEvent(audience, operation, (Identity(Kind.EMAIL, text),), at)


def device_event(
    value: str | int,
    operation: Operation = ADD,
    *,
    audience: str = "31001",
    at: int | None = None,
    kind: Kind = Kind.IDFA,
) -> MembershipEvent:
    text = device(value) if isinstance(value, int) else value
    return MembershipEvent(audience, operation, (Identity(kind, text),), at)


def emails(numbers: range, operation: Operation = ADD, **more: Any) -> list[MembershipEvent]:
    return [email_event(number, operation, **more) for number in numbers]


@dataclass
class Workshop:
    deployment: Deployment
    simulator: PinterestSimulator

    # Building.

    def connect(self, name: str = "main", **settings: Any) -> int:
        return add_connection(self.deployment, name, ACCOUNT, TOKEN, **settings)

    def activate(self, upstream_id: str = "31001", name: str = "VIP") -> int:
        """Activate over the only connection; returns the audience's id."""
        return activate(self.deployment, name, upstream_id, None).audience_id

    def ready(self, **settings: Any) -> int:
        """A connected, activated audience whose lists stand at Pinterest already."""
        self.connect(**settings)
        audience_id = self.activate()
        self.deliver_all()
        return audience_id

    def amid_changes(self) -> int:
        """An audience whose members are persons 0 to 5; two shall leave and three enter."""
        audience_id = self.ready(forward_device_id=False)
        self.upload(audience_id, *emails(range(6)))
        self.stage(*emails(range(2), REMOVE), *emails(range(6, 9)))
        return audience_id

    def stage(self, *events: MembershipEvent, key: str | None = None) -> Staged:
        return stage(Intake(self.deployment, "test"), events, dedupe_key=key)

    # Stepping.

    def flush(self, audience_id: int) -> Flushed | None:
        """Ask for a flush and do it."""
        request_flush(self.deployment, audience_id)
        return flush_once(self.deployment, audience_id)

    def deliver(self, audience_id: int, list_type: str = "EMAIL") -> Delivered | None:
        return deliver_once(self.deployment, self.list_id(audience_id, list_type))

    def deliver_all(self) -> None:
        """Deliver whatever can be delivered now."""
        for _ in range(1_000):
            with self.transaction() as tx:
                due = lists_due(tx, self.deployment.settings)
            if not due:
                return
            for list_id in due:
                deliver_once(self.deployment, list_id)
        raise AssertionError("delivering does not end")

    def upload(self, audience_id: int, *events: MembershipEvent) -> None:
        """Stage, flush and deliver, all in one go."""
        self.stage(*events)
        assert self.flush(audience_id) is not None
        self.deliver_all()

    def end_pauses(self) -> None:
        """Let every backoff and every pause be over."""
        for table in ("connection", "audience", "customer_list"):
            self.execute(f"UPDATE {table} SET not_before = NULL")
        self.execute("UPDATE budget SET next_slot_at = NULL, not_before = NULL")
        self.execute("UPDATE customer_list SET audience_not_before = NULL")

    def end_quarantine(self) -> None:
        self.end_pauses()
        for column in ("unknown_at", "create_unknown_at"):
            self.execute(f"UPDATE customer_list SET {column} = {column} - interval '1 hour'")

    def end_leases(self) -> None:
        for table in ("audience", "customer_list"):
            self.execute(f"UPDATE {table} SET lease_until = now() WHERE lease_until IS NOT NULL")

    # Looking.

    def wait_until_blocked(self) -> None:
        """Until a session waits for a row that another one has locked."""
        deadline = time.monotonic() + 10
        while not self.is_blocked():
            assert time.monotonic() < deadline, "nobody waits for a lock"

    def is_blocked(self) -> bool:
        """Whether a session waits for a lock that another one has."""
        waits = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(self.value(waits))

    def transaction(self) -> Any:
        return transaction(self.deployment.engine)

    def execute(self, statement: str, **values: Any) -> int:
        with self.transaction() as tx:
            return int(tx.execute(sa.text(statement), values).rowcount)

    def rows(self, query: str, **values: Any) -> list[Any]:
        with self.transaction() as tx:
            return list(tx.execute(sa.text(query), values).all())

    def value(self, query: str, **values: Any) -> Any:
        ((found,),) = self.rows(query, **values)
        return found

    def list_id(self, audience_id: int, list_type: str = "EMAIL") -> int:
        return int(self.list_row(audience_id, list_type).id)

    def list_row(self, audience_id: int, list_type: str = "EMAIL") -> Any:
        (row,) = self.rows(
            "SELECT * FROM customer_list WHERE audience_id = :a AND list_type = :t AND current",
            a=audience_id,
            t=list_type,
        )
        return row

    def attempts(self, audience_id: int, list_type: str = "EMAIL") -> list[tuple[str, int, str]]:
        """Purpose, records and state of every attempt of a list, in order."""
        list_id = self.list_id(audience_id, list_type)
        query = (
            "SELECT purpose, record_count, state FROM attempt"
            " WHERE customer_list_id = :l ORDER BY id"
        )
        return [(row.purpose, row.record_count, row.state) for row in self.rows(query, l=list_id)]

    def batches(self, audience_id: int, list_type: str = "EMAIL") -> list[tuple[str, int, str]]:
        """Operation, records and state of every batch of a list, in order."""
        list_id = self.list_id(audience_id, list_type)
        query = (
            "SELECT operation, record_count, state FROM batch"
            " WHERE customer_list_id = :l ORDER BY id"
        )
        return [(row.operation, row.record_count, row.state) for row in self.rows(query, l=list_id)]

    def book(self, audience_id: int, list_type: str = "EMAIL") -> ListBook:
        (found,) = [
            book
            for book in read_books(self.deployment)
            if (book.audience_id, book.list_type) == (audience_id, list_type)
        ]
        return found

    def assert_books_balance(self) -> None:
        for book in read_books(self.deployment):
            assert book.balanced, book

    def members(self, name: str = "VIP-EMAIL") -> set[str]:
        """Who is on the only list of that name at Pinterest, the placeholder aside."""
        listed = self.simulator.books.list_named(name)
        first = min(
            (w for w in self.simulator.books.writes(listed["id"]) if w.operation == "create_list"),
            key=lambda write: write.sequence,
        )
        return self.simulator.books.membership(listed["id"]) - set(first.digests)

    def patches(self, name: str = "VIP-EMAIL") -> list[tuple[str, int]]:
        """Operation and records of each PATCH of a list, in order, refused ones as well."""
        listed = self.simulator.books.list_named(name)
        return [
            (str(write.operation_type), write.record_count)
            for write in self.simulator.books.writes(listed["id"])
            if write.operation == "patch"
        ]

    def assert_charges_cover_what_was_sent(self) -> None:
        """Promise 3: what Pinterest may have processed never exceeds what is charged."""
        for row in self.rows("SELECT * FROM customer_list WHERE pinterest_list_id IS NOT NULL"):
            assert self.simulator.books.records_applied(row.pinterest_list_id) <= row.charged


@contextmanager
def open_workshop(
    database_url: str, simulator: PinterestSimulator, **settings: Any
) -> Iterator[Workshop]:
    """A workshop on a migrated database; its connections are closed at the end."""
    addresses = {"database_url": database_url, "pinterest_url": simulator.base_url}
    deployment = Deployment(short_settings(**addresses | settings))
    try:
        yield Workshop(deployment, simulator)
    finally:
        deployment.engine.dispose()
