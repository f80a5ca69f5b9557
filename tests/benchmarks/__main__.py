"""The command: `python -m tests.benchmarks [GROUP ...] [--rounds N] [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from time import monotonic

from tests.benchmarks import reports
from tests.benchmarks.groups import GROUPS, LONG, Group
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
    known = GROUPS | {name: module.measure for name, module in LONG.items()}
    if unknown := set(options.groups) - known.keys():
        parser.error(f"no such group: {', '.join(unknown)}; there are: {', '.join(known)}")
    groups = {name: known[name] for name in options.groups or GROUPS}
    path = options.json or _usual_path(options.groups, quick=options.quick)
    start = monotonic()
    with own_ground() as ground:
        rows = list(chain.from_iterable(measure(ground, groups, sizes).values()))
        seconds = monotonic() - start
        taken = reports.taken(ground, seconds)
    print(text_table(rows))
    reports.write(path, reports.report(taken, sizes, rows))
    print(f"\n{summary(rows, seconds)}\nEvery figure of every round is in {path}.")
    return int(any(row.is_met is False for row in rows))


def measure(ground: Ground, groups: Mapping[str, Group], sizes: Sizes) -> dict[str, list[Row]]:
    """The rows of some groups, one group after another."""
    rows = {}
    for name, group in groups.items():
        start = monotonic()
        print(f"{name}:", file=sys.stderr, flush=True)
        rows[name] = group(ground, sizes)
        tell(f"{monotonic() - start:.0f} s")
    return rows


def _usual_path(groups: Sequence[str], *, quick: bool) -> Path:
    """Named after the groups, so that a look at one never replaces the figures of all."""
    name = "-".join(groups) or "bench"
    return reports.DIRECTORY / f"{'quick-' if quick else ''}{name}.json"


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
