"""The blocks of the pages that figures fill: each takes reports and gives Markdown, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from statistics import median

from tests.benchmarks import fleet, reports
from tests.benchmarks.assumptions import assumptions
from tests.benchmarks.costing import costs_from
from tests.benchmarks.costs import Limits
from tests.benchmarks.evidence import Figures
from tests.benchmarks.growth import verdicts
from tests.benchmarks.harness import Row, brief
from tests.benchmarks.plots import short
from tests.benchmarks.profiles import profile_of, whole
from tests.benchmarks.sweeps import SWEEPS
from tests.benchmarks.tables import HEADINGS, cells, judged_first, page_table, summary

INDENT = "&nbsp;&nbsp;"


def rows_table(named: Iterable[tuple[str, Row]]) -> str:
    """Rows by their names; columns of which every cell is empty are left out."""
    lines = [
        (name.replace("  ", INDENT, 1) if name.startswith("  ") else name, *cells(row)[1:])
        for name, row in named
    ]
    used = [place for place in range(len(HEADINGS)) if any(line[place] for line in lines)]
    headings = [HEADINGS[place] for place in used]
    return page_table(headings, [[line[place] for place in used] for line in lines])


def judged(figures: Figures) -> str:
    """The table of design section 9, and its sentence."""
    rows = reports.rows_of(figures["bench"])
    took = summary(rows, figures["bench"]["taken"]["seconds"])
    return f"{rows_table(judged_first(rows)[0])}\n\n{took}"


def beside(figures: Figures) -> str:
    return rows_table(judged_first(reports.rows_of(figures["bench"]))[1])


def group(name: str) -> Callable[[Figures], str]:
    """All rows of a long group, as it has them."""
    return lambda figures: rows_table((row.what, row) for row in reports.rows_of(figures[name]))


def workers(figures: Figures) -> str:
    """A column a crew, for each row says the same of every one of them."""
    families = _families(reports.rows_of(figures["workers"]))
    names, what = zip(*(first.what.rsplit(": ", 1) for first, *_ in families), strict=True)
    lines = zip(*families, strict=True)
    return page_table(
        ("", *names),
        [
            (what[0] if number == 0 else line[0].what.strip(), *map(_figure, line))
            for number, line in enumerate(lines)
        ],
    )


def slow_link(figures: Figures) -> str:
    """A line a case, and under it what has no case."""
    families = _families(reports.rows_of(figures["slow-link"]))
    cases = [family for family in families if len(family) > 1]
    headings = [row.what.strip() for row in cases[0][1:]]
    table = page_table(
        ("requests of what the limit allows", "achieved", "allowed", "share", *headings),
        [
            (
                first.what.rsplit(": ", 1)[1],
                first.ours,
                first.yardstick,
                *map(_figure, (first, *others)),
            )
            for first, *others in cases
        ],
    )
    alone = [family[0] for family in families if len(family) == 1]
    return f"{table}\n\n{rows_table((row.what, row) for row in alone)}" if alone else table


def _families(rows: Iterable[Row]) -> list[list[Row]]:
    """Each row with those that go on with it."""
    families: list[list[Row]] = []
    for row in rows:
        if row.what.startswith("  ") and families:
            families[-1].append(row)
        else:
            families.append([row])
    return families


def _figure(row: Row) -> str:
    """The figure, and the verdict where something is asked."""
    *_, figure, must, verdict = cells(row)
    return f"{figure}, {must}: {verdict}" if must else figure


def machine(figures: Figures) -> str:
    described = figures["bench"]["taken"]["machine"]
    return page_table(("of the machine", ""), list(described.items()))


def sources(figures: Figures) -> str:
    """Of every file of figures: when, of which commit, and how long it took."""
    taken = [(f"{name}.json", each["taken"]) for name, each in figures.items() if "taken" in each]
    taken += [
        (f"growth.json, {name}", swept["taken"])
        for name, swept in figures.get("growth", {}).items()
    ]
    return page_table(
        ("figures", "taken (UTC)", "commit", "minutes"),
        [
            (
                name,
                each["date"][:16].replace("T", " "),
                each["commit"],
                f"{each['seconds'] / 60:.1f}",
            )
            for name, each in taken
        ],
    )


def growth(against: str) -> Callable[[Figures], str]:
    """A line a series, a column a size: the medians of all sweeps against the same thing."""

    def table(figures: Figures) -> str:
        lines: dict[tuple[str, str], dict[int, str]] = {}
        for name, swept in figures["growth"].items():
            if SWEEPS[name].against != against:
                continue
            for point in swept["points"]:
                line = (f"{SWEEPS[name].what}, {point['series']}", point["unit"])
                lines.setdefault(line, {})[point["x"]] = brief(point["y"])
        sizes = sorted({size for line in lines.values() for size in line})
        return page_table(
            ("what", "in", *(f"{short(size)} {against}" for size in sizes)),
            [(*line, *(found.get(size, "") for size in sizes)) for line, found in lines.items()],
        )

    return table


def growth_verdicts(figures: Figures) -> str:
    return rows_table((row.what, row) for row in verdicts(figures["growth"]))


def profile(figures: Figures) -> str:
    """Each step before and after, and its share after; then all of the path."""
    after, before = profile_of(figures["steps"]), profile_of(figures.get("profile-before"))
    totals, old_totals = whole(after), whole(before)
    lines: list[Sequence[str]] = []
    for path, steps in after.items():
        old = before.get(path, {})
        for step in dict.fromkeys((*old, *steps)):
            now = steps.get(step, 0.0)
            lines.append((path, step, _us(old.get(step)), _us(now), f"{now / totals[path]:.0%}"))
        lines.append((path, "**all of it**", _us(old_totals.get(path)), _us(totals[path]), ""))
    return page_table(("path", "step", "before, µs an event", "µs an event", "share"), lines)


def _us(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def fleets(figures: Figures) -> str:
    return fleet.markdown(fleet.fleets(costs_from(figures), Limits()))


def costs(figures: Figures) -> str:
    """What the fleets were reckoned from: each figure, and where it comes from."""
    cost = asdict(costs_from(figures))
    origins = cost.pop("sources")
    return page_table(
        ("cost", "is", "from"),
        [(f"`{name}`", brief(value), origins[name]) for name, value in cost.items()],
    )


def assumed(_: Figures) -> str:
    return page_table(("assumed", "is", "because"), assumptions(Limits()))


def in_short(figures: Figures) -> str:
    """The figures that a reader of the README wants, in one paragraph."""
    rows = {row.what: row for row in reports.rows_of(figures["bench"])}
    where = figures["bench"]["taken"]["machine"]
    said = [
        f"{part}: {_rate(row)}, {median(row.figures):.0f} times {yardstick}"
        for part, beginning, yardstick in (
            ("Staging", "stage, 1k a call / ORM", "rows through an ORM"),
            ("A flush", "flush of", "ORM objects"),
            ("End to end in one process", "end to end / textbook", "the textbook version"),
        )
        for what, row in rows.items()
        if what.startswith(beginning) and (part != "A flush" or "ORM objects" in what)
    ]
    return f"On {where['cores']} cores of {where['processor']}. " + ". ".join(said) + "."


def _rate(row: Row) -> str:
    return f"{1e6 / median(row.rounds['ours us']):,.0f} events a second"


BLOCKS: dict[str, Callable[[Figures], str]] = {
    "in-short": in_short,
    "machine": machine,
    "sources": sources,
    "judged": judged,
    "beside": beside,
    "growth-verdicts": growth_verdicts,
    "growth-events": growth("events"),
    "growth-audiences": growth("audiences"),
    "profile": profile,
    "fleet": fleets,
    "costs": costs,
    "assumptions": assumed,
    "workers": workers,
    "slow-link": slow_link,
    **{name: group(name) for name in ("small-chunks", "bloat")},
}
NEEDED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("in-short", "machine", "sources", "judged", "beside"), ("bench",)),
    **dict.fromkeys(("growth-verdicts", "growth-events", "growth-audiences"), ("growth",)),
    "profile": ("steps",),
    **dict.fromkeys(("fleet", "costs"), ("workers", "slow-link")),
    "assumptions": (),
}
"""The files of figures that a block needs, where they are not the one of its name."""
