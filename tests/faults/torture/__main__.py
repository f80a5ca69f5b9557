"""The command: `python -m tests.faults.torture [--seconds N] [--seed S] [--broker NAME]`."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults.torture.brokers import Broker, RabbitMQ, Valkey
from tests.faults.torture.run import torture

RABBITMQ = "PINFOLD_TEST_RABBITMQ_URL"
MOST_SHOWN = 50
EXAMPLE = """example:
  python -m tests.faults.torture --seconds 60 --seed 7 --broker valkey

The seed throws all dice; it does not fix the order in which processes run, so the same seed
repeats a run in kind, not to the letter."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Torture, print what came of it; 1 when anything was violated."""
    options = _read(arguments)
    violated = False
    for name in _brokers(options.broker):
        seed = random.randrange(10**6) if options.seed is None else options.seed
        place = Path(tempfile.mkdtemp(prefix="pinfold-torture-"))
        place.chmod(0o755)  # as root, Postgres runs as somebody else
        print(f"torture over {name}, seed {seed}, in {place}", flush=True)
        outcome = torture(place, options.seconds, seed, _maker(name), _say)
        for violation in outcome.violations[:MOST_SHOWN]:
            print(violation)
        if outcome.violations:
            violated = True
        if outcome.violations or options.keep:
            print(f"all of it, with the logs: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)
        print(f"{name}: {outcome.line()}", flush=True)
    return int(violated)


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.torture",
        description="A whole installation under every fault at once, and a judge.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=600, help="of torture (default 600)")
    parser.add_argument("--seed", type=int, help="of all dice (default: a random one)")
    parser.add_argument(
        "--broker",
        choices=("valkey", "rabbitmq", "both"),
        help=f"default: RabbitMQ where {RABBITMQ} names one, else Valkey",
    )
    parser.add_argument("--keep", action="store_true", help="logs and database, whatever comes")
    options = parser.parse_args(arguments)
    if options.broker in ("rabbitmq", "both") and not os.environ.get(RABBITMQ):
        parser.error(f"{RABBITMQ}=amqp://... must name a RabbitMQ")
    return options


def _brokers(wanted: str | None) -> list[str]:
    if wanted is None:
        return ["rabbitmq"] if os.environ.get(RABBITMQ) else ["valkey"]
    return ["valkey", "rabbitmq"] if wanted == "both" else [wanted]


def _maker(name: str) -> Callable[[Path], Broker]:
    return Valkey if name == "valkey" else lambda _: RabbitMQ(os.environ[RABBITMQ])


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
