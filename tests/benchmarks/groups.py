"""What there is to measure, by name: the groups of `make bench`, and the long ones beside them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from tests.benchmarks import (
    due_check,
    end_to_end,
    flushing,
    hashing,
    http_intake,
    memory,
    staging,
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

_LONG_MODULES = {
    "steps": "steps",
    "workers": "workers",
    "slow-link": "slow_link",
    "small-chunks": "small_chunks",
    "bloat": "bloat",
}
LONG: dict[str, ModuleType] = {
    name: import_module(f"tests.benchmarks.{module}")
    for name, module in _LONG_MODULES.items()
    if find_spec(f"tests.benchmarks.{module}")
}
"""Part of `make bench-full`; `make bench` takes them only by name. Each has ``measure``; some have
``measurements``, figures for JSON, and ``rows``, which makes the table of them."""
