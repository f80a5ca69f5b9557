"""What goes on while something is measured: whose CPU it was, and who waited in Postgres."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType

import psutil
import psycopg2

LOOK_EVERY_S = 0.02

_SESSIONS = r"""
    SELECT state, wait_event_type, wait_event,
           substring(query FROM '(?:UPDATE|INTO|FROM)\s+(\w+)') AS relation
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
"""
_LONGEST_LOCK = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float8
    FROM pg_locks WHERE NOT granted
"""
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of all that descend from it, ended ones included."""
    seconds = 0.0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for each in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


class CpuMeter:
    """The CPU that some families of processes spent since the meter was made, by their names."""

    def __init__(self, families: Mapping[str, int | None]) -> None:
        self._families = {name: pid for name, pid in families.items() if pid is not None}
        self._began = monotonic()
        self._before = self._now()

    def read(self) -> dict[str, float]:
        """Cores, on average: of each family, and of everybody on this machine."""
        seconds, now = monotonic() - self._began, self._now()
        return {name: (now[name] - self._before[name]) / seconds for name in now}

    def _now(self) -> dict[str, float]:
        machine = psutil.cpu_times()
        resting = machine.idle + getattr(machine, "iowait", 0.0)
        everybody = machine.user + machine.system + machine.idle + getattr(machine, "iowait", 0.0)
        everybody += getattr(machine, "nice", 0.0) + getattr(machine, "softirq", 0.0)
        families = {name: cpu_seconds(pid) for name, pid in self._families.items()}
        return families | {"everybody": everybody - resting}


@dataclass
class Waits:
    """What was seen of the sessions of one database, look by look."""

    looks: int = 0
    looks_with_a_lock_wait: int = 0
    sessions: int = 0
    """Sessions in a transaction, summed over the looks."""
    by_event: Counter[str] = field(default_factory=Counter)
    """Of these, by what they waited for; those that waited for nothing are `running`."""
    locks_by_relation: Counter[str] = field(default_factory=Counter)
    longest_lock_s: float = 0.0
    deadlocks: int = 0

    def figures(self) -> dict[str, object]:
        """In shares, for JSON."""
        looks, sessions = max(1, self.looks), max(1, self.sessions)
        return {
            "looks": self.looks,
            "share_of_looks_with_a_lock_wait": self.looks_with_a_lock_wait / looks,
            "share_of_sessions": {
                event: count / sessions for event, count in self.by_event.most_common()
            },
            "lock_waits_by_relation": dict(self.locks_by_relation),
            "longest_lock_s": self.longest_lock_s,
            "deadlocks": self.deadlocks,
        }


class WaitWatch:
    """Looks at the sessions of a database fifty times a second from one of its own, in a thread.

    ``waits`` is complete once the block has ended: deadlocks are counted from the beginning to the
    end of it, and a session may tell of its own only when it ends.
    """

    def __init__(self, database_url: str) -> None:
        self.waits = Waits()
        self._session = psycopg2.connect(database_url.replace("+psycopg2", ""))
        self._session.autocommit = True
        self._deadlocks_before = self._deadlocks()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_until_ended, daemon=True)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look until the block ends."""
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()

    def __enter__(self) -> WaitWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with closing(self._session):
            self.waits.deadlocks = self._deadlocks() - self._deadlocks_before

    def _look_until_ended(self) -> None:
        with self._session.cursor() as cursor:
            while not self._ended.wait(LOOK_EVERY_S):
                cursor.execute(_SESSIONS)
                if self._note(cursor.fetchall()):
                    cursor.execute(_LONGEST_LOCK)
                    ((longest,),) = cursor.fetchall()
                    self.waits.longest_lock_s = max(self.waits.longest_lock_s, longest)

    def _note(self, sessions: list[tuple[str, str | None, str | None, str | None]]) -> bool:
        """Count one look; whether a session waited for a lock."""
        waits = self.waits
        waits.looks += 1
        waits.sessions += len(sessions)
        locked = False
        for state, kind, event, relation in sessions:
            # one that waits for its client is in the hands of a worker, between two statements
            waits.by_event["running" if kind is None else f"{kind}:{event}"] += 1
            if kind == "Lock" and state == "active":
                locked = True
                waits.locks_by_relation[relation or "?"] += 1
        waits.looks_with_a_lock_wait += locked
        return locked

    def _deadlocks(self) -> int:
        with self._session.cursor() as cursor:
            cursor.execute(_DEADLOCKS)
            ((deadlocks,),) = cursor.fetchall()
            return int(deadlocks)
