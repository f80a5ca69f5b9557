"""Celery's workers, whose children die or freeze at every commit and in mid-request.

    celery -A tests.faults.torture.haunted worker

The product is as it is: what is met here are the driver's commit, the client's socket and the task
about to run. Many a hint is rung five times, and few in the order in which they were given.
"""

from __future__ import annotations

import http.client
import itertools
import multiprocessing
import sys
from typing import Any

from celery.signals import task_prerun, worker_process_init

from tests.faults.doomed import who_commits
from tests.faults.torture.curse import STRANGE, Curse
from workers.celery_app import app
from workers.doorbell import CeleryDoorbell
from workers.process import deployment

__all__ = ["app"]

AT_COMMIT = 0.0025
IN_REQUEST = 0.004
FROST = 0.006
OFTEN, TIMES_RUNG = 0.2, 5
MOST_WAITING = 2

_children = multiprocessing.Value("i", 0)
_ring = CeleryDoorbell._ring
_waiting: list[tuple[str, int]] = []


def haunt(**_: Any) -> None:
    """Lay a curse on a child as it starts."""
    with _children.get_lock():
        _children.value += 1
        curse = Curse("child", _children.value)
    _haunt_commits(curse)
    _haunt_requests(curse)
    _ring_often(curse)
    task_prerun.connect(
        lambda task, args, kwargs, **_: _look_at(curse, task.name, args, kwargs), weak=False
    )


def _haunt_commits(curse: Curse) -> None:
    dialect = deployment().engine.dialect
    commit = dialect.do_commit

    def cursed(connection: Any) -> None:
        name = who_commits(sys._getframe())
        curse.strike(f"before the commit of {name}", AT_COMMIT)
        commit(connection)
        curse.strike(f"after the commit of {name}", AT_COMMIT)

    dialect.do_commit = cursed  # type: ignore[method-assign]


def _haunt_requests(curse: Curse) -> None:
    send, answer = http.client.HTTPConnection.send, http.client.HTTPConnection.getresponse

    def cursed_send(connection: http.client.HTTPConnection, data: Any) -> None:
        if data.startswith((b"PATCH", b"POST")):
            curse.strike("before the request", IN_REQUEST, FROST)
            send(connection, data)
            return
        half = len(data) // 2
        send(connection, data[:half])
        curse.strike("with the request half sent", IN_REQUEST, FROST)
        send(connection, data[half:])

    def cursed_answer(connection: http.client.HTTPConnection) -> Any:
        curse.strike("with the request unanswered", IN_REQUEST)
        received = answer(connection)
        curse.strike("with the answer in hand", IN_REQUEST, FROST)
        return received

    http.client.HTTPConnection.send = cursed_send  # type: ignore[method-assign]
    http.client.HTTPConnection.getresponse = cursed_answer  # type: ignore[method-assign]


def _ring_often(curse: Curse) -> None:
    def ring(bell: CeleryDoorbell, task: str, row_id: int) -> None:
        often = curse.dice.random() < OFTEN and not curse.is_lifted
        _waiting.extend(itertools.repeat((task, row_id), TIMES_RUNG if often else 1))
        curse.dice.shuffle(_waiting)
        while len(_waiting) > (0 if curse.is_lifted else MOST_WAITING):
            _ring(bell, *_waiting.pop())

    CeleryDoorbell._ring = ring  # type: ignore[method-assign]


def _look_at(curse: Curse, name: str, args: Any, kwargs: Any) -> None:
    if kwargs or not all(type(each) is int for each in args):
        curse.deeds.note(STRANGE, name)


worker_process_init.connect(haunt)
