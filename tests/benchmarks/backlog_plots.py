"""Drawings of what happens to tables over time: small chunks that are joined, and bloat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tests.benchmarks.drawing import GREY, OURS, few_labels, lines, looks, shared_legend, short, svg

Report = Mapping[str, Any]
_NAMES = {"joined": "ours, joined", "as they came": "as they came"}


def small_chunks(measured: Report) -> str:
    """Two panels, due check and status, while a backlog of single events grows."""
    figure = Figure(figsize=(9.2, 4.0), layout="constrained")
    figure.suptitle("Single events: what looks at them takes", fontsize=12, fontweight="bold")
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=True)
    look = looks(_NAMES.values())
    for axes, figures, title in zip(
        panels, ("due_ms", "status_ms"), ("due check", "pinfold status"), strict=True
    ):
        series = {
            name: [
                (events, [ms])
                for events, ms in zip(measured[key]["events"], measured[key][figures], strict=True)
            ]
            for key, name in _NAMES.items()
        }
        lines(axes, series, look)
        axes.set_title(title)
        axes.set_xlabel("events that wait")
        axes.xaxis.set_major_formatter(FuncFormatter(short))
        axes.set_yscale("log")
        few_labels(axes.yaxis)
    panels[0].set_ylabel("ms")
    shared_legend(figure, panels, 2)
    return svg(figure)


def bloat(measured: Report) -> str:
    """What tables without a row that waits take after each cycle, beside a backlog of one cycle."""
    sizes: Sequence[float] = measured["changing_mb"]
    figure = Figure(figsize=(6.8, 3.6), layout="constrained")
    figure.suptitle("Bloat: what emptied tables take", fontsize=12, fontweight="bold")
    axes = figure.subplots()
    axes.plot(range(1, len(sizes) + 1), sizes, color=OURS, linewidth=2, label="tables, emptied")
    backlog = f"the backlog of one cycle, {measured['events']:,} events"
    axes.axhline(measured["live_mb"], color=GREY, linestyle=":", label=backlog)
    axes.set_xlabel("cycles of staging and flushing")
    axes.set_ylabel("MB")
    axes.set_ylim(bottom=0)
    shared_legend(figure, [axes], 2)
    return svg(figure)
