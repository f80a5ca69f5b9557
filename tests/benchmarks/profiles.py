"""A profile as it was written down: microseconds an event of each step, by path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Profile = dict[str, dict[str, float]]

NO_PARTS = ("all of it", "of it ")
"""How steps begin that are no part of the path, but all of it, or it looked at in another way. A
step that takes no time at all is one that the code no longer has."""


def profile_of(written: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> Profile:
    """Of a report of the group ``steps``, or of what `python -m tests.benchmarks.steps` prints."""
    if not written:
        return {}
    if isinstance(written, Mapping):
        steps = [(*row["what"].split(": ", 1), median(row["figures"])) for row in written["rows"]]
    else:
        steps = [(step["path"], step["step"], step["us_per_event"]) for step in written]
    profile: Profile = {}
    for path, step, us in steps:
        if us and not step.startswith(NO_PARTS):
            profile.setdefault(path, {})[step] = us
    return profile


def whole(profile: Profile) -> dict[str, float]:
    """Microseconds an event of each path."""
    return {path: sum(steps.values()) for path, steps in profile.items()}
