"""Where the time goes in staging, in a flush and in a delivery: a profile by named steps.

A step has the time in its functions without that in other steps; what is in none is "everything
else". Waiting is the time in which our own process used no processor: for Postgres, Pinterest and
the disk. An event of a delivery is a digest that is sent.

With ``stopwatch`` beside it this also runs in older checkouts (`python -m tests.benchmarks.steps`).
A function that they lack is told on standard error, and its time is in its caller's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from statistics import median, median_low
from typing import NamedTuple, TypedDict

from app.delivery import deliver_once
from app.flush import flush_once
from app.staging import Intake, stage
from tests.benchmarks import harness
from tests.benchmarks.events import Sample
from tests.benchmarks.flushing import EMPTY_LANES, PER_CHUNK, Flushing
from tests.benchmarks.harness import QUICK, Row, Sizes
from tests.benchmarks.installation import (
    Ground,
    Place,
    activate_all,
    counting_pinterest,
    own_ground,
)
from tests.benchmarks.stopwatch import (
    DELIVERY,
    FLUSH,
    STAGING,
    Steps,
    Stopwatch,
    missing,
    seconds_a_call,
)

ALL, ELSE = "all of it", "everything else"
PROCESSOR, WAITING, WATCHING = "of it our processor", "of it waiting", "of it the stopwatch, about"
DELIVERING = {"flush_messages": 1, "writes_per_minute": 1_000_000_000}
PER_REQUEST = (1_900, 50_000)
SMALL_CHUNK = 10
SMALL_CHUNKS = f"flush, {SMALL_CHUNK} a chunk"
"""The path of a flush of chunks as calls of 1,000 events over 100 audiences make them."""


class Step(TypedDict):
    """What a step took, as it goes into a report; ``share`` is of all of the path."""

    path: str
    step: str
    us_per_event: float
    us_per_request: float | None
    share: float


class Pass(NamedTuple):
    """A path that was gone once."""

    steps: Steps
    watch: Stopwatch
    events: int
    requests: int = 0

    def seconds(self) -> dict[str, float]:
        """Of all of it, of each step in the order of the path, and what all of it consists of."""
        watch = self.watch
        steps = {step: watch.seconds[step] for step in self.steps.values()}
        return {
            ALL: watch.wall,
            **steps,
            ELSE: watch.wall - sum(steps.values()),
            PROCESSOR: watch.processor,
            WAITING: max(0.0, watch.wall - watch.processor),
            WATCHING: watch.calls * seconds_a_call(),
        }


def staged(place: Place, sample: Sample, per_call: int) -> Pass:
    place.run("TRUNCATE staged_chunk, receipt")
    place.checkpoint()
    intake, watch = Intake(place.deployment, "benchmark"), Stopwatch()
    with watch.watching(STAGING):
        for events in sample.calls(per_call):
            with watch.running():
                stage(intake, events)
    return Pass(STAGING, watch, sample.count)


def flushed(flushing: Flushing) -> Pass:
    place, watch, messages = flushing.place, Stopwatch(), 0
    flushing.put_back("staged_chunk", "kept_chunk", "id")
    place.run("TRUNCATE batch, upload CASCADE")
    with watch.watching(FLUSH):
        while messages < flushing.sample.count:
            with watch.running():
                upload = flush_once(place.deployment, flushing.audience_id)
            assert upload is not None
            messages += upload.messages
            place.run(EMPTY_LANES)
    return Pass(FLUSH, watch, messages)


def delivered(place: Place, sample: Sample, audience_id: int) -> Pass:
    """Stage and flush unwatched; watched is how the lanes are emptied."""
    intake, watch = Intake(place.deployment, "benchmark"), Stopwatch()
    for events in sample.calls(10_000):
        stage(intake, events)
    charged, posts = place.ask("SELECT sum(charged) FROM customer_list"), 0
    while upload := flush_once(place.deployment, audience_id):
        posts += sum(_empty_lane(place, list_id, watch) for list_id in upload.list_ids)
    sent = place.ask("SELECT sum(charged) FROM customer_list") - charged
    return Pass(DELIVERY, watch, int(sent), posts)


def _empty_lane(place: Place, list_id: int | None, watch: Stopwatch) -> int:
    """Deliver until no list of the connection can go on; how many requests it took."""
    posts = 0
    with watch.watching(DELIVERY):
        while list_id is not None:
            with watch.running():
                turn = deliver_once(place.deployment, list_id)
            list_id = turn.next_id if turn else None
            posts += turn.posts if turn else 0
    return posts


def passes(ground: Ground, sizes: Sizes) -> dict[str, list[Pass]]:
    """By path, each gone so many rounds."""
    for name in missing({**STAGING, **FLUSH, **DELIVERY}):
        harness.tell(f"not here: {name}")
    return _stagings(ground, sizes) | _flushes(ground, sizes) | _deliveries(ground, sizes)


def _stagings(ground: Ground, sizes: Sizes) -> dict[str, list[Pass]]:
    with ground.place() as place:
        sample = Sample(sizes.events // 4, audiences=100)
        activate_all(place, 100)
        return _rounds(
            sizes,
            {
                "stage, 1k a call": partial(staged, place, sample, 1_000),
                "stage, 10k a call": partial(staged, place, sample, 10_000),
            },
        )


def _flushes(ground: Ground, sizes: Sizes) -> dict[str, list[Pass]]:
    taken: dict[str, list[Pass]] = {}
    for path, events, per_chunk in (
        (f"flush of {sizes.events:,}", sizes.events, PER_CHUNK),
        (SMALL_CHUNKS, sizes.events // 4, SMALL_CHUNK),
    ):
        with ground.place(flush_messages=1) as place:
            flushing = Flushing(place, Sample(events, audiences=1), per_chunk)
            taken |= _rounds(sizes, {path: partial(flushed, flushing)})
            flushing.close()
    return taken


def _deliveries(ground: Ground, sizes: Sizes) -> dict[str, list[Pass]]:
    taken: dict[str, list[Pass]] = {}
    sample = Sample(sizes.events // 5, audiences=1)
    for most in PER_REQUEST:
        settings = DELIVERING | {"records_per_request": most}
        with (
            counting_pinterest() as url,
            ground.place(pinterest_url=url, **settings) as place,
        ):
            (audience_id,) = activate_all(place, 1).values()
            delivered(place, Sample(100, audiences=1), audience_id)  # makes the lists
            path = f"deliver, {most:,} a request"
            taken |= _rounds(sizes, {path: partial(delivered, place, sample, audience_id)})
    return taken


def _rounds(sizes: Sizes, cases: dict[str, Callable[[], Pass]]) -> dict[str, list[Pass]]:
    harness.keep_out_of_collections()
    return harness.interleave(sizes.rounds, cases)


def profile(ground: Ground, sizes: Sizes) -> list[Step]:
    """The steps of every path, of its middle round."""
    return [
        step
        for path, rounds in passes(ground, sizes).items()
        for step in _steps(path, _middle(rounds))
    ]


def _middle(rounds: list[Pass]) -> Pass:
    wall = median_low([each.watch.wall for each in rounds])
    return next(each for each in rounds if each.watch.wall == wall)


def _steps(path: str, taken: Pass) -> list[Step]:
    return [
        Step(
            path=path,
            step=step,
            us_per_event=seconds / taken.events * 1e6,
            us_per_request=seconds / taken.requests * 1e6 if taken.requests else None,
            share=seconds / taken.watch.wall,
        )
        for step, seconds in taken.seconds().items()
    ]


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    return [
        row
        for path, rounds in passes(ground, sizes).items()
        for steps in zip(*(_steps(path, each) for each in rounds), strict=True)
        for row in [_row(steps)]
    ]


def _row(rounds: tuple[Step, ...]) -> Row:
    path, step = rounds[0]["path"], rounds[0]["step"]
    share = f"{median(each['share'] for each in rounds):.0%}"
    requests = [each["us_per_request"] or 0.0 for each in rounds]
    a_request = f", {median(requests):.0f} us a request" if any(requests) else ""
    return Row(
        f"{path}: {step}", [each["us_per_event"] for each in rounds], "us", ours=share + a_request
    )


if __name__ == "__main__":
    with own_ground() as own:
        print(json.dumps(profile(own, QUICK if "--quick" in sys.argv else Sizes()), indent=2))
