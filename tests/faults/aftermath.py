"""What must hold of a fleet once a fault is over: nothing is lost, invented or unpaid."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from app.books import read_books
from tests.acceptance.fleet import Fleet, happens

SENT_TWICE = """
    SELECT count(*) FROM (SELECT batch_id FROM attempt WHERE batch_id IS NOT NULL
                           GROUP BY batch_id HAVING count(*) > 1) AS again
"""
AUDIENCES = {"31001": "Spring sale", "31002": "Lapsed buyers"}


def make_busy(fleet: Fleet, seconds: float = 0.1) -> None:
    """Two audiences that flush at once, and a Pinterest that takes its time."""
    fleet.connect()
    for upstream_id, name in AUDIENCES.items():
        fleet.activate(upstream_id, name)
    fleet.simulator.faults.script("slow", times=None, operation="patch", seconds=seconds)


def stage_both(fleet: Fleet, messages: int = 4_000, *, day: int = 0) -> None:
    """Traffic for both audiences; each day has people of its own."""
    for number, upstream_id in enumerate(AUDIENCES, 1):
        fleet.stage_traffic(upstream_id, messages, seed=100 * day + number)


def writes_go_on(fleet: Fleet, more: int = 5) -> None:
    """Wait until so many more requests have arrived at Pinterest."""
    happens(partial(_wrote, fleet, fleet.writes() + more), 60)


def _wrote(fleet: Fleet, count: int) -> bool:
    return fleet.writes() >= count


def assert_all_is_right(fleet: Fleet, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Everything arrives, by itself, and is as it must be; ``meanwhile`` is done until then."""
    deadline_s = 180.0
    happens(lambda: meanwhile() is None and fleet.waiting() == 0, deadline_s)
    assert fleet.strangers() == {}
    assert fleet.unbalanced() == []
    books = fleet.simulator.books
    for book in read_books(fleet.deployment):
        listed = books.list_named(f"{book.audience}-{book.list_type}")
        assert books.records_applied(listed["id"]) <= book.charged
