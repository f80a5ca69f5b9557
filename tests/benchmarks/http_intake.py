"""Intake over HTTP: events a second and answers' times, and what HTTP and JSON cost over ``stage``.

The service is the real one, in as many processes as people would start on two cores; sixteen
clients in a process of their own send requests that were built beforehand. The yardstick is the
rate of ``stage`` as section 9 of the measured limits has it: one caller, who stages the same
events, built beforehand too. Beside it, not judged, stands what as many callers reach as the
service has processes: on two cores these have for themselves what the service shares with the
clients, who in real life have machines of their own.

mParticle is paced by the clock: 50 requests a second of 100 profiles each, whatever the answers
take, and a request's time counts from when it was due.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGTERM
from typing import Any, NamedTuple

from app.api_tokens import add_token
from app.audiences import activate
from app.deployment import Deployment
from app.events import MembershipEvent
from app.sandbox.children import tethered
from app.sandbox.stack import free_port
from app.settings import Settings
from app.sources import add_secret, add_source
from app.staging import Intake, stage
from tests.benchmarks import harness
from tests.benchmarks.events import Sample
from tests.benchmarks.harness import Pace, Row, Sizes, at_least, at_most
from tests.benchmarks.http_bodies import (
    Body,
    Requests,
    array,
    firehose,
    firehose_id,
    lines,
    one_object,
)
from tests.benchmarks.installation import Ground, Place, activate_all
from tests.benchmarks.watching import cpu_seconds
from tests.workshop import environment_of

PROCESSES = 2
CLIENTS = 16
AUDIENCES = 100
LARGE = 10_000
"""Events in the calls whose pace is held against that of ``stage``."""
PROFILES = 100
PER_SECOND = 50
MPARTICLE_S = 20
LEAST_SHARE = 0.5
LONGEST_MS = 100
"""mParticle wants its answer within this time (event-formats, section 2.1)."""
START_S = 60.0
TABLES = ("staged_chunk", "receipt", "message_key")
CPU_OF_SERVICE = "CPU of the service for an event"


class Taken(NamedTuple):
    """The pace of one round; of the answers, the median and what 99 in 100 took at most."""

    pace: Pace
    p50_ms: float = 0
    p99_ms: float = 0
    cpu_us: float = 0
    """Of the service, per event."""


# The ways.


class Service:
    """The running service; each measurement begins with empty tables."""

    def __init__(self, place: Place, port: int, pid: int) -> None:
        self.place, self.port, self.pid = place, port, pid

    def take(self, requests: Requests, per_second: float | None = None) -> Taken:
        """Send everything; every request has to be answered with 200, every event to be there."""
        empty(self.place)
        asked = {
            "port": self.port,
            "file": str(requests.file),
            "lengths": requests.lengths,
            "connections": CLIENTS,
            "per_second": per_second,
        }
        cpu_before = cpu_seconds(self.pid)
        ran = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.http_clients"],
            input=json.dumps(asked),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        cpu_us = (cpu_seconds(self.pid) - cpu_before) / requests.events * 1e6
        seconds, latencies, statuses = json.loads(ran.stdout)
        assert statuses == {"200": len(requests.lengths)}, statuses
        check_all_are_there(self.place, requests.events)
        p50, p99 = (percentile(latencies, share) * 1e3 for share in (0.5, 0.99))
        return Taken(Pace(requests.events, seconds), p50, p99, cpu_us)


@contextmanager
def running_service(place: Place, processes: int = PROCESSES) -> Iterator[Service]:
    """`pinfold api` with so many processes, all of them ready, until the block ends."""
    port = free_port(0)
    command = [sys.executable, "-m", "workers.console", "api", "--port", str(port)]
    command += ["--processes", str(processes)]
    environment = dict(os.environ) | environment_of(place.deployment.settings)
    with subprocess.Popen(
        tethered(command, None, SIGTERM), env=environment, stdout=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + START_S
            while not _all_are_ready(place, port, processes):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the service did not start")
                time.sleep(0.05)
            yield Service(place, port, process.pid)
        finally:
            process.terminate()


def _all_are_ready(place: Place, port: int, processes: int) -> bool:
    """Whether each process has said that it is ready; each says so when it is asked."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError):
        connection.request("GET", "/readyz")
        connection.getresponse().read()
    connection.close()
    return bool(place.ask("SELECT count(*) FROM process WHERE kind = 'api'") == processes)


