"""The tables of the benchmarks, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from textwrap import wrap

from tests.benchmarks.harness import Row, brief

HEADINGS = ("what", "ours", "yardstick", "SHA-1 alone", "ratio or figure (spread)", "must", "")
MOST_OF_WHAT = 72
"""Characters in the first column of a terminal; the others make the table 170 wide at most."""
VERDICTS = {None: "", True: "met", False: "NOT MET"}


def cells(row: Row) -> tuple[str, ...]:
    unit = row.unit if row.unit == "x" else f" {row.unit}".rstrip()
    spread = f"{brief(median(row.figures))}{unit}"
    if len(row.figures) > 1:
        spread += f" ({brief(min(row.figures))}-{brief(max(row.figures))})"
    must = ""
    if row.must is not None:
        must = f"{'>=' if row.must.at_least else '<='} {row.must.bound:.3g}{unit}"
    return row.what, row.ours, row.yardstick, row.sha1, spread, must, VERDICTS[row.is_met]


Named = list[tuple[str, Row]]


def judged_first(rows: Sequence[Row]) -> tuple[Named, Named]:
    """The rows of which something is asked, and the others.

    Each has its name; where it goes on with a row that does not stand before it in its part, that
    one's name comes first.
    """
    parts: tuple[Named, Named] = ([], [])
    first: Row | None = None
    for row in rows:
        goes_on = row.what.startswith("  ") and first is not None
        if not goes_on:
            first = row
        part = parts[row.must is None]
        apart = goes_on and first is not None and (row.must is None) != (first.must is None)
        part.append((f"{first.what}: {row.what.strip()}" if apart and first else row.what, row))
    return parts


def text_table(rows: Sequence[Row]) -> str:
    """For a terminal: the judged rows, then under an empty line what stands beside them."""
    lines: list[tuple[str, ...]] = [HEADINGS]
    for part in judged_first(rows):
        if part and len(lines) > 1:
            lines.append(("",) * len(HEADINGS))
        for name, row in part:
            beside, *below = wrap(name, MOST_OF_WHAT, subsequent_indent="    ")
            lines.append((beside, *cells(row)[1:]))
            lines += [(line, *[""] * (len(HEADINGS) - 1)) for line in below]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def summary(rows: Sequence[Row], seconds: float) -> str:
    """The sentence for people at the end: what is met, what is not, how long it took."""
    judged, _ = judged_first(rows)
    missed = [name.strip() for name, row in judged if not row.is_met]
    met = f"{len(judged) - len(missed)} of {len(judged)} musts are met"
    if judged and not missed:
        met = f"All {len(judged)} musts are met"
    elif not judged:
        met = "Nothing was judged"
    elif missed:
        met += f"; not met: {'; '.join(missed)}"
    return f"{met}. It took {int(seconds) // 60} min {int(seconds) % 60} s."


def page_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; what would end a cell is escaped."""
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in (headings, *lines)]
    head, *body = (f"| {' | '.join(line)} |" for line in escaped)
    return "\n".join([head, "|" + "---|" * len(headings), *body])
