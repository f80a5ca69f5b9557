"""Faults of processes: killed, frozen beyond their lease, alone or with all their children."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress

import psutil

from tests.faults.torture.conditions import BEATS, LEASE_S, WORKERS
from tests.faults.torture.ground import Ground

KILLED, FROZEN = "killed", "frozen"
Later = Callable[[float, Callable[[], None]], None]
Note = Callable[..., None]


class BrokenProcesses:
    def __init__(self, ground: Ground, chance: random.Random, later: Later, note: Note) -> None:
        self._ground, self._chance = ground, chance
        self._later, self._note = later, note

    def faults(self) -> list[tuple[float, Callable[[], None]]]:
        return [
            (6.0, self.kill_child),
            (60.0, self.kill_worker),
            (25.0, self.kill_intake),
            (45.0, self.kill_api),
            (45.0, self.kill_beat),
            (9.0, self.freeze_child),
            (45.0, self.freeze_group),
        ]

    def kill_child(self) -> None:
        self._end(self._chance.choice(WORKERS))

    def _end(self, name: str) -> None:
        children = self._ground.pool_of(name)
        if children:
            with suppress(psutil.NoSuchProcess):
                self._chance.choice(children).kill()
                self._note(KILLED, f"a child of {name}")

    def kill_worker(self) -> None:
        self._kill_group(self._chance.choice(WORKERS))

    def kill_intake(self) -> None:
        self._kill_group("intake")

    def kill_api(self) -> None:
        self._kill_group("api")

    def kill_beat(self) -> None:
        self._kill_group(self._chance.choice(BEATS))

    def _kill_group(self, name: str) -> None:
        self._note(KILLED, f"{name} with all its children")
        self._ground.signal_group(name, signal.SIGKILL)

    def freeze_child(self) -> None:
        children = self._ground.pool_of(self._chance.choice(WORKERS))
        if not children:
            return
        child = self._chance.choice(children)
        with suppress(psutil.NoSuchProcess):
            child.suspend()
            self._note(FROZEN, child.pid)
            self._later(self._long_enough(), lambda: _resume(child))

    def freeze_group(self) -> None:
        name = self._chance.choice((*WORKERS, "intake", "beat-a"))
        self._note(FROZEN, f"{name} with all its children")
        self._ground.signal_group(name, signal.SIGSTOP)
        self._later(self._long_enough(), lambda: self._ground.signal_group(name, signal.SIGCONT))

    def _long_enough(self) -> float:
        """Longer than any lease."""
        return LEASE_S + 2 + self._chance.random() * LEASE_S


def _resume(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        os.kill(process.pid, signal.SIGCONT)
