"""What there is to measure, by name: the groups of `make bench`, and the long ones beside them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from tests.benchmarks import (
    bloat,
    due_check,
    end_to_end,
    flushing,
    hashing,
    http_intake,
    memory,
    slow_link,
    small_chunks,
    staging,
    steps,
    workers,
)
from tests.benchmarks.harness import Row, Sizes
from tests.benchmarks.installation import Ground

Group = Callable[[Ground, Sizes], list[Row]]

GROUPS: dict[str, Group] = {
    "stage": staging.measure,
    "due": due_check.measure,
    "flush": flushing.measure,
    "memory": memory.measure,
    "end-to-end": end_to_end.measure,
    "hash": hashing.measure,
    "http": http_intake.measure,
}
"""In the order of the table of design section 9; what it does not name comes last."""

LONG: dict[str, ModuleType] = {
    "steps": steps,
    "workers": workers,
    "slow-link": slow_link,
    "small-chunks": small_chunks,
    "bloat": bloat,
}
"""Part of `make bench-full`; `make bench` takes them only by name. Each has ``measure``; some have
``measurements``, figures for JSON, and ``rows``, which makes the table of them."""


def rows_and_measured(group: Any, ground: Ground, sizes: Sizes) -> tuple[list[Row], Any]:
    """Measure a long group: its rows and what they were made of, or None where it has no such."""
    if not hasattr(group, "measurements"):
        return group.measure(ground, sizes), None
    measured = group.measurements(ground, sizes)
    return group.rows(measured), measured
