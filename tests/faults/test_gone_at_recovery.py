"""Lists that were gone when the database was restored, and come back: they are counted first."""

from __future__ import annotations

import pytest

from app.connections import replace_token
from app.resuming import check_held_once, retry
from tests.faults.restored import BATCH, Installation
from tests.workshop import TOKEN, emails

CAP = 70
HAD = 55
"""Records that Pinterest has had, of which the backup knows 11."""


@pytest.fixture
def forgetful(installation: Installation) -> Installation:
    """An installation whose backup, restored, has forgotten most of what its list has had."""
    installation.workshop.ready(forward_device_id=False, record_cap=CAP)
    installation.send(*emails(range(10)))
    installation.work()
    installation.back_up()
    installation.send(*emails(range(10, 54)))
    installation.work()
    installation.lose_and_restore()
    assert installation.workshop.list_row(1).charged == 11
    return installation


def go_on(installation: Installation) -> None:
    """Everything is sent again, and more."""
    installation.send_again()
    installation.send(*emails(range(100, 110)))
    installation.work()


def assert_cap_holds(installation: Installation) -> None:
    workshop = installation.workshop
    pinterest_id = workshop.list_row(1).pinterest_list_id
    assert workshop.simulator.books.records_applied(pinterest_id) <= CAP
    installation.assert_sound()


def held(installation: Installation) -> str | None:
    reason: str | None = installation.workshop.list_row(1).held_reason
    return reason


@pytest.mark.parametrize("asked", [False, True], ids=["by itself", "after a retry"])
def test_a_list_that_comes_back_is_charged_with_what_it_has_had_before_it_goes_on(
    forgetful: Installation, asked: bool
) -> None:
    workshop = forgetful.workshop
    forgetful.vanish()
    forgetful.recover()
    assert check_held_once(workshop.deployment) == 0
    forgetful.come_back()
    if asked:
        assert retry(workshop.deployment)["lists"] == 0
        assert "Pinterest is asked what it has had" in workshop.list_row(1).held_message
    else:
        workshop.end_pauses()
    go_on(forgetful)
    assert workshop.patches()[-1] == ("ADD", 4)  # nothing was sent yet
    assert held(forgetful) == "gone at Pinterest"
    workshop.end_pauses()
    assert check_held_once(workshop.deployment) == 1
    row = workshop.list_row(1)
    assert (row.charged, row.held_reason) == (HAD + BATCH, None)
    go_on(forgetful)
    assert_cap_holds(forgetful)


def test_a_retry_lets_a_list_be_looked_at_before_its_time(forgetful: Installation) -> None:
    deployment = forgetful.workshop.deployment
    forgetful.vanish()
    forgetful.recover()
    assert check_held_once(deployment) == 0
    forgetful.come_back()
    assert check_held_once(deployment) == 0  # asked a moment ago
    retry(deployment)
    assert check_held_once(deployment) == 1


def test_a_list_that_comes_back_without_counters_stays_held(forgetful: Installation) -> None:
    workshop = forgetful.workshop
    forgetful.vanish()
    forgetful.recover()
    forgetful.come_back()
    workshop.simulator.faults.script("garbage", operation="get_list")
    assert check_held_once(workshop.deployment) == 0
    assert held(forgetful) == "gone at Pinterest"
    workshop.end_pauses()
    assert check_held_once(workshop.deployment) == 1  # as soon as they can be read
    go_on(forgetful)
    assert_cap_holds(forgetful)


def test_counters_that_come_late_raise_the_charge_of_a_list_that_came_back(
    forgetful: Installation,
) -> None:
    workshop = forgetful.workshop
    forgetful.vanish()
    forgetful.recover()
    forgetful.come_back()
    assert check_held_once(workshop.deployment) == 1
    pinterest_id = workshop.list_row(1).pinterest_list_id
    workshop.simulator.books.nudge_counters(pinterest_id, batches=1, uploaded=BATCH + 3)
    forgetful.observe()
    assert workshop.list_row(1).charged == HAD + BATCH + 3


