"""How the drawings look, and the two shapes they are made of: lines over sizes, stacked bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from itertools import cycle
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

Series = Mapping[str, Sequence[tuple[float, Sequence[float]]]]
"""By name: where each point is, and its figure of every round."""

OURS = "#0b6e4f"
OTHERS = ("#c8553d", "#4a6fa5", "#8d6a9f", "#b08900", "#5f6b6d", "#d18fb0")
Look = dict[str, Any]

GREY = "#5f6b6d"
MANY = tuple(to_hex(colour) for colour in mpl.colormaps["tab20"].colors)
"""For as many parts as a profile has steps."""
_OTHERS = tuple((colour, "-", mark) for colour, mark in zip(OTHERS, "os^Dvo", strict=True))
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: small files, the reader's own letters
    "svg.hashsalt": "pinfold",  # else ids are random
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.grid": True,
    "grid.color": "#e3e6e8",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def svg(figure: Figure) -> str:
    written = StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    # matplotlib leaves blanks at the ends of some lines
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"


def short(value: float, _: object = None) -> str:
    """10k, 2.5M: how numbers stand at an axis."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def few_labels(axis: Any) -> None:
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=30))
    axis.set_major_formatter(FuncFormatter(short))
    axis.set_minor_locator(NullLocator())


def looks(names: Iterable[str]) -> dict[str, Look]:
    """How each line looks. Later ones are thinner, so that those below them are seen too."""
    ours, others = cycle(((OURS, "-", "o"), (OURS, "--", "s"))), cycle(_OTHERS)
    found: dict[str, Look] = {}
    for number, name in enumerate(dict.fromkeys(names)):
        is_ours = name.startswith("ours")
        colour, dashes, marker = next(ours) if is_ours else next(others)
        found[name] = {
            "color": colour,
            "linestyle": dashes,
            "marker": marker,
            "markersize": max(3.5, 7 - number),
            "linewidth": 2.4 if is_ours else max(1.2, 3.2 - number * 0.8),
        }
    return found


def lines(axes: Axes, series: Series, look: Mapping[str, Look]) -> None:
    """A line through the medians, and an area from the least to the most of the rounds."""
    for name, points in series.items():
        xs, rounds = zip(*sorted(points, key=lambda point: point[0]), strict=True)
        axes.plot(xs, [median(each) for each in rounds], label=name, **look[name])
        low, high = [min(each) for each in rounds], [max(each) for each in rounds]
        axes.fill_between(xs, low, high, color=look[name]["color"], alpha=0.15, linewidth=0)


def shared_legend(figure: Figure, panels: Iterable[Axes], columns: int) -> None:
    """One legend under all panels, of every line that any of them has."""
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)


def stacked(
    axes: Axes,
    names: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    colours: Sequence[str],
) -> None:
    """One bar a name, made of its parts from left to right."""
    left = [0.0] * len(names)
    for (part, widths), colour in zip(parts.items(), cycle(colours), strict=False):
        axes.barh(names, widths, left=left, color=colour, label=part, edgecolor="white")
        left = [start + width for start, width in zip(left, widths, strict=True)]
