"""The sweeps: what is measured of each part, at one size.

Each function prepares one size and gives its cases by name, each of which returns one figure. What
it opens is closed with the stack. Yardsticks stop at the size that they still finish in bearable
time; against audiences they get fewer events than ours, end to end over as many times fewer
audiences, so that each has as many events as with ours.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from tests.benchmarks.due_check import BODIES, NOT_DUE, Waiting
from tests.benchmarks.end_to_end import SETTINGS, EndToEnd
from tests.benchmarks.events import Sample
from tests.benchmarks.flushing import Flushing
from tests.benchmarks.installation import Ground, counting_pinterest
from tests.benchmarks.large_sample import sample_of
from tests.benchmarks.memory import extra_mb
from tests.benchmarks.staging import Staging


class Load(NamedTuple):
    """What one size is made of. A yardstick that would get 0 events is left out."""

    events: int
    audiences: int
    rows: int
    objects: int


Cases = dict[str, Callable[[], float]]
Prepare = Callable[[ExitStack, Ground, Load], Cases]


class Sweep(NamedTuple):
    what: str
    against: str
    audiences: int
    """How many there are where the events grow."""
    unit: str
    prepare: Prepare


def stage_cases(stack: ExitStack, ground: Ground, load: Load) -> Cases:
    place = stack.enter_context(ground.place())
    staging = Staging(place, sample_of(load.events, load.audiences))
    stack.callback(staging.close)
    cases: Cases = {
        "ours, 10,000 events a call": lambda: staging.ours(10_000).pace.us,
        "ours, 1,000 events a call": lambda: staging.ours(1_000).pace.us,
    }
    if load.rows:
        rows = Staging(place, sample_of(load.rows, load.audiences))
        stack.callback(rows.close)
        cases["COPY of rows, 10,000 a call"] = lambda: rows.copied_rows(10_000).pace.us
    if load.objects:
        objects = Staging(place, sample_of(load.objects, load.audiences))
        stack.callback(objects.close)
        cases["tidy INSERT, 1,000 a call"] = lambda: objects.inserts(1_000).pace.us
        cases["ORM add_all, 1,000 a call"] = lambda: objects.objects(1_000).pace.us
    return cases


def due_cases(stack: ExitStack, ground: Ground, load: Load) -> Cases:
    """Counting rows is quick enough for all that wait."""
    place = stack.enter_context(ground.place(flush_messages=NOT_DUE))
    waiting = Waiting(place, load.events, load.audiences)
    stack.callback(waiting.close)
    waiting.fill_audiences()
    waiting.fill_chunks(BODIES["usual"])
    waiting.fill_rows()
    return {"ours": waiting.flushes_ms, "count(*) of rows": waiting.count_ms}


def flush_cases(stack: ExitStack, ground: Ground, load: Load) -> Cases:
    place = stack.enter_context(ground.place(flush_messages=1))
    flushing = Flushing(place, sample_of(load.events, 1))
    stack.callback(flushing.close)
    cases: Cases = {"ours": lambda: flushing.ours().us}
    if load.rows:
        cases["tuples and bulk DELETE"] = lambda: flushing.tuples(lambda *_: None).us
    if load.objects:
        cases["ORM objects"] = lambda: flushing.objects(load.objects, lambda *_: None).us
    return cases


def memory_cases(stack: ExitStack, ground: Ground, load: Load) -> Cases:
    place = stack.enter_context(ground.place(flush_messages=1))
    flushing = Flushing(place, sample_of(load.events, 1), per_chunk=1_000)
    stack.callback(flushing.close)
    return {"ours": lambda: extra_mb(flushing)}


def end_to_end_cases(stack: ExitStack, ground: Ground, load: Load) -> Cases:
    url = stack.enter_context(counting_pinterest())
    place = stack.enter_context(ground.place(pinterest_url=url, **SETTINGS))
    shared = max(1, load.audiences * load.objects // load.events)
    versions = EndToEnd(place, sample_of(load.events, load.audiences), shared)
    stack.callback(versions.close)
    stack.callback(versions.check_counts)
    cases: Cases = {"ours": lambda: versions.ours().us}
    if load.objects:
        fewer = Sample(load.objects, shared)
        few = f", {fewer.count:,} events" if fewer.count < load.events else ""
        cases[f"tidy version{few}"] = lambda: versions.tidy(fewer).us
        cases[f"textbook version{few}"] = lambda: versions.textbook(fewer).us
    return cases


US = "us per event"
SWEEPS = {
    "stage": Sweep("staging", "events", 100, US, stage_cases),
    "stage-audiences": Sweep("staging", "audiences", 0, US, stage_cases),
    "due": Sweep("due check", "events", 100, "ms", due_cases),
    "due-audiences": Sweep("due check", "audiences", 0, "ms", due_cases),
    "flush": Sweep("flush", "events", 1, US, flush_cases),
    "memory": Sweep("memory of a flush", "events", 1, "MB", memory_cases),
    "end-to-end": Sweep("end to end", "events", 10, US, end_to_end_cases),
    "end-to-end-audiences": Sweep("end to end", "audiences", 0, US, end_to_end_cases),
}
