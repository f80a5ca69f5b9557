"""When the simulated Pinterest's own process got no turn: what it notes then, it notes late."""

from __future__ import annotations

import threading
import time

BEAT_S = 0.05
FELT_S = 0.1
WHILE_S = 10.0
"""A request that waited in the kernel for its turn was sent no longer ago."""


class Stalls(threading.Thread):
    """Sleeps and sees how much longer it took; ``end`` ends it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._found: list[tuple[float, float]] = []
        self._ended = threading.Event()

    def run(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(BEAT_S):
            now = time.monotonic()
            longer = now - before - BEAT_S
            if longer > FELT_S:
                self._found.append((time.time(), longer))
            before = now

    def end(self) -> None:
        self._ended.set()
        self.join()

    def before(self, moment: float) -> float:
        """Seconds, of the last few before a moment (in Unix time), in which there was no turn."""
        return sum(
            longer for at, longer in self._found if moment - WHILE_S < at < moment + longer + FELT_S
        )
