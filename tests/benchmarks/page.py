"""The command that fills the pages with figures: `python -m tests.benchmarks.page [--take DIR]`.

What is between ``<!-- table: NAME -->`` or ``<!-- drawing: NAME -->`` and ``<!-- end -->`` is made
from docs/performance/*.json, and so are the drawings beside them. Nothing is measured here.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import reports
from tests.benchmarks.blocks import BLOCKS, NEEDED
from tests.benchmarks.evidence import Figures
from tests.benchmarks.plots import drawings

FIGURES = reports.PUBLISHED
PAGES = (reports.ROOT / "docs/performance.md", reports.ROOT / "README.md")
FILES = (
    *("bench", "growth", "steps", "profile-before", "workers", "slow-link", "small-chunks"),
    "bloat",
)
"""The files that figures come in, without `.json`."""
DRAWINGS = {
    "growth-stage": "Cost of staging an event against events and audiences",
    "growth-due": "Time of a due check against events and audiences that wait",
    "growth-flush": "Cost of flushing an event against events in the flush",
    "growth-memory": "Memory of a flush against events in the flush",
    "growth-end-to-end": "Cost of an event end to end against events and audiences",
    "workers": "Events a second, and busy cores, of several crews of workers",
    "slow-link": "Requests a second against the round trip",
    "small-chunks": "Time of due check and status against single events that wait",
    "bloat": "Size of emptied tables against cycles",
    "profile": "Time of an event by steps, before and after",
}
"""What each drawing shows, for who cannot see it."""
NOTHING = "*Not measured yet.*"
_BLOCK = re.compile(r"(<!-- (table|drawing): ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read_figures(directory: Path) -> Figures:
    """What was written down, by the names of the files, of those that are there."""
    return reports.read_all(directory, FILES)


def filled(text: str, figures: Figures, drawn: Sequence[str]) -> str:
    """A page whose blocks say what the figures say; an unknown name raises KeyError."""

    def block(found: re.Match[str]) -> str:
        opening, kind, name, closing = found.groups()
        make = _table if kind == "table" else _drawing
        return f"{opening}{make(name, figures, drawn)}\n{closing}"

    return _BLOCK.sub(block, text)


def _table(name: str, figures: Figures, _: Sequence[str]) -> str:
    make = BLOCKS[name]
    return make(figures) if figures.keys() >= {*NEEDED.get(name, (name,))} else NOTHING


def _drawing(name: str, _: Figures, drawn: Sequence[str]) -> str:
    shown = DRAWINGS[name]
    return f"![{shown}](performance/{name}.svg)" if name in drawn else NOTHING


def made_from(directory: Path, pages: Sequence[Path]) -> dict[Path, str]:
    """Every file that the figures in a directory make: the pages, and the drawings beside them."""
    figures = read_figures(directory)
    drawn = drawings(figures)
    made = {directory / f"{name}.svg": svg for name, svg in drawn.items()}
    for page in pages:
        made[page] = filled(page.read_text(encoding="utf-8"), figures, list(drawn))
    return made


def take(source: Path, directory: Path) -> list[Path]:
    """Copy the figures of a measurement to those of the page; what was copied."""
    found = [path for name in FILES if (path := source / f"{name}.json").exists()]
    directory.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(path, directory / path.name)) for path in found]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.page",
        description="Fill docs/performance.md and the README from docs/performance/*.json, and "
        "draw the drawings anew.",
    )
    parser.add_argument(
        "--take", type=Path, metavar="DIRECTORY", help="first take over the figures written there"
    )
    options = parser.parse_args(arguments)
    for path in take(options.take, FIGURES) if options.take else ():
        print(f"took {path.name}")
    for path, text in made_from(FIGURES, PAGES).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(reports.ROOT)}")


if __name__ == "__main__":
    main()
