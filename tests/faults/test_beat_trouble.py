"""Several beats, dead, frozen, or with a clock that jumps: rows 15 and 16 of the fault matrix."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from celery import Celery

from app.sandbox.children import Child
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import BEAT_S, Fleet, happens, kill, read_log
from tests.faults.aftermath import SENT_TWICE, assert_all_is_right, make_busy, stage_both
from tests.faults.false_time import FalseTime
from workers.steady_schedule import SteadySchedule

HOURS_2 = 7_200.0
MINUTE_S = 60.0
EVERY_SECOND, EVERY_MINUTE = "what is due", "renew logins"
TURNS = 5
"""For which a beat is watched after a jump: one that thinks it is late for ever never pauses."""


@pytest.fixture
def busy(make: FleetMaker) -> Fleet:
    fleet = make()
    make_busy(fleet, seconds=0.02)
    return fleet


def send_signal(child: Child, number: signal.Signals) -> None:
    assert child.pid is not None
    os.killpg(child.pid, number)


def test_of_three_beats_any_one_that_lives_is_enough(busy: Fleet) -> None:
    busy.worker()
    first, second, third = (busy.beat(name) for name in ("first", "second", "third"))
    stage_both(busy, 1_000)
    send_signal(first, signal.SIGSTOP)
    kill(second)
    assert_all_is_right(busy)  # by the third
    stage_both(busy, 1_000, day=1)
    kill(third)
    send_signal(first, signal.SIGCONT)
    assert_all_is_right(busy)  # by the first, which was long asleep
    stage_both(busy, 1_000, day=2)
    kill(first)
    busy.beat("another")
    assert_all_is_right(busy)
    assert busy.count(SENT_TWICE) == 0


@pytest.mark.parametrize("jump", [-HOURS_2, HOURS_2])
def test_a_schedule_whose_clock_jumped_by_two_hours_is_due_at_once(jump: float) -> None:
    schedule = SteadySchedule(15.0, app=Celery(set_as_current=False))
    ran_at = schedule.now()
    assert schedule.is_due(ran_at).is_due is False
    assert schedule.is_due(ran_at - timedelta(seconds=jump)).is_due
    assert schedule.is_due(ran_at - timedelta(seconds=jump)).next <= 15.0


def test_a_beat_whose_clock_jumps_both_ways_goes_on_with_all_it_does(
    busy: Fleet, tmp_path: Path
) -> None:
    clock = FalseTime(tmp_path / "beat.time")
    busy.worker()
    celery = (sys.executable, "-m", "tests.faults.beat_elsewhen", str(clock.file), "-A", "workers")
    beat = busy.start("beat", (*celery, "beat", "--pidfile=", "-l", "INFO"), "beat: Starting")
    happens(partial(_sent, beat, EVERY_SECOND, 2))
    for jump in (-HOURS_2, HOURS_2, HOURS_2, -HOURS_2):
        assert_it_goes_on_and_no_faster(beat, partial(clock.jump, jump))
    stage_both(busy, 1_000)
    clock.jump(-HOURS_2)
    assert_all_is_right(busy)


def assert_it_goes_on_and_no_faster(beat: Child, jump: Callable[[], None]) -> None:
    """After a jump each entry may be due once more than the time that passes explains."""
    before = {task: _times_sent(beat, task) for task in (EVERY_SECOND, EVERY_MINUTE)}
    began = time.monotonic()
    jump()
    happens(partial(_sent, beat, EVERY_SECOND, before[EVERY_SECOND] + TURNS))
    happens(partial(_sent, beat, EVERY_MINUTE, before[EVERY_MINUTE] + 1))
    sent = {task: _times_sent(beat, task) - before[task] for task in before}
    passed = time.monotonic() - began
    assert sent[EVERY_SECOND] <= passed / BEAT_S + 3
    assert sent[EVERY_MINUTE] <= passed / MINUTE_S + 2


def _times_sent(beat: Child, task: str) -> int:
    return read_log(beat.log).count(f"Sending due task {task}")


def _sent(beat: Child, task: str, times: int) -> bool:
    return _times_sent(beat, task) >= times
