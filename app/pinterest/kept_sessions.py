"""Kept sessions: connections to Pinterest that outlive a turn.

Turns are short, and over a long way a new connection costs several round trips before the first
byte of a request leaves (benchmarks, slow link).
"""

from __future__ import annotations

import time
from collections import deque

import requests

KEPT_FOR_S = 10.0
"""A session without a request for so long is closed: as long as one may rest within a turn."""


Name = tuple[object, ...]
"""Address and headers: whoever has the same may go on with a session."""


class KeptSessions:
    """Sessions between two turns, of this process.

    Whoever takes one has it alone. One that rested for longer is closed instead, as the other side
    may be about to do so, which would leave it unknown what became of a request.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Name, requests.Session]] = deque()

    def take(self, name: Name | None) -> requests.Session | None:
        """A session that was kept under the name, if there is one."""
        for _ in range(len(self._kept)):
            try:
                kept = self._kept.popleft()
            except IndexError:  # another thread took the last one
                return None
            answered_at, its_name, session = kept
            if time.monotonic() - answered_at > KEPT_FOR_S:
                session.close()
            elif its_name == name:
                return session
            else:
                self._kept.append(kept)
        return None

    def keep(self, name: Name, session: requests.Session, answered_at: float) -> None:
        self._kept.append((answered_at, name, session))


KEPT = KeptSessions()
