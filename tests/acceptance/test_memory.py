"""Memory of a worker stays flat however much waits (design section 9)."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from app.events import Identity, Kind, MembershipEvent, Operation
from app.staging import Intake, stage
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import Fleet, eventually, pool_of

EVENTS = 1_000_000
CALL = 10_000
MOST_ABOVE_IDLE = 96 << 20
LONGEST_RUN_S = 150.0

pytestmark = [
    pytest.mark.slow,
]


def stage_a_million(fleet: Fleet) -> None:
    intake = Intake(fleet.deployment, "test")
    for start in range(0, EVENTS, CALL):
        events = [
            MembershipEvent(
                "31001",
                Operation.ADD,
                (Identity(Kind.EMAIL, f"person.{number}@mail.example.org"),),
                1_700_000_000_000_000 + number,
            )
            for number in range(start, start + CALL)
        ]
        assert stage(intake, events).accepted == CALL


def resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def peak(process: psutil.Process) -> int:
    """The most that a process ever had resident, by the kernel's own account."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell the peak")


def test_a_worker_that_flushes_a_million_events_stays_near_its_idle_size(make: FleetMaker) -> None:
    fleet = make(PINFOLD_RECORDS_PER_REQUEST="50000")
    fleet.simulator.behaviour.count_only = True
    fleet.connect()
    fleet.activate("31001", "Everybody")
    stage_a_million(fleet)
    worker = fleet.worker(processes=1)
    (child,) = pool_of(worker)
    idle = resident(child)
    fleet.beat()
    assert eventually(lambda: fleet.waiting() == 0, LONGEST_RUN_S)
    assert pool_of(worker) == [child], "it was replaced: the peak of the first one tells nothing"
    assert fleet.count("SELECT sum(message_count) FROM upload") == EVENTS
    assert peak(child) - idle < MOST_ABOVE_IDLE, f"{(peak(child) - idle) / (1 << 20):.0f} MB"
