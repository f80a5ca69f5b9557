"""Dice from one seed, and the file in which every process of a run notes its deeds."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import NamedTuple


def dice(seed: int, *names: object) -> random.Random:
    """Dice of their own for each name: nobody's throws depend on how often others threw."""
    return random.Random(" ".join(map(str, (seed, *names))))


class Deed(NamedTuple):
    pid: int
    kind: str
    what: str


class Deeds:
    """What was done to whom and when, one line each; processes write, the torturer counts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, kind: str, what: object = "") -> None:
        line = f"{time.time():.3f} {os.getpid()} {kind} {what}\n".encode()
        # one write to a file opened for appending: lines of several processes never mix
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def size(self) -> int:
        """The bytes written so far."""
        return self._path.stat().st_size if self._path.exists() else 0

    def read(self, start: int = 0) -> list[Deed]:
        """Every line from a place on that ``size`` told."""
        if self.size() <= start:
            return []
        with self._path.open("rb") as file:
            file.seek(start)
            lines = file.read().decode().splitlines()
        return [
            Deed(int(pid), kind, what) for _, pid, kind, what in (x.split(" ", 3) for x in lines)
        ]

    def count(self, kind: str) -> int:
        return sum(each.kind == kind for each in self.read())
