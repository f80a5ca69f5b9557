"""The command of the long measurements: `python -m tests.benchmarks.full [--only NAME ...]`.

Sweeps go to growth.json, each under its name, so that one can be measured again alone; every long
group goes to a file of its own name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from tests.benchmarks import growth, reports
from tests.benchmarks.groups import LONG
from tests.benchmarks.harness import QUICK, Row, Sizes
from tests.benchmarks.installation import Ground, own_ground
from tests.benchmarks.sweeps import SWEEPS
from tests.benchmarks.tables import summary, text_table

GROWTH = "growth.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write down after each part, print the tables; 1 when something is not met."""
    options = _parser().parse_args(arguments)
    names = options.only or [*SWEEPS, *LONG]
    start = monotonic()
    rows: list[Row] = []
    with own_ground() as ground:
        for name in names:
            if name in SWEEPS:
                rows += take_sweep(ground, name, options.largest, options.rounds, options.into)
            if name in LONG:
                sizes = replace(QUICK if options.quick else Sizes(), rounds=options.rounds)
                rows += take_group(ground, name, sizes, options.into)
    swept = reports.read(options.into / GROWTH) or {}
    rows += growth.verdicts({name: swept[name] for name in names if name in swept})
    print(text_table(rows))
    print(f"\n{summary(rows, monotonic() - start)}\nEvery figure is in {options.into}.")
    return int(any(row.is_met is False for row in rows))


def take_sweep(ground: Ground, name: str, largest: int, rounds: int, into: Path) -> list[Row]:
    """Measure one sweep and put it in the place of an earlier one."""
    start = monotonic()
    sweep = SWEEPS[name]
    print(f"{sweep.what} against {sweep.against}:", file=sys.stderr, flush=True)
    points = growth.take(ground, sweep, largest, rounds)
    swept = reports.read(into / GROWTH) or {}
    swept[name] = {
        "taken": reports.taken(ground, monotonic() - start),
        "points": [point.written() for point in points],
    }
    reports.write(into / GROWTH, swept)
    return growth.as_rows(name, points)


def take_group(ground: Ground, name: str, sizes: Sizes, into: Path) -> list[Row]:
    """Measure one long group, and keep what its rows were made of, where it says that."""
    start = monotonic()
    print(f"{name}:", file=sys.stderr, flush=True)
    module, measured = LONG[name], None
    if hasattr(module, "measurements"):
        measured = module.measurements(ground, sizes)
        rows = module.rows(measured)
    else:
        rows = module.measure(ground, sizes)
    report = reports.report(reports.taken(ground, monotonic() - start), sizes, rows)
    reports.write(into / f"{name}.json", report | ({"measured": measured} if measured else {}))
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.full",
        description="Measure how each part grows with events and audiences, and the long groups. "
        "The whole takes an hour or two and some 20 GB of disk for the time.",
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
