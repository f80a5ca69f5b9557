"""A worker's step in a process of its own, killed or frozen at an instant of the test's choice.

Instants are commits, named after the function of Pinfold that makes them, before or after Postgres
has heard of it, and requests to Pinterest: half sent, or sent and not yet answered.
"""

from __future__ import annotations

import http.client
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import psutil

from app.compacting import compact_once
from app.delivery import deliver_once
from app.deployment import Deployment
from app.flush import flush_once
from app.settings import Settings

Instant = tuple[str, str]
"""A name, and which side of it: ("charge", "after")."""
COMMITS_OF = {
    "flush": ("_claim", "fix_window", "_bodies", "_commit"),
    "compact": ("_begin", "_crowded", "_runs_of", "_claim", "_fix_newest", "join_runs", "_compact"),
    "deliver": ("_begin", "_step", "_await_slot", "send", "_post", "_end", "_and_then"),
    "create": (
        *("_begin", "_step", "_await_slot", "send", "_create", "_attempted_audience"),
        *("make_audience", "_end", "_and_then"),
    ),
}
STEPS: dict[str, Callable[[Deployment, int], object]] = {
    "flush": flush_once,
    "compact": lambda deployment, _: compact_once(deployment),
    "deliver": deliver_once,
    "create": deliver_once,
}
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
PATIENCE_S = 60


def die_in(settings: Settings, step: str, row_id: int, instant: Instant | None) -> list[str]:
    """Take a step, killed at an instant where one is named; returns the commits it made.

    AssertionError when the process did not end as it should have.
    """
    made: Any = PROCESSES.SimpleQueue()
    process = PROCESSES.Process(
        target=_work, args=(settings, step, row_id, instant, signal.SIGKILL, made)
    )
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == (-signal.SIGKILL if instant else 0), process.exitcode
    names = []
    while not made.empty():
        names.append(made.get())
    made.close()
    return names


class Frozen:
    """A worker that was stopped in the midst of a step."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self._since = time.monotonic()

    def wait(self, seconds: float) -> None:
        """Until it has been frozen for so long."""
        time.sleep(max(0.0, self._since + seconds - time.monotonic()))

    def thaw(self) -> int | None:
        """Let it go on to its end; how it ended."""
        os.kill(self._process.pid or 0, signal.SIGCONT)
        self._process.join(PATIENCE_S)
        return self._process.exitcode


@contextmanager
def frozen_in(settings: Settings, step: str, row_id: int, instant: Instant) -> Iterator[Frozen]:
    """Take a step up to an instant, and stand still there."""
    made: Any = PROCESSES.SimpleQueue()
    process = PROCESSES.Process(
        target=_work, args=(settings, step, row_id, instant, signal.SIGSTOP, made)
    )
    process.start()
    try:
        _await_frozen(process)
        yield Frozen(process)
    finally:
        process.kill()
        process.join()
        made.close()


def _await_frozen(process: BaseProcess) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while process.is_alive() and time.monotonic() < deadline:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
                return
        time.sleep(0.005)
    raise AssertionError("it never came to its instant")


def _work(
    settings: Settings,
    step: str,
    row_id: int,
    instant: Instant | None,
    fate: signal.Signals,
    made: Any,
) -> None:
    deployment = Deployment(settings)
    assert deployment.keyring  # its own commit, at the first use of the keys, is none of the step
    dialect = deployment.engine.dialect
    commit = dialect.do_commit
    strike = partial(os.kill, os.getpid(), fate)
    struck: list[Instant] = []

    def strike_once(now: Instant) -> None:
        if now == instant and not struck:
            struck.append(now)
            strike()

    def watched(connection: Any) -> None:
        name = who_commits(sys._getframe())
        strike_once((name, "before"))
        commit(connection)
        made.put(name)
        strike_once((name, "after"))

    dialect.do_commit = watched  # type: ignore[method-assign]  # the one way to every commit
    if instant and instant[0] == "request":
        _strike_in_request(instant[1], strike)
    STEPS[step](deployment, row_id)
    deployment.engine.dispose()


def _strike_in_request(half: str, strike: Callable[[], None]) -> None:
    connection_class = http.client.HTTPConnection
    answer = connection_class.getresponse

    def send_half(connection: http.client.HTTPConnection, data: bytes) -> None:
        if data.startswith((b"PATCH", b"POST")):
            connection.connect()
            connection.sock.sendall(data)  # the head, and nothing of the body that it announces
            return
        middle = len(data) // 2
        connection.sock.sendall(data[:middle])
        strike()
        connection.sock.sendall(data[middle:])

    def answer_late(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        strike()
        return answer(connection)

    if half == "half sent":
        connection_class.send = send_half  # type: ignore[method-assign]
    else:
        connection_class.getresponse = answer_late  # type: ignore[method-assign]


def who_commits(frame: FrameType | None) -> str:
    """The function of Pinfold whose transaction ends."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module.startswith("app.") and module != "app.database":
            return frame.f_code.co_name
        frame = frame.f_back
    raise AssertionError("nobody of ours commits")
