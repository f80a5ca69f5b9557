"""The command: `python -m tests.benchmarks [GROUP ...] [--rounds N] [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from time import monotonic

from tests.benchmarks import (
    due_check,
    end_to_end,
    flushing,
    hashing,
    http_intake,
    memory,
    staging,
)
from tests.benchmarks.harness import QUICK, Row, Sizes, table, tell
from tests.benchmarks.installation import Ground, own_ground

GROUPS: dict[str, Callable[[Ground, Sizes], list[Row]]] = {
    "stage": staging.measure,
    "http": http_intake.measure,
    "due": due_check.measure,
    "flush": flushing.measure,
    "memory": memory.measure,
    "end-to-end": end_to_end.measure,
    "hash": hashing.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table; 1 when something is not met."""
    parser = _parser()
    options = parser.parse_args(arguments)
    sizes = QUICK if options.quick else Sizes()
    if options.rounds:
        sizes = replace(sizes, rounds=options.rounds)
    if unknown := set(options.groups) - GROUPS.keys():
        parser.error(f"no such group: {', '.join(unknown)}; there are: {', '.join(GROUPS)}")
    rows = measure(options.groups or list(GROUPS), sizes)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(_report(rows, sizes), indent=2) + "\n")
    return int(any(row.is_met is False for row in rows))


def measure(groups: Sequence[str], sizes: Sizes) -> list[Row]:
    """The rows of some groups, on a server of our own."""
    rows: list[Row] = []
    with own_ground() as ground:
        for name in groups:
            start = monotonic()
            print(f"{name}:", file=sys.stderr, flush=True)
            rows += GROUPS[name](ground, sizes)
            tell(f"{monotonic() - start:.0f} s")
    return rows


def _report(rows: Sequence[Row], sizes: Sizes) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "sizes": asdict(sizes),
        "rows": [asdict(row) | {"median": median(row.figures), "met": row.is_met} for row in rows],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure Pinfold against yardsticks on an embedded Postgres. What is printed "
        "are medians of interleaved rounds; exit status 1 says that something is not met.",
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds to take medians of")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
