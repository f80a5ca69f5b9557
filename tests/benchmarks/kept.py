"""The guard: small measurements, held against the ratios that were kept when they were last right.

    python -m tests.benchmarks.kept [--keep]

Under a minute, its Postgres included. Only a loss of more than half of a kept ratio fails, and only
if it is there again in a second measurement: machines are noisy, and a mistake that costs a factor
of two is not. The sizes are small, so these ratios are lower than those of `make bench`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import monotonic

from tests.benchmarks import reports
from tests.benchmarks.groups import GROUPS
from tests.benchmarks.harness import Row, Sizes
from tests.benchmarks.installation import own_ground

KEPT = Path(__file__).with_name("kept_ratios.json")
LOSS = 2.0
"""A ratio may fall by this factor before it is lost."""
GUARDED = ("stage", "due", "flush", "end-to-end", "hash")
YARDSTICKS = (
    "COPY of rows",
    "ORM",
    "Core",
    "tidy",
    "count(*)",
    "tuples",
    "textbook",
    "a naive loop",
)
"""How what a row compares with begins; the floors, which nobody reaches, are no yardsticks."""
SIZES = Sizes(
    rounds=3,
    events=50_000,
    staged_objects=5_000,
    flushed_objects=20_000,
    sent_objects=10_000,
    waiting=200_000,
    waiting_audiences=500,
    judged=False,
)

Ratios = dict[str, float]
"""How many times faster ours is, by group and what is compared."""


def faster(group: str, rows: Iterable[Row]) -> Ratios:
    """The ratios of a group to its yardsticks."""
    return {
        f"{group}: {row.what}": round(median(row.figures), 3)
        for row in rows
        if row.unit == "x" and row.what.partition(" / ")[2].startswith(YARDSTICKS)
    }


def lost(kept: Ratios, seen: Ratios) -> list[str]:
    """What fell below half of what was kept, in the order in which it was kept."""
    return [what for what, ratio in kept.items() if what in seen and seen[what] < ratio / LOSS]


def lost_twice(kept: Ratios, seen: Ratios, again: Callable[[set[str]], Ratios]) -> list[str]:
    """What is lost, and still is when its groups, and only they, are measured again."""
    first = lost(kept, seen)
    if not first:
        return []
    second = lost(kept, again({what.partition(":")[0] for what in first}))
    return [what for what in first if what in second]


def comparison(kept: Ratios, seen: Ratios) -> str:
    """Every ratio beside the kept one."""
    width = max(map(len, kept | seen), default=0)
    lines = [f"{'faster than the yardstick':{width}}  {'now':>8}  {'kept':>8}"]
    for what in kept | seen:
        cells = (f"{ratios[what]:.2f}x" if what in ratios else "-" for ratios in (seen, kept))
        lines.append(f"{what:{width}}  " + "  ".join(f"{cell:>8}" for cell in cells))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and compare, or keep; 1 when something is lost, or is measured no more."""
    options = _parser().parse_args(arguments)
    kept = _kept(options.file)
    start, commit = monotonic(), reports.commit()
    with own_ground() as ground:

        def measured(groups: Iterable[str]) -> Ratios:
            ratios: Ratios = {}
            for name in groups:
                print(f"{name}:", file=sys.stderr, flush=True)
                ratios |= faster(name, GROUPS[name](ground, SIZES))
            return ratios

        seen = measured(GUARDED)
        if options.keep:
            taken = reports.taken(ground, commit, monotonic() - start)
            reports.write(options.file, {"taken": taken, "ratios": seen})
            print(f"{comparison(seen, seen)}\n\nKept in {options.file}.")
            return 0
        losses = lost_twice(kept, seen, measured)
    print(comparison(kept, seen))
    gone = sorted(kept.keys() - seen.keys())
    faults = trouble(kept, losses, gone)
    print(f"\n{' '.join(faults or ['No ratio is lost.'])} It took {monotonic() - start:.0f} s.")
    return int(bool(faults))


def trouble(kept: Ratios, losses: Sequence[str], gone: Sequence[str]) -> list[str]:
    """What is wrong, as sentences. A guard that compares with nothing guards nothing."""
    faults = []
    if not kept:
        faults.append("Nothing is kept yet: run this with --keep while the machine is quiet.")
    if losses:
        faults.append(f"Lost, twice: {'; '.join(losses)}.")
    if gone:
        faults.append(f"Measured no more: {'; '.join(gone)}. If that is right, --keep what is.")
    return faults


def _kept(path: Path) -> Ratios:
    written: Mapping[str, Ratios] = reports.read(path) or {}
    return written.get("ratios", {})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.kept",
        description="Measure small sizes and hold the ratios against the kept ones; exit status 1 "
        "says that one fell below half, twice in a row, or that there is nothing to compare with.",
    )
    parser.add_argument("--keep", action="store_true", help="keep what is measured now")
    parser.add_argument("--file", type=Path, default=KEPT, help="the kept ratios")
    return parser


if __name__ == "__main__":
    sys.exit(main())
