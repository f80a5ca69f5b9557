"""Kept sessions: connections to Pinterest that outlive a turn.

Turns are short, and over a long way a new connection costs several round trips before the first
byte of a request leaves (benchmarks, slow link).
"""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

import requests

KEPT_FOR_S = 10.0
"""No request goes over a connection that rested for longer: as long as one may rest in a turn. The
other side may be about to close it, which would leave it unknown what became of the request."""


Name = tuple[object, ...]
"""Address and headers: whoever has the same may go on with a session."""


class KeptSession(NamedTuple):
    answered_at: float
    """When its last request was answered, by the monotonic clock."""
    name: Name
    session: requests.Session

    def rested_too_long(self) -> bool:
        return time.monotonic() - self.answered_at > KEPT_FOR_S


class KeptSessions:
    """Sessions between two turns, of this process. Whoever takes one has it alone."""

    def __init__(self) -> None:
        self._kept: deque[KeptSession] = deque()

    def take(self, name: Name | None) -> KeptSession | None:
        """A session that was kept under the name, if there is one; old ones are closed."""
        for _ in range(len(self._kept)):
            try:
                kept = self._kept.popleft()
            except IndexError:  # another thread took the last one
                return None
            if kept.rested_too_long():
                kept.session.close()
            elif kept.name == name:
                return kept
            else:
                self._kept.append(kept)
        return None

    def keep(self, kept: KeptSession) -> None:
        self._kept.append(kept)


KEPT = KeptSessions()
