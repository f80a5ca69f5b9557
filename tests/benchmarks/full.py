"""The command of the long measurements: `python -m tests.benchmarks.full [--only NAME ...]`.

Sweeps go to growth.json, each under its name, so that one can be measured again alone; every long
group goes to a file of its own name. With ``--quick`` all names begin with ``quick-``, so that no
page takes the figures over.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from tests.benchmarks import growth, reports
from tests.benchmarks.groups import LONG, rows_and_measured
from tests.benchmarks.harness import QUICK, Row, Sizes
from tests.benchmarks.installation import Ground, own_ground
from tests.benchmarks.sweeps import SWEEPS
from tests.benchmarks.tables import summary, text_table

GROWTH = "growth.json"
Taken = Callable[[float], reports.Report]
"""Where what was measured since a moment comes from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write down after each part, print the tables; 1 when something is not met."""
    options = _parser().parse_args(arguments)
    names = options.only or [*SWEEPS, *LONG]
    start, commit = monotonic(), reports.commit()
    quick = reports.QUICK if options.quick else ""
    swept_into = options.into / f"{quick}{GROWTH}"
    rows: list[Row] = []
    with own_ground() as ground:

        def taken(started: float) -> reports.Report:
            return reports.taken(ground, commit, monotonic() - started)

        for name in names:
            if name in SWEEPS:
                rows += take_sweep(ground, name, options.largest, options.rounds, swept_into, taken)
            if name in LONG:
                sizes = replace(QUICK if options.quick else Sizes(), rounds=options.rounds)
                path = options.into / f"{quick}{name}.json"
                rows += take_group(ground, name, sizes, path, taken)
    swept = reports.read(swept_into) or {}
    rows += growth.verdicts({name: swept[name] for name in names if name in swept})
    print(text_table(rows))
    print(f"\n{summary(rows, monotonic() - start)}\nEvery figure is in {options.into}.")
    return int(any(row.is_met is False for row in rows))


def take_sweep(
    ground: Ground, name: str, largest: int, rounds: int, path: Path, taken: Taken
) -> list[Row]:
    """Measure one sweep and put it in the place of an earlier one."""
    start = monotonic()
    sweep = SWEEPS[name]
    print(f"{sweep.what} against {sweep.against}:", file=sys.stderr, flush=True)
    points = growth.take(ground, sweep, largest, rounds)
    swept = reports.read(path) or {}
    swept[name] = {"taken": taken(start), "points": [point.written() for point in points]}
    reports.write(path, swept)
    return growth.as_rows(name, points)


def take_group(ground: Ground, name: str, sizes: Sizes, path: Path, taken: Taken) -> list[Row]:
    """Measure one long group, and keep what its rows were made of, where it says that."""
    start = monotonic()
    print(f"{name}:", file=sys.stderr, flush=True)
    rows, measured = rows_and_measured(LONG[name], ground, sizes)
    report = reports.report(taken(start), sizes, rows)
    reports.write(path, report | ({"measured": measured} if measured else {}))
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.full",
        description="Measure how each part grows with events and audiences, and the long groups. "
        "The whole takes about three hours and some 20 GB of disk for the time.",
    )
    parser.add_argument(
        "--only", action="append", choices=[*SWEEPS, *LONG], help="this one; may be repeated"
    )
    parser.add_argument(
        "--largest",
        type=int,
        default=growth.EVENTS[-1],
        metavar="N",
        help="no sweep goes beyond N events",
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="to take medians of")
    parser.add_argument("--quick", action="store_true", help="the long groups in small sizes")
    parser.add_argument(
        "--into", type=Path, default=reports.DIRECTORY, metavar="DIRECTORY", help="for the figures"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
