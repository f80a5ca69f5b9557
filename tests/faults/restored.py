"""An installation whose database is dumped in the midst of life, lost, and restored."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.events import MembershipEvent
from app.observing import observe_due_once
from app.sandbox.embedded_postgres import PostgresServer
from tests.acceptance.fleet import run_for
from tests.faults.backups import dump, lose, restore
from tests.faults.doomed import die_in
from tests.workshop import (
    ADD,
    REMOVE,
    Workshop,
    address,
    email_event,
    emails,
    sha1_hex,
)

BATCH = 5
"""Records in one request."""


@dataclass
class Installation:
    """A workshop whose database is dumped, lost and restored, and the upstream system it has."""

    workshop: Workshop
    postgres: PostgresServer
    directory: Path
    taken: str = ""
    sent_since: list[list[MembershipEvent]] = field(default_factory=list)
    """What the upstream system handed in since the backup, call by call."""
    members: dict[str, dict[str, bool]] = field(default_factory=dict)
    """By the upstream system's own reckoning: who is in which audience."""

    def send(self, *events: MembershipEvent) -> None:
        self.workshop.stage(*events)
        self.sent_since.append(list(events))
        for event in events:
            who = sha1_hex(event.identities[0].value)
            self.members.setdefault(event.audience, {})[who] = event.operation is ADD

    def due(self, upstream_id: str = "31001") -> set[str]:
        return {who for who, inside in self.members[upstream_id].items() if inside}

    def work(self) -> None:
        """Upload whatever waits, however often it takes."""
        self.workshop.end_leases()
        self.workshop.end_quarantine()
        self.workshop.deliver_all()
        for row in self.workshop.rows("SELECT id FROM audience ORDER BY id"):
            while self.workshop.flush(row.id) is not None:
                self.workshop.deliver_all()

    def back_up(self) -> None:
        self.taken = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        dump(self._url, self.directory / "pinfold.dump")
        self.sent_since.clear()

    def lose_and_restore(self) -> None:
        self.workshop.deployment.engine.dispose()
        lose(self.postgres, self._url)
        restore(self.postgres, self._url, self.directory / "pinfold.dump")
        self.workshop.execute("DELETE FROM process")  # a backup is older than the five minutes

    def pinfold(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return run_for(self.workshop, self.directory, *arguments, **changes)

    def recover(self, *options: str) -> str:
        """Run the guide's command; returns what it printed."""
        done = self.pinfold("recover", "--backup-taken", self.taken, "--yes", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def send_again(self) -> None:
        """The upstream system sends again what it sent since the backup, in the same order."""
        for events in list(self.sent_since):
            self.workshop.stage(*events)

    def vanish(self, audience_id: int = 1) -> None:
        """Somebody deletes an audience's list at Pinterest."""
        workshop = self.workshop
        workshop.simulator.books.delete_list(workshop.list_row(audience_id).pinterest_list_id)

    def come_back(self, audience_id: int = 1) -> None:
        """Pinterest restores it, with all that it has had."""
        pinterest_id = self.workshop.list_row(audience_id).pinterest_list_id
        self.workshop.simulator.books._lists[pinterest_id].vanished = False

    def observe(self) -> int:
        """Look now at every list that is looked at; returns how many were seen."""
        self.workshop.execute("UPDATE customer_list SET observe_not_before = NULL")
        return observe_due_once(self.workshop.deployment)

    def assert_sound(self) -> None:
        """The books balance, charges cover what Pinterest got, and nothing exists twice."""
        self.workshop.assert_books_balance()
        self.workshop.assert_charges_cover_what_was_sent()
        books = self.workshop.simulator.books
        assert max(Counter(each["name"] for each in books.lists()).values()) == 1
        assert max(Counter(each["name"] for each in books.audiences()).values()) == 1

    @property
    def _url(self) -> str:
        return self.workshop.deployment.settings.require_database_url()


@pytest.fixture
def installation(
    open_with: Callable[..., Workshop], postgres: PostgresServer, tmp_path: Path
) -> Installation:
    return Installation(open_with(records_per_request=BATCH), postgres, tmp_path)


@pytest.fixture
def lost(installation: Installation) -> Installation:
    """A day in the life, with a backup in its midst, and the database restored from that.

    At the backup a request is under way, a batch waits in a lane and messages wait in staging.
    Afterwards all of it was sent, people changed their minds, and a new audience came into being.
    """
    workshop = installation.workshop
    audience_id = workshop.ready(forward_device_id=False)
    installation.send(*emails(range(10)))
    installation.work()
    installation.send(*emails(range(3), REMOVE), *emails(range(10, 13)))
    assert workshop.flush(audience_id) is not None
    list_id = workshop.list_id(audience_id)
    die_in(workshop.deployment.settings, "deliver", list_id, ("request", "unanswered"))
    installation.send(email_event(13), email_event(4, REMOVE))
    installation.back_up()
    installation.work()
    installation.send(email_event(0), email_event(10, REMOVE), email_event(13, REMOVE))
    installation.send(email_event(4), *emails(range(20, 40)))
    installation.work()
    workshop.activate("31002", "New")
    installation.work()
    installation.send(*emails(range(7), audience="31002"))
    installation.work()
    installation.send(email_event(20, REMOVE), email_event(5, REMOVE, audience="31002"))
    assert workshop.members() == installation.due() | {sha1_hex(address(20))}
    installation.lose_and_restore()
    return installation
