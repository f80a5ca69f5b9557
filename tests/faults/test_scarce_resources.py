"""Workers that may open nothing more or get no more memory: row 35 of the fault matrix."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest

from app.sandbox.children import Child
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import Fleet, happens, kill, pool_of, read_log
from tests.faults.aftermath import assert_all_is_right, make_busy, stage_both, writes_go_on

END_SESSIONS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
SIGNS = (
    *("Too many open files", "MemoryError", "out of memory", "Cannot allocate memory"),
    "Postgres cannot be reached",  # without a descriptor the driver does not even say why
)


def no_more_descriptors(process: psutil.Process) -> None:
    process.rlimit(psutil.RLIMIT_NOFILE, (3, 3))  # what is open stays so


def no_more_memory(process: psutil.Process) -> None:
    process.rlimit(psutil.RLIMIT_AS, (1, 1))


@pytest.fixture
def busy(make: FleetMaker) -> Fleet:
    fleet = make(PINFOLD_RECORDS_PER_REQUEST="120", PINFOLD_BACKOFF_MOST="2")
    make_busy(fleet)
    return fleet


def is_in_trouble(fleet: Fleet, worker: Child, pool: list[psutil.Process]) -> bool:
    """It says so, its requests do not leave, or a process of it ended and was replaced."""
    stayed = fleet.count("SELECT count(*) FROM attempt WHERE state = 'refused'")
    said = any(sign in read_log(worker.log) for sign in SIGNS)
    return stayed > 0 or said or pool_of(worker) != pool


@pytest.mark.parametrize("starve", [no_more_descriptors, no_more_memory])
def test_a_worker_that_runs_out_of_what_it_needs_loses_nothing_and_passes_no_cap(
    busy: Fleet, starve: Callable[[psutil.Process], None]
) -> None:
    worker = busy.worker("starved")
    busy.beat()
    stage_both(busy)
    writes_go_on(busy)
    pool = pool_of(worker)
    for process in pool:
        starve(process)
    busy.count(END_SESSIONS)  # those to Pinterest are kept as well: so it has to open something
    stage_both(busy, day=1)
    happens(lambda: is_in_trouble(busy, worker, pool), 120)
    busy.worker("healthy")
    stage_both(busy, day=2)  # all else may be done by now
    writes_go_on(busy)
    kill(worker)
    busy.pinfold("retry")  # a chunk that no worker could read is set aside until then
    assert_all_is_right(busy)
