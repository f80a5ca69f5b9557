"""The drawings of docs/performance.md, as SVG: the same figures always give the same bytes.

Each takes reports as they were written down; what they do not hold is not drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tests.benchmarks import backlog_plots
from tests.benchmarks.drawing import (
    GREY,
    MANY,
    OTHERS,
    OURS,
    STYLE,
    few_labels,
    lines,
    looks,
    shared_legend,
    short,
    stacked,
    svg,
)
from tests.benchmarks.profiles import Profile, profile_of
from tests.benchmarks.sweeps import SWEEPS

Report = Mapping[str, Any]


def drawings(reports: Mapping[str, Any]) -> dict[str, str]:
    """The SVG of every drawing that some reports have figures for, by its name."""
    with mpl.rc_context(STYLE):
        drawn = {
            f"growth-{part}": _growth(reports["growth"], part)
            for part in ("stage", "due", "flush", "memory", "end-to-end")
            if part in reports.get("growth", {})
        }
        for name, draw in (
            ("workers", _workers),
            ("slow-link", _slow_link),
            ("small-chunks", backlog_plots.small_chunks),
            ("bloat", backlog_plots.bloat),
        ):
            if "measured" in reports.get(name, {}):
                drawn[name] = draw(reports[name]["measured"])
        if after := profile_of(reports.get("steps")):
            drawn["profile"] = _profiles(profile_of(reports.get("profile-before")), after)
    return drawn


# Growth: the cost of an event on the left, the rate on the right, which is the same turned over.

_SUBJECTS = {
    "stage": ("Staging: the cost of an event", "µs an event"),
    "due": ("Due check: its time while much waits", "ms a check"),
    "flush": ("Flush: the cost of an event", "µs an event"),
    "memory": ("Flush: memory over the idle worker", "MB"),
    "end-to-end": ("End to end: the cost of an event, until accepted", "µs an event"),
}


def _growth(swept: Report, part: str) -> str:
    names = [name for name in (part, f"{part}-audiences") if name in swept]
    figure = Figure(figsize=(9.2 if len(names) > 1 else 6.8, 4.0), layout="constrained")
    subject, unit = _SUBJECTS[part]
    figure.suptitle(subject, fontsize=12, fontweight="bold")
    panels: Sequence[Axes] = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    series = [_by_series(swept[name]["points"]) for name in names]
    look = looks(line for each in series for line in each)
    for name, axes, each in zip(names, panels, series, strict=True):
        lines(axes, each, look)
        axes.set_xscale("log")
        axes.set_xlabel(SWEEPS[name].against)
        axes.xaxis.set_major_formatter(FuncFormatter(short))
        if unit == "MB":
            axes.set_ylim(bottom=0)
        else:
            axes.set_yscale("log")
            few_labels(axes.yaxis)
    panels[0].set_ylabel(unit)
    if unit == "µs an event":
        rate = panels[-1].secondary_yaxis("right", functions=(_turned_over, _turned_over))
        rate.set_ylabel("events a second")
        few_labels(rate.yaxis)
    shared_legend(figure, panels, 2 if len(names) == 1 else 3)
    return svg(figure)


def _turned_over(value: Any) -> Any:
    with np.errstate(divide="ignore"):  # it is tried at 0, where nothing is drawn
        return 1e6 / value


def _by_series(points: Sequence[Report]) -> dict[str, list[tuple[float, Sequence[float]]]]:
    series: dict[str, list[tuple[float, Sequence[float]]]] = {}
    for point in points:
        series.setdefault(point["series"], []).append((point["x"], point["rounds"]))
    return series


# Many workers.


def _workers(measured: Report) -> str:
    crews: Mapping[str, Report] = measured["crews"]
    figure = Figure(figsize=(9.2, 0.55 * len(crews) + 1.9), layout="constrained")
    figure.suptitle(
        f"Many workers: {measured['events']:,} events of {measured['audiences']:,} audiences",
        fontsize=12,
        fontweight="bold",
    )
    pace, busy = figure.subplots(1, 2, sharey=True)
    names = list(crews)
    rates = [crews[name]["events_per_s"] for name in names]
    pace.bar_label(pace.barh(names, rates, color=OURS), fmt=_short_rate, padding=3)
    pace.set_xlabel("events accepted a second")
    pace.set_xlim(0, max(rates) * 1.18)
    pace.xaxis.set_major_formatter(FuncFormatter(short))
    whose = ("workers", "postgres", "broker", "simulator")
    parts = {
        who.capitalize(): [_busy(crews[name]["cores"], who) for name in names] for who in whose
    }
    stacked(busy, names, parts, (OURS, *OTHERS))
    busy.set_xlabel("busy cores")
    pace.invert_yaxis()
    figure.legend(*busy.get_legend_handles_labels(), loc="outside lower right", ncols=4)
    return svg(figure)


def _short_rate(value: float) -> str:
    return f"{value / 1e3:.1f}k" if value >= 1e3 else f"{value:.0f}"


def _busy(cores: Mapping[str, float], who: str) -> float:
    return sum(busy for name, busy in cores.items() if name.startswith(who))


# A slow link.


def _slow_link(measured: Report) -> str:
    cases: Sequence[Report] = measured["cases"]
    sizes = sorted({case["records"] for case in cases})
    figure = Figure(figsize=(9.2, 3.8), layout="constrained")
    figure.suptitle("A slow link: the pace against Pinterest's limit", fontsize=12, weight="bold")
    panels: Sequence[Axes] = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for records, axes in zip(sizes, panels, strict=True):
        some = [case for case in cases if case["records"] == records]
        shapes: dict[str, list[tuple[float, Sequence[float]]]] = {}
        for case in some:
            pace = [case["requests_per_s"]]
            shapes.setdefault(_shape(case), []).append((case["round_trip_ms"], pace))
        lines(axes, shapes, looks(shapes))
        allowed = some[0]["allowed_per_s"]
        axes.axhline(allowed, color=GREY, linestyle=":", label="what the limit allows")
        axes.set_title(f"{records:,} records a request")
        axes.set_xlabel("round trip, ms")
        axes.set_ylim(0, allowed * 1.15)
    panels[0].set_ylabel("requests a second")
    shared_legend(figure, panels, 4)
    return svg(figure)


def _shape(case: Report) -> str:
    lists = "one list alone" if case["lists"] == 1 else f"{case['lists']} lists"
    return f"{lists}, {case['workers']} worker{'s' if case['workers'] > 1 else ''}"


# Where the time goes.


def _profiles(before: Profile, after: Profile) -> str:
    """A panel a path, with a bar before and one after, each made of the steps."""
    figure = Figure(figsize=(9.2, 1.75 * len(after) + 0.6), layout="constrained")
    figure.suptitle("Where the time of an event goes", fontsize=12, fontweight="bold")
    panels: Sequence[Axes] = figure.subplots(len(after), 1, squeeze=False)[:, 0]
    for (path, steps), axes in zip(after.items(), panels, strict=True):
        bars = {"before": before[path]} if path in before else {}
        bars["after" if bars else "now"] = steps
        every = dict.fromkeys(step for bar in bars.values() for step in bar)
        parts = {step: [bar.get(step, 0.0) for bar in bars.values()] for step in every}
        stacked(axes, list(bars), parts, MANY)
        axes.invert_yaxis()
        axes.set_title(path, loc="left")
        axes.set_xlabel("µs an event")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=2 if len(every) > 5 else 1)
    return svg(figure)
