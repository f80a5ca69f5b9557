"""Many workers: a thousand audiences due at once, real Celery workers, until all is accepted.

The broker is the embedded Valkey, the database the embedded Postgres. The due check is rung as beat
rings it; Pinterest is the simulator in a process of its own, without a rate limit and only
counting, and its lists stand beforehand. All share the machine's cores: the time says what this
machine does, and whose CPU it was says what it would take elsewhere. Moments are Postgres' own.
"""

from __future__ import annotations

import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from app.sandbox.children import Child
from app.sandbox.embedded_postgres import EmbeddedPostgres
from app.sandbox.embedded_valkey import EmbeddedValkey
from app.sandbox.stack import CELERY, MINIMAL_ENVIRONMENT
from app.settings import Settings
from tests.benchmarks import harness
from tests.benchmarks.harness import Row, Sizes, at_most
from tests.benchmarks.installation import Ground
from tests.benchmarks.pinterest_process import running_pinterest
from tests.benchmarks.upload_rounds import PER_AUDIENCE, Rounds, Stand
from tests.workshop import environment_of

EVENTS_SHARE = 2
"""Of the usual number of events so many parts make one: uploads are what takes the time here."""
ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0
GRACE_S = 3.0
"""Nothing is left to do when workers are stopped; one that waits nevertheless is killed."""
SETTINGS: dict[str, Any] = {
    "flush_messages": 1,
    # messages in one upload at most: some audiences have a few more and need a second one
    "window_messages": PER_AUDIENCE + 35,
    "writes_per_minute": 1_000_000_000,
}

NOTHING_TO_DO = ("not due", "not free, or nothing to do", "0 requests")
_TASK_ENDED = re.compile(r"Task pinfold\.(\w+)\[[^]]*\] succeeded in [^:]*: '([^']*)'")

Crew = dict[str, int]
"""Worker processes, by the queues that they serve."""
TOGETHER = "flush,deliver,upkeep"
CREWS: dict[str, Crew] = {
    "1 worker": {TOGETHER: 1},
    "2 workers": {TOGETHER: 2},
    "4 workers": {TOGETHER: 4},
    "1 for flush and 1 for deliver": {"flush,upkeep": 1, "deliver": 1},
}


def measurements(ground: Ground, sizes: Sizes) -> dict[str, Any]:
    """The figures of one round of every crew, for JSON; see ``Rounds.take``."""
    with _stand(ground) as (stand, logs):
        rounds = Rounds(stand, sizes.events // EVENTS_SHARE)
        harness.keep_out_of_collections()
        settings = stand.place.deployment.settings
        taken = {}
        for name, crew in CREWS.items():
            harness.tell(name)
            taken[name] = rounds.take(partial(working, settings, crew, logs))
            taken[name]["tasks"] = tasks_in("".join(log.read_text() for log in _logs(crew, logs)))
    return {
        "events": rounds.events,
        "audiences": rounds.audiences,
        "chunks": rounds.chunks,
        "crews": taken,
    }


def tasks_in(log: str) -> dict[str, dict[str, int]]:
    """How many tasks of each name ran, by the logs of workers, and how many found nothing to do.

    Each came as one message through the broker. Fails where a task failed.
    """
    assert "raised unexpected" not in log, "a task failed"
    ran: dict[str, dict[str, int]] = {}
    for name, found in _TASK_ENDED.findall(log):
        counts = ran.setdefault(name, {"ran": 0, "in_vain": 0})
        counts["ran"] += 1
        counts["in_vain"] += found in NOTHING_TO_DO
    return ran


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    return rows(measurements(ground, sizes))


@contextmanager
def _stand(ground: Ground) -> Iterator[tuple[Stand, Path]]:
    """A broker, Pinterest and a place for their workers, and a directory for logs."""
    with ExitStack() as ending:
        directory = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="pinfold-bench-")))
        broker = EmbeddedValkey(directory)
        ending.callback(broker.stop)
        broker.start()
        pinterest = ending.enter_context(running_pinterest())
        place = ending.enter_context(
            ground.place(broker_url=broker.url(), pinterest_url=pinterest.base_url, **SETTINGS)
        )
        server = ground.server
        postgres_pid = server.pid if isinstance(server, EmbeddedPostgres) else None
        yield Stand(place, broker, pinterest, postgres_pid), directory


