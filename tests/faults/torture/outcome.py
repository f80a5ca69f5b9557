"""What came of a run: its figures, and what was violated."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.faults.torture.curse import DIED, FROZE
from tests.faults.torture.dice import Deeds
from tests.faults.torture.ground import Ground
from tests.faults.torture.judge import Judgement
from tests.faults.torture.people import Diary

ALARM = "signal 14 (SIGALRM)"


@dataclass
class Outcome:
    """What happened in a run."""

    seed: int
    figures: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def line(self) -> str:
        figures = ", ".join(f"{name} {count:,}" for name, count in self.figures.items())
        return f"seed {self.seed}, {figures}, violations {len(self.violations):,}"


def count(
    ground: Ground, diary: Diary, deeds: Deeds, done: Counter[str], judgement: Judgement
) -> dict[str, int]:
    """The figures of a run, in the order in which they are shown."""
    books = ground.simulator.books
    logs = [path.read_text(errors="replace") for path in ground.place.glob("worker*.log")]
    return {
        "events": diary.events(),
        "uploads": judgement.uploads,
        "requests": len(books.requests()),
        "deaths by SIGKILL": done["killed"] + deeds.count(DIED),
        "by the dead-man": sum(log.count(ALARM) for log in logs),
        "freezes": done["frozen"] + deeds.count(FROZE),
        "Postgres crashes": done["postgres-crash"],
        "sessions ended": done["session-ended"],
        "broker wipes": done["broker-wipe"],
        "restarts and silences": done["broker-restart"] + done["broker-silent"],
        "replies spoilt": sum(request.fault is not None for request in books.requests()),
        "clock steps": done["clock-step"],
        "quarantined": judgement.quarantined,
        "over the cap": judgement.over_cap,
        "unknown attempts": judgement.unknown,
    }
