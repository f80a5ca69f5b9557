"""Who wakes what was stopped: a thread, for the torturer may wait for somebody who sleeps."""

from __future__ import annotations

import heapq
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.faults.torture.conditions import LEASE_S
from tests.faults.torture.curse import FROZE
from tests.faults.torture.dice import Deeds, dice

LOOK_S = 0.1


class Waker(threading.Thread):
    """Wakes what others ask for, and the processes that stopped themselves."""

    def __init__(self, seed: int, deeds: Deeds) -> None:
        super().__init__(name="waker", daemon=True)
        self._deeds, self._read_to = deeds, 0
        self._chance = dice(seed, "waker")
        self._lock = threading.Lock()
        self._asleep: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.stopping = threading.Event()

    def later(self, seconds: float, wake: Callable[[], None]) -> None:
        """Have something done so much later."""
        with self._lock:
            entry = time.monotonic() + seconds, next(self._numbers), wake
            heapq.heappush(self._asleep, entry)

    def run(self) -> None:
        while not self.stopping.wait(LOOK_S):
            self._see_who_froze()
            self._wake(time.monotonic())

    def wake_all(self) -> None:
        """Wake at once whoever sleeps."""
        self._see_who_froze()
        self._wake(float("inf"))

    def _see_who_froze(self) -> None:
        """A process that stopped itself sleeps until its lease has ended for sure."""
        with self._lock:
            end = self._deeds.size()
            found = self._deeds.read(self._read_to)
            self._read_to = end
        for deed in found:
            if deed.kind == FROZE:
                longer = LEASE_S + 2 + self._chance.random() * LEASE_S
                self.later(longer, partial(os.kill, deed.pid, signal.SIGCONT))

    def _wake(self, until: float) -> None:
        while True:
            with self._lock:
                if not self._asleep or self._asleep[0][0] > until:
                    return
                wake = heapq.heappop(self._asleep)[2]
            with suppress(OSError):  # it is gone
                wake()
