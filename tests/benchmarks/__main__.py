"""The command: `python -m tests.benchmarks [GROUP ...] [--rounds N] [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from tests.benchmarks import reports
from tests.benchmarks.groups import GROUPS, LONG, rows_and_measured
from tests.benchmarks.harness import QUICK, Row, Sizes, tell
from tests.benchmarks.installation import Ground, own_ground
from tests.benchmarks.tables import summary, text_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write every figure down; 1 when something is not met."""
    parser = _parser()
    options = parser.parse_args(arguments)
    sizes = QUICK if options.quick else Sizes()
    if options.rounds:
        sizes = replace(sizes, rounds=options.rounds)
    known = [*GROUPS, *LONG]
    if unknown := set(options.groups).difference(known):
        parser.error(f"no such group: {', '.join(unknown)}; there are: {', '.join(known)}")
    groups = list(dict.fromkeys(options.groups or GROUPS))
    path = options.json or _usual_path(options.groups, quick=options.quick)
    start, commit = monotonic(), reports.commit()
    with own_ground() as ground:
        rows, measured = measure(ground, groups, sizes)
        seconds = monotonic() - start
        taken = reports.taken(ground, commit, seconds)
    print(text_table(rows))
    report = reports.report(taken, sizes, rows)
    if measured:
        # of one group as it is, where the page looks for it; of several by their names
        report["measured"] = measured if len(groups) > 1 else measured[groups[0]]
    reports.write(path, report)
    print(f"\n{summary(rows, seconds)}\nEvery figure of every round is in {path}.")
    return int(any(row.is_met is False for row in rows))


def measure(
    ground: Ground, groups: Sequence[str], sizes: Sizes
) -> tuple[list[Row], dict[str, Any]]:
    """The rows of some groups, one after another, and by name what long ones made theirs of."""
    rows: list[Row] = []
    measured: dict[str, Any] = {}
    for name in groups:
        start = monotonic()
        print(f"{name}:", file=sys.stderr, flush=True)
        if name in GROUPS:
            rows += GROUPS[name](ground, sizes)
        else:
            found, made_of = rows_and_measured(LONG[name], ground, sizes)
            rows += found
            if made_of:
                measured[name] = made_of
        tell(f"{monotonic() - start:.0f} s")
    return rows, measured


def _usual_path(groups: Sequence[str], *, quick: bool) -> Path:
    """Named after the groups, so that a look at one never replaces the figures of all."""
    name = "-".join(groups) or "bench"
    return reports.DIRECTORY / f"{reports.QUICK if quick else ''}{name}.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure Pinfold against yardsticks on an embedded Postgres. What is printed "
        "are medians of interleaved rounds; exit status 1 says that something is not met.",
    )
    names = f"{', '.join(GROUPS)}; only if named: {', '.join(LONG)}"
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=names)
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds to take medians of")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a first look")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write every figure to FILE, not to .pinfold/bench/bench.json (or GROUP.json)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
