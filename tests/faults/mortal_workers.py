"""Workers in this process whose steps end or pause at an instant of the test's choice.

Each step runs in a thread, but only one thread ever runs: whoever begins or wakes a step waits
until it ends or freezes. So what happens depends on nothing but the order that the test asks for.

What a step that dies leaves is what a killed process leaves. ``Killed`` is no ``Exception``, so no
handler of the product takes it. From that instant on its process begins no transaction, runs no
statement, commits nothing and sends nothing: whatever a ``finally`` block tries ends in ``Killed``
again. All that still reaches Postgres is the end of its connections, and with it the end of what
was not committed, just as when the kernel closes the sockets of a killed process.

A step freezes outside of transactions only: another one that waits for its locks would wait for
ever, as nobody else runs meanwhile. The dead-man timer is a whole process's, so it cannot be set
here; a step that slept past it dies as it wakes up, which is what the timer would have seen to.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, NamedTuple

import psycopg2
from sqlalchemy import event

from app.deployment import Deployment
from app.settings import Settings
from tests.faults.doomed import who_commits
from tests.faults.reckoning import Switches

PATIENCE_S = 120


class Killed(BaseException):
    """The process is dead; raised wherever it would do something from then on."""


class Fate(Enum):
    DIES = "dies"
    FREEZES = "freezes"
    CUT_OFF = "loses its connection to Postgres, and lives"


class Interruption(NamedTuple):
    """What befalls a step, and when: at the ``nth`` time that it comes by an instant."""

    fate: Fate
    where: str
    """The function of Pinfold whose transaction ends, or "request"."""
    side: str
    nth: int


class WorkersClock:
    """The monotonic clock of all workers, which runs on while the test lets time pass."""

    skipped = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        return time.monotonic() + self.skipped


class Step(threading.Thread):
    """One step of one process. Begun, woken and ended by the test's thread only."""

    def __init__(
        self,
        process: Process,
        work: Callable[[Deployment], object],
        clock: WorkersClock,
        interruption: Interruption | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self.process, self.work, self.clock = process, work, clock
        self.interruption = interruption
        self.frozen = self.dead = False
        self.result: object = None
        self.failure: Exception | None = None
        self.attempt: Any = None
        """The row of the attempt that it charged last."""
        self.charged_at = 0.0
        self.answered = True
        """False from a charge until its request has been answered."""
        self.limits: list[tuple[int, int]] = []
        """The caps and reserves that stood since it last looked at its list."""
        self.late_after: int | None = None
        """How many writing requests go out before one that arrives late."""
        self.dead_man_at: float | None = None
        self.switches: Switches | None = None
        """Of a cut: what decided, as it began, what it forwards."""
        self.joins_chunks = False
        self._met = 0
        self._wakes = threading.Semaphore(0)
        self._rests = threading.Semaphore(0)

    # In the test's thread.

    def begin(self) -> None:
        self.process.step = self
        self.start()
        self._await_rest()

    def go_on(self) -> None:
        self.frozen = False
        self._wakes.release()
        self._await_rest()

    def die(self) -> None:
        self.dead = True
        self.go_on()

    def _await_rest(self) -> None:
        assert self._rests.acquire(timeout=PATIENCE_S), "a step neither ends nor freezes"
        if not self.frozen:
            self.join(PATIENCE_S)
            if self.dead:
                self.process.end()

    # In its own thread.

    def run(self) -> None:
        try:
            self.result = self.work(self.process.deployment)
        except Killed:
            self.dead = True
        except Exception as failure:  # noqa: BLE001 the test's thread looks at it
            self.failure = failure
        finally:
            self._rests.release()

    def come_by(self, where: str, side: str, connection: Any = None) -> None:
        """Meet the fate of this instant, if it is the one."""
        self.stay_dead()
        planned = self.interruption
        if planned is None or (planned.where, planned.side) != (where, side):
            return
        self._met += 1
        if self._met != planned.nth:
            return
        if planned.fate is Fate.FREEZES:
            self.freeze()
        elif planned.fate is Fate.DIES:
            self.dead = True
            raise Killed
        else:
            connection.dbapi_connection.close()
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    def freeze(self) -> None:
        """Rest until the test wakes or ends this step."""
        self.frozen = True
        self._rests.release()
        self._wakes.acquire()
        slept_too_long = self.dead_man_at is not None and self.clock.monotonic() > self.dead_man_at
        self.dead = self.dead or slept_too_long
        self.stay_dead()

    def stay_dead(self) -> None:
        if self.dead:
            raise Killed


@contextmanager
def armed(seconds: float) -> Iterator[None]:
    """In place of the dead-man timer: when a step that is frozen will not wake up any more."""
    step = this_step()
    assert step is not None
    step.dead_man_at = step.clock.monotonic() + seconds
    try:
        yield
    finally:
        step.dead_man_at = None


def this_step() -> Step | None:
    """The step that runs in this thread."""
    thread = threading.current_thread()
    return thread if isinstance(thread, Step) else None


class Process:
    """A process of Pinfold: its own connections to Postgres, for one step after another."""

    def __init__(self, settings: Settings, on_commit: Callable[[Step, str], None]) -> None:
        self.deployment = Deployment(settings)
        assert self.deployment.keyring  # its own commit, at the first use, is none of a step's
        self.step: Step | None = None
        self._on_commit = on_commit
        dialect = self.deployment.engine.dialect
        self._commit = dialect.do_commit
        dialect.do_commit = self._watched_commit  # type: ignore[method-assign]
        for name in ("begin", "before_cursor_execute"):
            event.listen(self.deployment.engine, name, self._stay_dead)

    def end(self) -> None:
        """Close its connections, as happens to those of a process that is gone."""
        self.deployment.engine.dispose()

    def _stay_dead(self, *_: object) -> None:
        if self.step is not None:
            self.step.stay_dead()

    def _watched_commit(self, connection: Any) -> None:
        step = self.step
        assert step is not None
        name = who_commits(sys._getframe())
        step.come_by(name, "before", connection)
        self._commit(connection)
        self._on_commit(step, name)
        step.come_by(name, "after", connection)
