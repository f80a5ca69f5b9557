"""Figures out of reports, and the line through two of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.benchmarks import reports
from tests.benchmarks.harness import Row

Figures = Mapping[str, Any]
"""What was written down, by the names of the files."""


class Cost(NamedTuple):
    value: float
    source: str
    """What it was derived from, and how, for a reader who wants to check it."""


Costs = Mapping[str, Cost]
"""By the names that they have in ``costs.Measured``."""


class NotMeasured(LookupError):
    """A report, or a figure in it, that a formula needs is not there."""


def figure(written: Mapping[Any, Any], *names: object) -> Any:
    """What stands under a name, in that under the next one, and so on."""
    for name in names:
        if name not in written:
            raise NotMeasured(name)
        written = written[name]
    return written


def row(figures: Figures, file: str, what: str) -> Row:
    for each in reports.rows_of(figure(figures, file)):
        if each.what == what:
            return each
    raise NotMeasured(f"{file}: {what}")


def line(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The height at zero and the slope through two points, the one further left first.

    Neither is below zero: nothing costs less than nothing, what seems to is noise.
    """
    (x, y), (further, there) = one, other
    slope = max(0.0, (there - y) / (further - x))
    return max(0.0, y - slope * x), slope
