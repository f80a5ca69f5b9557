"""Drills for docs/recovery.md, case 1: a restore, with and without the guide's command."""

from __future__ import annotations

import pytest

from app.audiences import activate
from app.connections import list_connections, open_client
from app.creation import placeholder
from tests.faults.restored import BATCH, Installation
from tests.workshop import Workshop, emails


def test_after_a_restore_the_guide_makes_membership_and_the_books_right(
    lost: Installation,
) -> None:
    workshop = lost.workshop
    printed = lost.recover()
    assert "New-EMAIL: list" in printed
    assert workshop.value("SELECT count(*) FROM attempt WHERE state = 'in_flight'") == 0
    workshop.assert_charges_cover_what_was_sent()
    workshop.assert_books_balance()
    workshop.activate("31002", "New")  # what people did since the backup is done again
    lost.send_again()
    lost.work()
    assert workshop.members() == lost.due()
    assert workshop.members("New-EMAIL") == lost.due("31002")
    lost.assert_sound()


@pytest.mark.parametrize("recovered", [True, False], ids=["with the guide", "without it"])
def test_the_cap_holds_although_the_backup_forgot_most_of_the_count(
    installation: Installation, recovered: bool
) -> None:
    cap = 70
    workshop = installation.workshop
    audience_id = workshop.ready(forward_device_id=False, record_cap=cap)
    installation.send(*emails(range(10)))
    installation.work()
    installation.back_up()
    installation.send(*emails(range(10, 54)))
    installation.work()
    installation.lose_and_restore()
    if recovered:
        assert "VIP-EMAIL: charged 11, counted by Pinterest 55" in installation.recover()
    installation.send_again()
    installation.send(*emails(range(100, 110)))
    installation.work()
    pinterest_id = workshop.list_row(audience_id).pinterest_list_id
    had = workshop.simulator.books.records_applied(pinterest_id)
    assert (had <= cap) is recovered  # what the drill is worth: without the command it is passed
    workshop.assert_books_balance()
    if recovered:
        workshop.assert_charges_cover_what_was_sent()
        room = cap - (55 + BATCH)
        assert workshop.book(audience_id).over_cap == 44 + 10 - room


def test_a_list_made_after_the_backup_is_made_twice_without_the_command(
    lost: Installation,
) -> None:
    lost.workshop.activate("31002", "New")
    lost.work()
    names = [each["name"] for each in lost.workshop.simulator.books.lists()]
    assert names.count("New-EMAIL") == 2


def test_a_list_found_again_counts_all_that_it_ever_had(lost: Installation) -> None:
    workshop = lost.workshop
    lost.recover()
    audience_id = workshop.activate("31002", "New")
    workshop.end_quarantine()
    workshop.deliver_all()
    row = workshop.list_row(audience_id)
    assert row.pinterest_list_id == workshop.simulator.books.list_named("New-EMAIL")["id"]
    assert row.pinterest_audience_id is not None
    assert row.charged == 1 + 7 + BATCH
    lost.assert_sound()


def test_a_connection_made_after_the_backup_is_made_again_and_none_of_its_lists_twice(
    installation: Installation,
) -> None:
    workshop = installation.workshop
    workshop.ready(forward_device_id=False)
    installation.back_up()
    activate_over_another(workshop)
    installation.send(*emails(range(7), audience="31003"))
    installation.work()
    installation.lose_and_restore()
    installation.recover()
    audience_id = activate_over_another(workshop)
    workshop.end_quarantine()
    workshop.deliver_all()
    row = workshop.list_row(audience_id)
    assert row.pinterest_list_id == workshop.simulator.books.list_named("Later-EMAIL")["id"]
    assert row.charged == 1 + 7 + BATCH
    installation.send_again()
    installation.work()
    assert workshop.members("Later-EMAIL") == installation.due("31003")
    installation.assert_sound()


def activate_over_another(workshop: Workshop) -> int:
    """Connect once more, and forward an audience over that; returns the audience's id."""
    workshop.connect("later", forward_device_id=False)
    audience_id = activate(workshop.deployment, "Later", "31003", "later").audience_id
    workshop.deliver_all()
    return audience_id


def test_a_name_that_two_new_lists_have_is_left_to_a_person(lost: Installation) -> None:
    workshop = lost.workshop
    (account,) = list_connections(workshop.deployment)
    with workshop.transaction() as tx:
        client = open_client(workshop.deployment, tx, account)
    client.create_list("New-EMAIL", "EMAIL", placeholder("EMAIL"))  # by another tool
    client.close()
    lost.recover()
    audience_id = workshop.activate("31002", "New")
    workshop.end_quarantine()
    workshop.deliver_all()
    row = workshop.list_row(audience_id)
    assert (row.held_reason, row.pinterest_list_id) == ("several lists", None)
    assert len(workshop.simulator.books.lists()) == 3


def test_what_waited_at_the_backup_goes_first_and_nothing_goes_before_the_rest(
    lost: Installation,
) -> None:
    workshop = lost.workshop
    before = workshop.patches()
    lost.recover()
    workshop.deliver_all()
    assert workshop.patches() == before  # a request of the lost day may still land
    lost.send_again()
    lost.work()
    assert workshop.patches()[len(before)][0] == "REMOVE"
    assert workshop.patches()[len(before) : len(before) + 2] == [("REMOVE", 3), ("ADD", 3)]
