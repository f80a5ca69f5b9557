"""Delivery over a slow link, at Pinterest's own quota: is the rate limit the bottleneck, or are we?

One connection to Pinterest with 400 writes a minute, kept by the simulator too, of which we use 90
percent: 6 a second. Workers are plain processes with a queue of hints between them, without a
broker: each takes the turns that the task `pinfold.deliver` takes, on lanes that were filled
beforehand. Each case lasts a few seconds and ends with requests to spare.

A list gets one request at a time, in order, so one list alone cannot go faster than a request per
round trip. Several lists go side by side, if there are workers for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

from app.sandbox.embedded_postgres import EmbeddedPostgres
from tests.benchmarks import harness
from tests.benchmarks.delivery_crew import crew
from tests.benchmarks.harness import Must, Row, Sizes, at_least
from tests.benchmarks.installation import Ground, Place
from tests.benchmarks.lanes import SEVERAL, WRITES_PER_MINUTE, Case, Lanes
from tests.benchmarks.link import slow_link
from tests.benchmarks.pinterest_process import running_pinterest

ROUND_TRIPS_MS = (0, 50, 200)
RECORDS = (1_900, 50_000)
MOST_WORKERS = 4
SECONDS, FEW_SECONDS = 8.0, 3.0
LEAST_SHARE = 0.95


def cases(round_trip_ms: int) -> list[Case]:
    """One list alone, which more workers cannot hurry; several lists with 2 and with 4."""
    shapes = ((1, 1), (SEVERAL, 2), (SEVERAL, MOST_WORKERS))
    return [Case(round_trip_ms, records, *shape) for records, shape in product(RECORDS, shapes)]


def measurements(ground: Ground, sizes: Sizes) -> dict[str, Any]:
    """The figures of every case, for JSON; see ``Lanes.take``."""
    taken: list[dict[str, Any]] = []
    seconds = SECONDS if sizes.judged else FEW_SECONDS
    with _lanes(ground, seconds) as (lanes, place):
        for round_trip_ms in ROUND_TRIPS_MS:
            settings = place.deployment.settings
            with slow_link(settings.pinterest_url, round_trip_ms / 1e3) as url:
                behind_the_link = settings.model_copy(update={"pinterest_url": url})
                with crew(behind_the_link, MOST_WORKERS) as workers:
                    for case in cases(round_trip_ms):
                        harness.tell(case.name)
                        taken.append(lanes.take(case, workers))
    return {"writes_per_minute": WRITES_PER_MINUTE, "cases": taken}


@contextmanager
def _lanes(ground: Ground, seconds: float) -> Iterator[tuple[Lanes, Place]]:
    server = ground.server
    postgres_pid = server.pid if isinstance(server, EmbeddedPostgres) else None
    with (
        running_pinterest(WRITES_PER_MINUTE) as pinterest,
        # made over no link; each check may follow the one before at once
        ground.place(pinterest_url=pinterest.base_url, check_interval=0.000_001) as place,
    ):
        yield Lanes(place, postgres_pid, seconds), place


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    return rows(measurements(ground, sizes))


def rows(measured: dict[str, Any]) -> list[Row]:
    """The table: the share of the allowed pace in each case, then the CPU by request size."""
    found = []
    for each in measured["cases"]:
        case = Case(*(each[name] for name in Case._fields))
        achieved, allowed = each["requests_per_s"], each["allowed_per_s"]
        found.append(
            Row(
                f"requests of what the limit allows: {case.name}",
                [achieved / allowed],
                "x",
                _must(case),
                ours=f"{achieved:.2f}/s",
                yardstick=f"{allowed:.2f}/s",
            )
        )
        found.append(Row("  one request took, p50", [each["request_p50_ms"]], "ms"))
        found.append(Row("  and the longest", [each["request_longest_ms"]], "ms"))
    return found + _cpu_rows(measured["cases"])


def _must(case: Case) -> Must | None:
    """As we send by default, and with lists and workers enough, the limit is the bottleneck."""
    usual = case.records == RECORDS[0] and case.workers == MOST_WORKERS
    return at_least(LEAST_SHARE) if usual else None


def _cpu_rows(taken: list[dict[str, Any]]) -> list[Row]:
    found = []
    for records, whose in product(RECORDS, ("worker", "postgres")):
        some = [each for each in taken if each["records"] == records]
        per_million = [each[f"{whose}_cpu_s"] / (each["requests"] * records) * 1e6 for each in some]
        what = f"CPU of {whose} for a million records, {records:,} a request"
        found.append(Row(what, per_million, "s"))
    return found