@contextmanager
def working(settings: Settings, crew: Crew, logs: Path) -> Iterator[dict[str, int]]:
    """Celery workers, as people start them, that are ready; the process ids of their parents."""
    started: dict[str, Child] = {}
    try:
        for queues, processes in crew.items():
            started[f"workers of {queues}"] = _launch(settings, queues, processes, logs)
        for child in started.values():
            child.wait_ready()
        yield {name: child.pid for name, child in started.items() if child.pid is not None}
    finally:
        for child in started.values():
            child.ask_to_stop()
        for child in started.values():
            child.join()


def _logs(crew: Crew, logs: Path) -> list[Path]:
    return [_log(queues, logs) for queues in crew]


def _log(queues: str, logs: Path) -> Path:
    return logs / f"{queues.replace(',', '-')}.log"


def _launch(settings: Settings, queues: str, processes: int, logs: Path) -> Child:
    log = _log(queues, logs)
    name = log.stem
    log.unlink(missing_ok=True)
    options = ["-Q", queues, "--concurrency", str(processes), "-n", f"{name}@benchmark"]
    child = Child(
        name,
        [*CELERY, "worker", *options, "-l", "INFO", "--without-mingle", "--without-gossip"],
        env=MINIMAL_ENVIRONMENT | environment_of(settings) | {"PYTHONPATH": str(ROOT)},
        log=log,
        directory=logs,
        ready=lambda: log.exists() and f"{name}@benchmark ready" in log.read_text(),
        patience=READY_S,
        grace=GRACE_S,
        death_signal=signal.SIGKILL,
    )
    child.launch()
    return child


def rows(measured: dict[str, Any]) -> list[Row]:
    """The table: for each crew its pace, whose CPU that took, who waited, and who was overtaken."""
    return [row for name, taken in measured["crews"].items() for row in _rows_of(name, taken)]


def _rows_of(name: str, taken: dict[str, Any]) -> list[Row]:
    waits = taken["waits"]
    return [
        Row(f"{name}: accepted", [taken["events_per_s"]], "events/s"),
        *(Row(f"  {what}", [figure], unit) for what, (figure, unit) in _figures_of(taken).items()),
        Row("  looks that saw a lock wait", [waits["share_of_looks_with_a_lock_wait"]], "x"),
        Row("  longest lock wait seen", [waits["longest_lock_s"] * 1e3], "ms"),
        Row("  deadlocks", [waits["deadlocks"]], "", at_most(0)),
        Row("  rank correlation of due and cut", [taken["rank_correlation_when_cut"]], "x"),
        Row("  places lost by one audience at most", [taken["places_lost_when_cut"]], ""),
        Row("  second uploads before a first of another", [taken["seconds_before_a_first"]], ""),
        Row("  from cut to accepted, p50", [taken["cut_to_accepted_p50_ms"]], "ms"),
        Row("  from cut to accepted, p99", [taken["cut_to_accepted_p99_ms"]], "ms"),
    ]


def _figures_of(taken: dict[str, Any]) -> dict[str, tuple[float, str]]:
    """What an upload took, of whom, each with its unit."""
    cores, uploads = taken["cores"], taken["uploads"]
    workers = sum(share for family, share in cores.items() if family.startswith("workers"))
    busy = {"the machine": cores["everybody"], "workers": workers}
    busy |= {each: cores[each] for each in ("postgres", "simulator", "broker") if each in cores}
    ran = sum(each["ran"] for each in taken["tasks"].values())
    in_vain = sum(each["in_vain"] for each in taken["tasks"].values())
    ms = {who: share * taken["seconds"] / uploads * 1e3 for who, share in busy.items()}
    return {
        "uploads": (uploads / taken["seconds"], "/s"),
        **{f"busy cores of {who}": (share, "cores") for who, share in busy.items()},
        **{f"CPU of {who} for an upload": (ms[who], "ms") for who in ms if who != "the machine"},
        "messages through the broker for an upload": (ran / uploads, ""),
        "share of them that found nothing to do": (in_vain / ran, "x"),
    }