class Direct:
    """``stage`` in processes of their own, each with its share of the calls built beforehand."""

    def __init__(self, place: Place, events: int, processes: int = PROCESSES) -> None:
        self.place = place
        spawning = multiprocessing.get_context("spawn")
        self._pipes, self._processes, self._shares = [], [], []
        for number in range(processes):
            ours, theirs = spawning.Pipe()
            share = (place.deployment.settings, events, number, processes)
            process = spawning.Process(target=_stage_share, args=(*share, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            self._shares.append(int(pipe.recv()))

    def __enter__(self) -> Direct:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def take(self, processes: int) -> Taken:
        """Stage the shares of so many of the processes, all at once."""
        empty(self.place)
        working = self._pipes[:processes]
        start = time.perf_counter()
        for pipe in working:
            pipe.send(None)
        for pipe in working:
            pipe.recv()
        seconds = time.perf_counter() - start
        events = sum(self._shares[:processes])
        check_all_are_there(self.place, events)
        return Taken(Pace(events, seconds))


def _stage_share(settings: Settings, events: int, number: int, processes: int, pipe: Any) -> None:
    """What one of the processes does: every so many-th call, each time it is told to."""
    deployment = Deployment(settings)
    calls = list(Sample(events, AUDIENCES).calls(LARGE))[number::processes]
    harness.keep_out_of_collections()
    intake = Intake(deployment, "benchmark")
    pipe.send(sum(map(len, calls)))
    with suppress(EOFError):
        while True:
            pipe.recv()
            for call in calls:
                stage(intake, call)
            pipe.send(None)
    deployment.engine.dispose()


def empty(place: Place) -> None:
    place.run(f"TRUNCATE {', '.join(TABLES)}")
    place.checkpoint()


def check_all_are_there(place: Place, events: int) -> None:
    there = place.ask("SELECT coalesce(sum(message_count), 0) FROM staged_chunk")
    assert there == events, f"{there} of {events} events were staged"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of the values does not exceed."""
    ranked = sorted(values)
    return ranked[max(0, -int(-share * len(ranked) // 1) - 1)]


# The measurement.


def own_requests(place: Place, sample: Sample, directory: Path) -> dict[str, Requests]:
    """The calls in our own form. Smaller calls get fewer events: rates are compared per event."""
    activate_all(place, AUDIENCES)
    authorization = f"Bearer {add_token(place.deployment, 'benchmark', 'write', None)}"
    shapes: dict[str, tuple[int, int, Body]] = {
        "1 event a call": (1, sample.count // 100, one_object),
        "100 events a call": (100, sample.count // 5, array),
        "10,000 events a call": (LARGE, sample.count, array),
        "10,000 lines a call": (LARGE, sample.count, lines),
    }
    made = {}
    for name, (per_call, count, body) in shapes.items():
        bodies = map(body, _calls(sample, count, per_call))
        made[name] = Requests(directory / name, "/v1/events", authorization, bodies, count)
    return made


def mparticle_requests(place: Place, seconds: int, directory: Path) -> Requests:
    sample = Sample(PER_SECOND * seconds * PROFILES, AUDIENCES)
    for upstream_id in sample.upstream_ids:
        number = firehose_id(upstream_id)
        activate(place.deployment, f"firehose {number}", number, None)
    source = add_source(place.deployment, "benchmark", "mparticle", None)
    authorization = f"Token {add_secret(place.deployment, source.id)}"
    bodies = (firehose(number, events) for number, events in enumerate(sample.calls(PROFILES)))
    return Requests(directory / "mparticle", "/in/benchmark", authorization, bodies, sample.count)


def _calls(sample: Sample, count: int, per_call: int) -> Iterator[list[MembershipEvent]]:
    for start in range(0, count, per_call):
        yield sample.events(start, min(start + per_call, count))


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    with ExitStack() as stack:
        place = stack.enter_context(ground.place())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pinfold-bench-")))
        sample = Sample(sizes.events, AUDIENCES)
        own = own_requests(place, sample, directory)
        mparticle = mparticle_requests(place, MPARTICLE_S if sizes.judged else 2, directory)
        direct = stack.enter_context(Direct(place, sizes.events))
        service = stack.enter_context(running_service(place))
        harness.keep_out_of_collections()
        taken = harness.interleave(
            sizes.rounds,
            {name: partial(service.take, requests) for name, requests in own.items()}
            | {
                "stage, 2 processes": partial(direct.take, PROCESSES),
                "stage, 1 process": partial(direct.take, 1),
                "mParticle": partial(service.take, mparticle, PER_SECOND),
            },
        )
    floor = [harness.sha1_alone(sample.values[:100_000]) for _ in range(sizes.rounds)]
    return _rows(taken, floor, list(own), sizes)


def _rows(
    taken: dict[str, list[Taken]], floor: list[Pace], own: list[str], sizes: Sizes
) -> list[Row]:
    rows: list[Row] = []
    for name in own:
        rates = [1e3 / each.pace.us for each in taken[name]]
        rows.append(Row(f"http, {name}, {CLIENTS} clients", rates, "k events/s"))
        rows += _answers(name, taken[name])
        rows.append(Row(f"  {CPU_OF_SERVICE}, {name}", [each.cpu_us for each in taken[name]], "us"))
    for name in own:
        if name.startswith(f"{LARGE:,}"):
            for yardstick, must in (("1 process", at_least(LEAST_SHARE)), ("2 processes", None)):
                rows.append(
                    harness.compared(
                        f"http, {name} / stage in {yardstick}",
                        [each.pace for each in taken[name]],
                        [each.pace for each in taken[f"stage, {yardstick}"]],
                        floor,
                        must if sizes.judged else None,
                    )
                )
    rates = [each.pace.events / PROFILES / each.pace.seconds for each in taken["mParticle"]]
    rows.append(Row(f"mParticle, {PROFILES} profiles a request", rates, "requests/s"))
    must = at_most(LONGEST_MS) if sizes.judged else None
    return rows + _answers("mParticle", taken["mParticle"], must)


def _answers(name: str, taken: Sequence[Taken], must: harness.Must | None = None) -> list[Row]:
    return [
        Row(f"  answers to {name}, p50", [each.p50_ms for each in taken], "ms"),
        Row(f"  answers to {name}, p99", [each.p99_ms for each in taken], "ms", must),
    ]
