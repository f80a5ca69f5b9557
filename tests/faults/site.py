"""An installation whose processes are stopped and started while everybody goes on sending.

HTTP calls, published messages and staged calls flow all the time; each upstream has an audience of
its own and reckons who must be a member of it in the end.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

from app.books import read_books
from app.sandbox.children import Child
from app.sandbox.stack import free_port
from tests.acceptance.callers import AUDIENCE, Doors, Load
from tests.acceptance.fleet import (
    CELERY,
    GRACE_S,
    PINFOLD,
    Fleet,
    eventually,
    exit_code,
    happens,
    pool_of,
)
from tests.faults.upstreams import Publisher, Stager, sending
from tests.workshop import Workshop

QUEUE, STAGED = "31002", "31003"
GRACES_S = {"beat": 60, "intake": GRACE_S, "api": 60, "worker": GRACE_S}
"""As in docker-compose.yml, but for beat, which is left with Docker's own there."""
PATIENCE_S = 120.0
IN_FLIGHT = "SELECT count(*) FROM attempt WHERE state = 'in_flight'"
IN_DOUBT = "SELECT count(*) FROM attempt WHERE state IN ('unknown', 'in_flight')"
SENT_TWICE = """
    SELECT count(*) FROM (SELECT batch_id FROM attempt WHERE batch_id IS NOT NULL
                           GROUP BY batch_id HAVING count(*) > 1) AS again
"""
RECEIVED = "SELECT coalesce(sum(accepted), 0) FROM receipt WHERE source = :source"


@dataclass
class Site:
    """The installation, who sends to it, and the processes of it that run now."""

    fleet: Fleet
    port: int
    each: int
    """How many there are of each process; of the HTTP service as many in one."""
    callers: Load
    publisher: Publisher
    stager: Stager
    shift: int = 0
    running: list[Child] = field(default_factory=list)

    def start(self) -> None:
        """Start everything at once and wait until all are ready."""
        self.shift += 1
        self.running = []
        for number in range(self.each):
            name = f"{self.shift}-{number}"
            node = f"worker{name}@fleet"
            worker = ("worker", "--concurrency", "2", "-n", node, "-l", "INFO")
            beat = ("beat", "--pidfile=", "-l", "INFO")
            self._launch(f"worker{name}", (*CELERY, *worker), f"{node} ready")
            self._launch(f"beat{name}", (*CELERY, *beat), "beat: Starting")
            self._launch(f"intake{name}", (*PINFOLD, "intake"), "intake reads")
        api = ("api", "--port", str(self.port), "--processes", str(self.each))
        self._launch(f"api{self.shift}", (*PINFOLD, *api), "listening on")
        for child in self.running:
            child.wait_ready()

    def _launch(self, name: str, command: tuple[str, ...], sign: str) -> None:
        self.running.append(self.fleet.launch(name, command, sign))

    def wait_for_full_load(self) -> None:
        """Until something came in each way since now, and requests to Pinterest are under way."""
        before = self._progress()

        def under_load() -> bool:
            moved = zip(self._progress(), before, strict=True)
            return all(now > then for now, then in moved) and self.fleet.count(IN_FLIGHT) > 0

        happens(under_load, PATIENCE_S)

    def _progress(self) -> tuple[int, ...]:
        self.callers.check()
        queued = self.fleet.count(RECEIVED, source="queue")
        return self.callers.answered(200), queued, self.stager.sent, self.fleet.writes()

    def end_by(self, signals: Sequence[signal.Signals], kinds: str = "") -> dict[str, int]:
        """Send signals to everything, or to one kind, at once; with which status each ended.

        Fails when one has not ended in its grace, or left a process behind.
        """
        told = [child for child in self.running if child.name.startswith(kinds)]
        families = [each for child in told if child.pid is not None for each in pool_of(child)]
        for number in signals:
            for child in told:
                if child.pid is not None:
                    os.kill(child.pid, number)
        asked_at = time.monotonic()
        for child in told:
            grace = GRACES_S[child.name.rstrip("0123456789-")]
            assert eventually(child.died, asked_at + grace - time.monotonic()), child.name
        happens(lambda: not any(map(_runs, families)))
        return {child.name: exit_code(child) for child in told}

    def members_due(self, upstream_id: str, list_type: str) -> set[str]:
        if upstream_id == AUDIENCE:
            return self.callers.members(list_type)
        upstream = self.publisher if upstream_id == QUEUE else self.stager
        return upstream.reckoning.members((upstream_id, list_type))

    def assert_nothing_is_lost(self) -> None:
        """Upload what is left; then Pinterest has exactly whom it must."""
        self.fleet.simulator.faults.clear()
        happens(
            lambda: self.fleet.count(RECEIVED, source="queue") >= self.publisher.sent, PATIENCE_S
        )
        assert self.fleet.drained(PATIENCE_S)
        assert self.fleet.unbalanced() == []
        workshop = Workshop(self.fleet.deployment, self.fleet.simulator)
        workshop.assert_charges_cover_what_was_sent()
        for upstream_id, name in self.fleet.names.items():
            for list_type in ("EMAIL", "MAID"):
                due = self.members_due(upstream_id, list_type)
                assert workshop.members(f"{name}-{list_type}") == due

    def assert_nothing_is_doubled(self) -> None:
        """Events were received once, batches sent once, and each attempt was one request.

        Only a call without a key that got no good answer may have been taken twice: its caller sent
        it again, as it may.
        """
        rows = self.fleet.ask("SELECT source, sum(accepted) AS n FROM receipt GROUP BY source")
        received = Counter({row.source: int(row.n) for row in rows})
        sent = Counter({"queue": self.publisher.sent, "staged here": self.stager.sent})
        accepted = sent + self.callers.accepted()
        assert received >= accepted
        assert received - accepted <= self.callers.unsure()
        assert self.fleet.count(SENT_TWICE) == 0
        requests = [r for r in self.fleet.simulator.books.requests() if r.method != "GET"]
        assert self.fleet.count("SELECT count(*) FROM attempt") == len(requests)
        for book in read_books(self.fleet.deployment):
            (listed,) = self.fleet.lists(f"{book.audience}-{book.list_type}")
            taken = listed["num_uploaded_user_records"] + listed["num_removed_user_records"]
            assert book.charged == taken


@contextmanager
def site_under_load(fleet: Fleet, each: int) -> Iterator[Site]:
    """A site that runs, with upstreams that send until the block ends, and finish what they are at.

    Pinterest takes its time, so that requests are always under way.
    """
    fleet.connect()
    for upstream_id in (AUDIENCE, QUEUE, STAGED):
        fleet.activate(upstream_id, f"Audience {upstream_id}")
    fleet.simulator.faults.script("slow", times=None, operation="patch", seconds=0.2)
    port = free_port(0)
    callers = Load(port, Doors.made_in(fleet.deployment), insisting=True)
    publisher = Publisher(fleet.environment["PINFOLD_BROKER_URL"], QUEUE)
    site = Site(fleet, port, each, callers, publisher, Stager(fleet.deployment, STAGED))
    site.start()
    with callers, sending(publisher, site.stager):
        yield site
        callers.end()


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
