"""Postgres' clock jumps by seconds, hours and days, both ways: row 17 of the fault matrix."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.due import audiences_due, check_due_once
from app.migrate import upgrade
from app.sandbox.embedded_postgres import EmbeddedPostgres
from app.sandbox.pinterest import PinterestSimulator
from app.sandbox.postgres_binaries import (
    find_binaries,
    reachable_binaries,
    unprivileged_account,
)
from tests.acceptance.fleet import make_fleet
from tests.faults.aftermath import assert_all_is_right, make_busy, stage_both, writes_go_on
from tests.faults.doomed import die_in
from tests.faults.false_time import FalseTime
from tests.faults.hands_of_time import move_stored_times, outlast
from tests.workshop import REMOVE, Workshop, digests, emails

SECONDS_3, HOURS_2, DAY = 3.0, 7_200.0, 86_400.0
JUMPS = [way * length for length in (SECONDS_3, HOURS_2, DAY) for way in (1, -1)]


def set_clock(workshop: Workshop, jump: float) -> None:
    """Set Postgres' clock ahead, or back, as seen from all the times that are stored."""
    move_stored_times(workshop, -jump)


@pytest.fixture
def workshop(open_with: Callable[..., Workshop]) -> Workshop:
    return open_with(records_per_request=2)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_jumps_between_any_two_steps_freezes_nothing(
    workshop: Workshop, jump: float
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    for first in (0, 10):
        workshop.stage(*emails(range(first, first + 6)), *emails(range(first), REMOVE))
        set_clock(workshop, jump)
        assert workshop.flush(audience_id) is not None
        set_clock(workshop, jump)
        workshop.deliver_all()
        set_clock(workshop, jump)
    assert workshop.members() == digests(range(10, 16))
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_jumps_while_a_dead_worker_holds_its_lease_delays_by_its_usual_waits(
    workshop: Workshop, jump: float
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.stage(*emails(range(6)))
    assert workshop.flush(audience_id) is not None
    settings = workshop.deployment.settings
    die_in(settings, "deliver", workshop.list_id(audience_id), ("request", "unanswered"))
    set_clock(workshop, jump)
    workshop.simulator.faults.script("server_error", times=4)
    workshop.deliver_all()
    check_due_once(workshop.deployment)
    set_clock(workshop, jump)  # now there is a pause as well
    check_due_once(workshop.deployment)
    took = outlast(workshop, DAY, over=lambda: workshop.book(audience_id).waiting == 0)
    assert took <= 3 * settings.lease + settings.quarantine + settings.backoff_most
    assert workshop.members() == digests(range(6))
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


@pytest.mark.parametrize("jump", JUMPS)
def test_an_audience_is_still_flushed_by_its_age_after_its_clock_jumped(
    workshop: Workshop, jump: float
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.upload(audience_id, *emails(range(3)))
    set_clock(workshop, jump)
    workshop.stage(*emails(range(3, 6)))
    waited = flushed_after(workshop, audience_id)
    age = workshop.deployment.settings.flush_age
    assert waited <= 2 * age
    assert workshop.members() == digests(range(6))


def flushed_after(workshop: Workshop, audience_id: int) -> float:
    """How long it takes until the due check finds it, looking every ten minutes."""
    waited = 0.0
    while audience_id not in due_now(workshop):
        move_stored_times(workshop, -600.0)
        waited += 600.0
        assert waited < DAY
    assert workshop.flush(audience_id) is not None
    workshop.deliver_all()
    return waited


def due_now(workshop: Workshop) -> list[int]:
    with workshop.transaction() as tx:
        return audiences_due(tx, workshop.deployment.settings)


@pytest.mark.faketime
def test_a_fleet_goes_on_while_the_clock_of_its_postgres_jumps(
    tmp_path: Path, valkey_url: str, simulator: PinterestSimulator
) -> None:
    with tempfile.TemporaryDirectory(prefix="pinfold-test-") as made:
        directory = Path(made)
        directory.chmod(0o755)  # as root, Postgres runs as `nobody`
        clock = FalseTime(directory / "postgres.time")
        account = unprivileged_account()
        programs = clock.postgres(reachable_binaries(find_binaries(), account), directory)
        server = EmbeddedPostgres(directory / "state", binaries=programs)
        server.start()
        upgrade(server.url())
        settings = {"PINFOLD_RECORDS_PER_REQUEST": "120"}
        fleet = make_fleet(tmp_path, server.url(), valkey_url, simulator, **settings)
        try:
            make_busy(fleet)
            worker = fleet.worker()
            fleet.beat()
            stage_both(fleet)
            began = fleet.ask("SELECT clock_timestamp()")[0][0]
            for jump in (SECONDS_3, -SECONDS_3, DAY, -DAY, -HOURS_2, HOURS_2):
                writes_go_on(fleet)
                clock.jump(jump)
            clock.jump(DAY)
            shown = fleet.ask("SELECT clock_timestamp()")[0][0]
            assert (shown - began).total_seconds() > DAY / 2, "the clock did not jump"
            assert_all_is_right(fleet)
            assert not worker.died()
        finally:
            fleet.stop()
            server.stop()
