"""Worker processes that deliver when they are told, with a queue of hints between them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from queue import Empty
from signal import SIGKILL
from time import monotonic, process_time
from typing import Any

from app.database import transaction
from app.delivery import deliver_once
from app.deployment import Deployment
from app.due_lists import lists_due
from app.sandbox.tether import end_with
from app.settings import Settings

PROCESSES = multiprocessing.get_context("spawn")
READY_S = 60.0
LAST_REQUEST_S = 120.0
"""A worker that is asked to stop ends the request under way first."""
NOBODY_RINGS_S = 0.05


class Crew:
    """Some workers that wait. ``work`` may be called again and again."""

    def __init__(self, settings: Settings, most: int) -> None:
        self._settings = settings
        self._hints: Any = PROCESSES.Queue()
        self._ended: Any = PROCESSES.Event()
        self._told: list[Connection] = []
        self._processes = []
        for _ in range(most):
            ours, theirs = PROCESSES.Pipe()
            arguments = (settings, self._hints, self._ended, theirs, os.getpid())
            process = PROCESSES.Process(target=_wait_and_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._told.append(ours)
            self._processes.append(process)
        for told in self._told:
            assert told.poll(READY_S), "a worker did not start"
            told.recv()

    def work(self, list_ids: list[int], workers: int, seconds: float) -> float:
        """Ring for the lists and let so many workers deliver so long; the CPU seconds they took.

        Whoever ends a turn rings for the list that is next; what was rung for in vain is found by
        the check, as often as beat makes it by default.
        """
        self._ended.clear()
        for list_id in list_ids:
            self._hints.put(list_id)
        for told in self._told[:workers]:
            told.send(True)
        self._ring_until(monotonic() + seconds)
        self._ended.set()
        spent = 0.0
        for told in self._told[:workers]:
            assert told.poll(LAST_REQUEST_S), "a worker does not end"
            spent += told.recv()
        self._forget_hints()
        return spent

    def close(self) -> None:
        for told in self._told:
            told.close()
        for process in self._processes:
            process.join(5)
            process.kill()
            process.join()
        self._hints.close()
        self._hints.cancel_join_thread()

    def _ring_until(self, end: float) -> None:
        deployment = Deployment(self._settings)
        interval = Settings.model_fields["check_interval"].default
        while not self._ended.wait(max(0.0, min(interval, end - monotonic()))):
            if monotonic() >= end:
                break
            with transaction(deployment.engine) as tx:
                due = lists_due(tx, self._settings)
            for list_id in due:
                self._hints.put(list_id)
        deployment.engine.dispose()

    def _forget_hints(self) -> None:
        try:
            while True:
                self._hints.get(timeout=NOBODY_RINGS_S)
        except Empty:
            pass


@contextmanager
def crew(settings: Settings, most: int) -> Iterator[Crew]:
    """Workers that are up, until the block ends."""
    workers = Crew(settings, most)
    try:
        yield workers
    finally:
        workers.close()


def _wait_and_work(
    settings: Settings, hints: Any, ended: Any, told: Connection, parent: int
) -> None:
    """What a worker does: wait until it is told to work, and say what CPU that took."""
    end_with(parent, SIGKILL)
    deployment = Deployment(settings)
    assert deployment.keyring.key_ids
    told.send(0.0)
    try:
        while told.recv():
            began = process_time()
            _work(deployment, hints, ended)
            told.send(process_time() - began)
    except EOFError:  # nobody will tell us any more
        deployment.engine.dispose()


def _work(deployment: Deployment, hints: Any, ended: Any) -> None:
    while not ended.is_set():
        try:
            list_id = hints.get(timeout=NOBODY_RINGS_S)
        except Empty:
            continue
        delivered = deliver_once(deployment, list_id, ended.is_set)
        if delivered is not None and delivered.next_id is not None and not ended.is_set():
            hints.put(delivered.next_id)
