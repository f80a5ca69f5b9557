"""What lies on a haunted process: at named instants it may die, or stop until somebody wakes it.

The environment says what the dice are thrown from and where the run keeps its files. While the file
``peace`` is there, nothing happens.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.torture.dice import Deeds, dice

PLACE = "TORTURE_PLACE"
SEED = "TORTURE_SEED"
LIFE = "TORTURE_LIFE"
"""Which life of a process this is: each throws other dice."""
PEACE = "peace"
DEEDS = "deeds.log"
DIED, FROZE, STRANGE = "died", "froze", "strange-argument"


class Curse:
    """The dice of one process."""

    def __init__(self, *names: object) -> None:
        self._place = Path(os.environ[PLACE])
        self.dice = dice(int(os.environ[SEED]), os.environ[LIFE], *names)
        self.deeds = Deeds(self._place / DEEDS)

    @property
    def is_lifted(self) -> bool:
        return (self._place / PEACE).exists()

    def strike(self, instant: str, death: float, frost: float = 0.0) -> None:
        """Die by SIGKILL, or stop by SIGSTOP, with these chances."""
        roll = self.dice.random()
        if roll >= death + frost or self.is_lifted:
            return
        if roll < death:
            self.deeds.note(DIED, instant)
            os.kill(os.getpid(), signal.SIGKILL)
        self.deeds.note(FROZE, instant)
        os.kill(os.getpid(), signal.SIGSTOP)  # the torturer reads of it and wakes it, too late

    def around(self, call: Callable[..., Any], name: str, death: float) -> Callable[..., Any]:
        """The call, with an end right before it or right after it."""

        def cursed(*args: Any, **more: Any) -> Any:
            self.strike(f"before {name}", death)
            done = call(*args, **more)
            self.strike(f"after {name}", death)
            return done

        return cursed
