"""Workers in processes of their own with a queue of hints between them, without a broker.

What the tasks do: take a turn with the list that is named, then ring for the one that is next.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any

from app.delivery import deliver_once
from app.deployment import Deployment
from app.due_lists import lists_due
from app.settings import Settings
from tests.workshop import Workshop

PROCESSES = multiprocessing.get_context("spawn")
CHECK_INTERVAL_S = 1.0


class Fleet:
    """``ring`` as a flush does once it has cut; beat rings for everything due now and then."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self.hints: Any = PROCESSES.Queue()
        self.ended: Any = PROCESSES.Event()

    def ring(self, list_id: int) -> None:
        self.hints.put(list_id)

    def beat(self) -> None:
        while not self.ended.wait(CHECK_INTERVAL_S):
            with self._workshop.transaction() as tx:
                due = lists_due(tx, self._workshop.deployment.settings)
            for list_id in due:
                self.ring(list_id)


@contextmanager
def fleet(workshop: Workshop, workers: int) -> Iterator[Fleet]:
    """So many workers that are up, and a beat."""
    running = Fleet(workshop)
    ready = PROCESSES.Semaphore(0)
    settings = workshop.deployment.settings
    processes = [
        PROCESSES.Process(target=_work, args=(settings, running.hints, running.ended, ready))
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        assert ready.acquire(timeout=60)
    beat = threading.Thread(target=running.beat)
    beat.start()
    try:
        yield running
    finally:
        running.ended.set()
        beat.join()
        for process in processes:
            process.join(20)
            process.kill()
        running.hints.close()
        running.hints.cancel_join_thread()


def _work(settings: Settings, hints: Any, ended: Any, ready: Any) -> None:
    deployment = Deployment(settings)
    with deployment.engine.connect():
        ready.release()
    while not ended.is_set():
        try:
            list_id = hints.get(timeout=0.1)
        except Empty:
            continue
        delivered = deliver_once(deployment, list_id, ended.is_set)
        if delivered is not None and delivered.next_id is not None and not ended.is_set():
            hints.put(delivered.next_id)
    deployment.engine.dispose()
