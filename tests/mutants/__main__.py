"""The command: `python -m tests.mutants [WORD ...]`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.mutants import charging, cutting, intake, outcomes, secrecy, sending
from tests.mutants.mutation import Mutation
from tests.mutants.trial import (
    Verdict,
    copied_project,
    own_postgres,
    try_mutation,
    unmutated_problem,
)

PARTS = (intake, cutting, charging, sending, outcomes, secrecy)
MUTATIONS: tuple[Mutation, ...] = tuple(each for part in PARTS for each in part.MUTATIONS)
WIDTH = max(len(mutation.name) for mutation in MUTATIONS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try mutations and say of each who noticed; 1 when one survived or could not be tried."""
    began = time.monotonic()
    parser = _parser()
    words = parser.parse_args(arguments).words
    chosen = [each for each in MUTATIONS if not words or any(word in each.name for word in words)]
    if not chosen:
        parser.error(f"no mutation's name holds {' or '.join(words)}")
    with copied_project() as copy, own_postgres() as variables:
        tests = list(dict.fromkeys(test for mutation in chosen for test in mutation.tests))
        _tell(f"{len(tests)} tests on the code as it is ...")
        if problem := unmutated_problem(copy, tests, variables):
            print(f"without any mutation these tests do not pass: {problem}")
            return 1
        killed = 0
        for number, mutation in enumerate(chosen, 1):
            _tell(f"{number} of {len(chosen)}, {time.monotonic() - began:.0f} s: {mutation.name}")
            verdict = try_mutation(copy, mutation, variables)
            print(line(mutation, verdict), flush=True)
            killed += verdict.killer is not None
    print(f"{killed} of {len(chosen)} mutants killed in {time.monotonic() - began:.0f} s")
    return int(killed < len(chosen))


def line(mutation: Mutation, verdict: Verdict) -> str:
    if verdict.killer is not None:
        return f"{mutation.name:{WIDTH}}  killed by {verdict.killer}"
    return f"{mutation.name:{WIDTH}}  SURVIVED: {verdict.why}. {mutation.what}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description="Break the code on purpose, one mistake at a time, in a copy of the project,\n"
        "and see that a test notices. Exit status 1 says that a mistake survived, that\n"
        "the code it is made in has changed, or that the tests fail without it.",
        epilog='make mutants ARGS="refund epoch" tries those with either word in their name:\n  '
        + "\n  ".join(each.name for each in MUTATIONS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="part of a mutation's name")
    return parser


def _tell(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