def test_a_list_that_vanishes_after_the_recovery_goes_on_with_a_retry_as_ever(
    forgetful: Installation,
) -> None:
    deployment = forgetful.workshop.deployment
    forgetful.recover()
    forgetful.vanish()
    forgetful.observe()
    assert held(forgetful) == "gone at Pinterest"
    forgetful.come_back()
    assert retry(deployment)["lists"] == 1
    go_on(forgetful)
    assert_cap_holds(forgetful)


@pytest.fixture
def gone_in_the_backup(installation: Installation) -> Installation:
    """The same, and at the backup the list was gone; it came back, had most, and stands."""
    workshop = installation.workshop
    workshop.ready(forward_device_id=False, record_cap=CAP)
    installation.send(*emails(range(10)))
    installation.work()
    installation.vanish()
    installation.observe()
    installation.back_up()
    installation.come_back()
    assert retry(workshop.deployment)["lists"] == 1
    installation.send(*emails(range(10, 54)))
    installation.work()
    installation.lose_and_restore()
    assert held(installation) == "gone at Pinterest"
    return installation


def test_a_list_gone_in_the_backup_goes_on_once_the_recovery_has_counted_it(
    gone_in_the_backup: Installation,
) -> None:
    gone_in_the_backup.recover()
    row = gone_in_the_backup.workshop.list_row(1)
    assert (row.charged, row.held_reason) == (HAD + BATCH, None)
    go_on(gone_in_the_backup)
    assert_cap_holds(gone_in_the_backup)


def test_a_list_gone_in_the_backup_that_nobody_can_ask_about_waits_for_the_recovery(
    gone_in_the_backup: Installation,
) -> None:
    workshop = gone_in_the_backup.workshop
    workshop.simulator.set_token_state(TOKEN, "revoked")
    assert "held until this is run again: VIP-EMAIL" in gone_in_the_backup.recover()
    assert_waits_for_the_recovery(gone_in_the_backup)


def test_a_count_that_a_person_names_does_not_bring_back_a_list_that_nobody_could_ask_about(
    gone_in_the_backup: Installation,
) -> None:
    workshop = gone_in_the_backup.workshop
    workshop.simulator.set_token_state(TOKEN, "revoked")
    gone_in_the_backup.recover("--charged", "VIP-EMAIL=12")
    assert held(gone_in_the_backup) == "gone at Pinterest"
    workshop.simulator.set_token_state(TOKEN, "valid")
    replace_token(workshop.deployment, "main", TOKEN)
    assert check_held_once(workshop.deployment) == 1
    assert workshop.list_row(1).charged == HAD + BATCH


def test_a_list_that_vanishes_before_it_is_recovered_still_waits_for_the_recovery(
    forgetful: Installation,
) -> None:
    workshop = forgetful.workshop
    workshop.simulator.set_token_state(TOKEN, "revoked")
    forgetful.recover()
    workshop.simulator.set_token_state(TOKEN, "valid")
    replace_token(workshop.deployment, "main", TOKEN)
    forgetful.vanish()
    forgetful.observe()
    forgetful.come_back()
    assert_waits_for_the_recovery(forgetful)


def assert_waits_for_the_recovery(installation: Installation) -> None:
    """Neither a look nor a person's word lets the list go on, only another `recover`."""
    workshop = installation.workshop
    workshop.simulator.set_token_state(TOKEN, "valid")
    replace_token(workshop.deployment, "main", TOKEN)
    assert check_held_once(workshop.deployment) == 0
    retry(workshop.deployment)
    go_on(installation)
    assert held(installation) == "not recovered"
    workshop.execute("DELETE FROM process")
    installation.recover()
    assert workshop.list_row(1).charged == HAD + BATCH
    go_on(installation)
    assert_cap_holds(installation)
