"""Activation: the wish is a row, both lists appear at Pinterest at once, and never twice."""

from collections.abc import Callable

import pytest
import requests

from app.audiences import activate, deactivate, pause, request_flush, resume, waiting_of
from app.connections import change_settings
from app.delivery import deliver_once
from app.due_lists import lists_due
from app.errors import ConfigError, NotFound, Refused
from app.flush import flush_once
from app.resuming import retry
from tests.workshop import (
    ACCOUNT,
    REMOVE,
    Workshop,
    address,
    device_event,
    email_event,
    emails,
    sha1_hex,
)


def list_names(workshop: Workshop) -> list[str]:
    return sorted(each["name"] for each in workshop.simulator.books.lists())


def audience_names(workshop: Workshop) -> list[str]:
    return sorted(each["name"] for each in workshop.simulator.books.audiences())


def writes(workshop: Workshop, operation: str) -> int:
    return sum(r.operation == operation for r in workshop.simulator.books.requests())


def test_both_lists_and_their_audiences_appear_without_any_event(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    assert list_names(workshop) == audience_names(workshop) == ["VIP-EMAIL", "VIP-MAID"]
    for list_type in ("EMAIL", "MAID"):
        row = workshop.list_row(audience_id, list_type)
        made = workshop.simulator.books.list_named(f"VIP-{list_type}")
        assert (made["id"], made["list_type"]) == (row.pinterest_list_id, list_type)
        assert row.charged == made["records_applied"] == 1
        assert row.pinterest_audience_id is not None
    rules = {each["rule"]["customer_list_id"] for each in workshop.simulator.books.audiences()}
    assert rules == {each["id"] for each in workshop.simulator.books.lists()}
    workshop.assert_books_balance()


def test_the_placeholder_is_nobody_and_never_the_same(workshop: Workshop) -> None:
    workshop.ready()
    workshop.activate("31002", "Other")
    workshop.deliver_all()
    placeholders = [
        digest
        for request in workshop.simulator.books.requests()
        if request.operation == "create_list"
        for digest in request.digests
    ]
    assert len(placeholders) == len(set(placeholders)) == 4
    assert all(len(digest) == 40 for digest in placeholders)


def test_activating_again_changes_nothing(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    again = activate(workshop.deployment, "VIP", "31001", "main")
    assert (again.audience_id, again.was) == (audience_id, "active")
    workshop.deliver_all()
    assert len(list_names(workshop)) == 2
    assert writes(workshop, "create_list") == 2
    assert writes(workshop, "create_audience") == 2


def test_renaming_is_refused_with_the_reason(workshop: Workshop) -> None:
    workshop.ready()
    with pytest.raises(Refused, match="VIP"):
        workshop.activate("31001", "New name")
    assert list_names(workshop) == ["VIP-EMAIL", "VIP-MAID"]


@pytest.mark.parametrize(
    ("name", "upstream_id"),
    [("", "1"), ("x" * 201, "1"), ("a\nb", "1"), ("VIP", ""), ("V", "\x00")],
)
def test_an_impossible_name_or_id_is_refused(
    workshop: Workshop, name: str, upstream_id: str
) -> None:
    workshop.connect()
    with pytest.raises(ConfigError):
        workshop.activate(upstream_id, name)
    assert workshop.value("SELECT count(*) FROM audience") == 0


def test_without_a_connection_it_says_how_to_get_one(workshop: Workshop) -> None:
    with pytest.raises(NotFound, match="pinfold connect NAME"):
        workshop.activate()


@pytest.mark.parametrize(
    ("switch", "made", "missing"),
    [("forward_email", "VIP-MAID", "EMAIL"), ("forward_device_id", "VIP-EMAIL", "MAID")],
)
def test_a_kind_that_is_off_has_no_list_until_it_is_switched_on(
    workshop: Workshop, switch: str, made: str, missing: str
) -> None:
    audience_id = workshop.ready(**{switch: False})
    assert list_names(workshop) == audience_names(workshop) == [made]
    workshop.upload(audience_id, email_event(1), device_event(1))
    assert list_names(workshop) == [made]
    assert workshop.book(audience_id, missing).not_forwarded == 1
    notes = change_settings(workshop.deployment, "main", **{switch: True})
    assert "skipped" in notes[0]
    workshop.deliver_all()
    assert list_names(workshop) == ["VIP-EMAIL", "VIP-MAID"]
    workshop.upload(audience_id, email_event(2), device_event(2))
    assert len(workshop.members(f"VIP-{missing}")) == 1
    workshop.assert_books_balance()


def test_a_kind_switched_on_while_deactivated_gets_its_list_when_activated_again(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready(forward_email=False)
    deactivate(workshop.deployment, audience_id)
    change_settings(workshop.deployment, "main", forward_email=True)
    workshop.activate()
    workshop.upload(audience_id, email_event(1))
    assert workshop.members() == {sha1_hex(address(1))}


def test_creation_can_be_left_to_the_first_upload(workshop: Workshop) -> None:
    workshop.connect(create_on_activation=False)
    audience_id = workshop.activate()
    workshop.deliver_all()
    assert list_names(workshop) == []
    workshop.upload(audience_id, email_event(1))
    assert list_names(workshop) == ["VIP-EMAIL"]
    assert workshop.members() == {sha1_hex(address(1))}


@pytest.mark.parametrize("fault", ["drop_after", "reset_after", "server_error_after", "garbage"])
def test_a_list_whose_creation_was_not_confirmed_is_adopted_after_the_quarantine(
    workshop: Workshop, fault: str
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.simulator.faults.script(fault, operation="create_list")
    workshop.deliver_all()
    workshop.end_pauses()
    workshop.deliver_all()
    assert writes(workshop, "create_list") == 2  # one a list: nothing is made in the quarantine
    assert workshop.list_row(audience_id).pinterest_list_id is None
    workshop.end_quarantine()
    workshop.deliver_all()
    assert list_names(workshop) == audience_names(workshop) == ["VIP-EMAIL", "VIP-MAID"]
    assert writes(workshop, "create_list") == 2
    workshop.upload(audience_id, email_event(1))
    assert sha1_hex(address(1)) in workshop.members()
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


def test_a_creation_that_did_not_happen_is_made_anew_after_the_quarantine(
    workshop: Workshop,
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.simulator.faults.script("drop_before", operation="create_list")
    workshop.deliver_all()
    workshop.end_quarantine()
    workshop.deliver_all()
    assert list_names(workshop) == ["VIP-EMAIL", "VIP-MAID"]
    assert workshop.list_row(audience_id).charged == 2  # doubt counts as sent


def test_a_worker_killed_between_the_answer_and_the_commit_makes_no_second_list(
    workshop: Workshop,
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.deliver_all()
    workshop.execute(
        "UPDATE attempt SET state = 'in_flight', settled_at = NULL"
        " WHERE purpose = 'CREATE' AND customer_list_id = :l",
        l=workshop.list_id(audience_id),
    )
    workshop.execute(
        "UPDATE customer_list SET pinterest_list_id = NULL, pinterest_audience_id = NULL"
        " WHERE id = :l",
        l=workshop.list_id(audience_id),
    )
    workshop.deliver_all()
    workshop.end_quarantine()
    workshop.deliver_all()
    made = workshop.simulator.books.list_named("VIP-EMAIL")  # the only one of its name
    assert workshop.list_row(audience_id).pinterest_list_id == made["id"]
    assert audience_names(workshop) == ["VIP-EMAIL", "VIP-MAID"]


def foreign_list(workshop: Workshop, *digests: str, name: str = "VIP-EMAIL") -> str:
    """A list that another tool made at Pinterest under our name."""
    reply = requests.post(
        f"{workshop.simulator.base_url}/ad_accounts/{ACCOUNT}/customer_lists",
        json={"name": name, "list_type": "EMAIL", "records": ",".join(digests)},
        headers={"Authorization": "Bearer pina_test"},
        timeout=5,
    )
    return str(reply.json()["id"])


def unconfirmed_creation(workshop: Workshop, fault: str) -> int:
    """An EMAIL list whose creation ended without an answer; the quarantine is over."""
    workshop.connect(forward_device_id=False)
    audience_id = workshop.activate()
    workshop.simulator.faults.script(fault, operation="create_list")
    workshop.deliver_all()
    workshop.end_quarantine()
    return audience_id


def test_a_foreign_list_of_the_same_name_is_not_adopted_when_it_has_members(
    workshop: Workshop,
) -> None:
    audience_id = unconfirmed_creation(workshop, "drop_before")
    theirs = foreign_list(workshop, sha1_hex("x@example.org"), sha1_hex("y@example.org"))
    workshop.deliver_all()
    ours = workshop.list_row(audience_id).pinterest_list_id
    assert ours is not None
    assert ours != theirs
    assert list_names(workshop) == ["VIP-EMAIL", "VIP-EMAIL"]


def test_an_older_list_of_the_same_name_is_not_adopted(workshop: Workshop) -> None:
    old = workshop.simulator.behaviour.clock
    workshop.simulator.behaviour.clock = lambda: old() - 86_400
    theirs = foreign_list(workshop, sha1_hex("x@example.org"))
    workshop.simulator.behaviour.clock = old
    audience_id = unconfirmed_creation(workshop, "drop_before")
    workshop.deliver_all()
    ours = workshop.list_row(audience_id).pinterest_list_id
    assert ours is not None
    assert ours != theirs


def test_a_list_of_another_name_or_of_our_own_is_not_adopted(workshop: Workshop) -> None:
    audience_id = unconfirmed_creation(workshop, "drop_before")
    stranger = foreign_list(workshop, sha1_hex("x@example.org"), name="VIP-EMAIL 2")
    known = foreign_list(workshop, sha1_hex("x@example.org"))
    workshop.execute(
        "INSERT INTO customer_list (audience_id, list_type, name, current, pinterest_list_id)"
        " VALUES (:a, 'MAID', 'VIP-EMAIL', false, :p)",
        a=audience_id,
        p=known,
    )
    workshop.deliver_all()
    assert workshop.list_row(audience_id).pinterest_list_id not in (None, stranger, known)


def test_several_lists_that_might_be_ours_are_held_for_a_person(workshop: Workshop) -> None:
    audience_id = unconfirmed_creation(workshop, "drop_after")
    foreign_list(workshop, sha1_hex("x@example.org"))
    workshop.deliver_all()
    row = workshop.list_row(audience_id)
    assert row.held_reason == "several lists"
    assert row.pinterest_list_id is None
    assert writes(workshop, "create_list") == 2
    workshop.simulator.books.delete_list(workshop.simulator.books.lists()[1]["id"])
    retry(workshop.deployment)
    workshop.deliver_all()
    listed = workshop.simulator.books.list_named("VIP-EMAIL")
    assert workshop.list_row(audience_id).pinterest_list_id == listed["id"]


def test_looking_for_a_list_reads_page_after_page(workshop: Workshop) -> None:
    audience_id = unconfirmed_creation(workshop, "drop_after")
    for number in range(255):
        workshop.simulator.books.create_list(
            workshop.simulator.books.requests()[-1],
            ACCOUNT,
            f"other {number}",
            list_type="EMAIL",
            is_nca=False,
            records=None,
        )
    workshop.deliver_all()
    assert writes(workshop, "list_lists") == 2
    made = workshop.simulator.books.list_named("VIP-EMAIL")
    assert workshop.list_row(audience_id).pinterest_list_id == made["id"]


def test_an_audience_that_is_refused_while_small_is_asked_for_again_later(
    workshop: Workshop,
) -> None:
    workshop.simulator.behaviour.refuse_small_audience = True
    workshop.simulator.behaviour.minimum_matched = 5
    audience_id = workshop.ready(forward_device_id=False)
    assert audience_names(workshop) == []
    row = workshop.list_row(audience_id)
    assert row.held_reason is None
    assert row.audience_not_before is not None
    workshop.upload(audience_id, *emails(range(10)))  # delivering does not wait for it
    assert len(workshop.members()) == 10
    assert writes(workshop, "create_audience") == 1
    workshop.end_pauses()
    workshop.deliver_all()
    assert audience_names(workshop) == ["VIP-EMAIL"]


@pytest.mark.parametrize("fault", ["drop_after", "garbage", "server_error_after"])
def test_an_audience_whose_creation_was_not_confirmed_is_found_and_not_made_twice(
    workshop: Workshop, fault: str
) -> None:
    workshop.simulator.faults.script(fault, operation="create_audience")
    audience_id = workshop.ready(forward_device_id=False)
    workshop.end_pauses()
    workshop.deliver_all()
    assert audience_names(workshop) == ["VIP-EMAIL"]
    (made,) = workshop.simulator.books.audiences()
    assert workshop.list_row(audience_id).pinterest_audience_id == made["id"]


def test_a_paused_audience_keeps_everything_and_sends_nothing(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.stage(email_event(1))
    workshop.flush(audience_id)
    pause(workshop.deployment, audience_id)
    pause(workshop.deployment, audience_id)  # safe to repeat
    workshop.stage(email_event(2))
    workshop.deliver_all()
    deliver_once(workshop.deployment, workshop.list_id(audience_id))
    assert flush_once(workshop.deployment, audience_id) is None
    assert workshop.patches() == []
    with pytest.raises(Refused, match="paused"):
        request_flush(workshop.deployment, audience_id)
    assert workshop.book(audience_id).waiting == 2
    activate(workshop.deployment, "VIP", "31001", None)
    assert workshop.value("SELECT state FROM audience") == "paused"
    resume(workshop.deployment, audience_id)
    workshop.deliver_all()
    workshop.flush(audience_id)
    workshop.deliver_all()
    assert len(workshop.members()) == 2
    workshop.assert_books_balance()


def test_deactivating_books_what_waits_and_deletes_nothing_at_pinterest(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(3)), device_event(1))
    workshop.stage(*emails(range(3, 5)))
    workshop.flush(audience_id)
    workshop.stage(email_event(9), device_event(2))
    waiting = waiting_of(workshop.deployment, audience_id)
    assert (waiting.messages, waiting.records) == (2, 2)
    before = len(workshop.simulator.books.requests())
    deactivate(workshop.deployment, audience_id)
    deactivate(workshop.deployment, audience_id)  # safe to repeat
    assert flush_once(workshop.deployment, audience_id) is not None
    workshop.deliver_all()
    assert len(workshop.simulator.books.requests()) == before
    assert len(workshop.members()) == 3
    assert audience_names(workshop) == ["VIP-EMAIL", "VIP-MAID"]
    assert workshop.book(audience_id).not_forwarded == 3
    assert workshop.book(audience_id, "MAID").not_forwarded == 1
    workshop.assert_books_balance()


def test_a_deactivated_audience_takes_its_lists_and_counts_up_again(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(3)))
    deactivate(workshop.deployment, audience_id)
    with pytest.raises(Refused):
        resume(workshop.deployment, audience_id)
    again = activate(workshop.deployment, "VIP", "31001", None)
    assert (again.audience_id, again.was) == (audience_id, "deactivated")
    workshop.upload(audience_id, email_event(1, REMOVE))
    assert len(list_names(workshop)) == 2
    assert workshop.list_row(audience_id).charged == 5
    assert len(workshop.members()) == 2


@pytest.mark.parametrize("left", ["paused list", "held list", "held connection"])
def test_a_deactivation_is_booked_even_while_something_is_held(
    workshop: Workshop, left: str
) -> None:
    audience_id = workshop.ready()
    workshop.stage(*emails(range(3)))
    workshop.flush(audience_id)
    workshop.stage(email_event(5))
    change = {
        "paused list": "UPDATE customer_list SET not_before = now() + interval '50 minutes'",
        "held list": "UPDATE customer_list SET held_reason = 'x', held_at = now()",
        "held connection": "UPDATE connection SET held_reason = 'x', held_at = now()",
    }[left]
    workshop.execute(change)
    deactivate(workshop.deployment, audience_id)
    assert flush_once(workshop.deployment, audience_id) is not None
    workshop.deliver_all()
    assert workshop.book(audience_id).waiting == 0
    workshop.assert_books_balance()


def test_a_list_refused_with_400_is_held_with_pinterests_words(workshop: Workshop) -> None:
    workshop.connect()
    workshop.simulator.faults.script(
        "bad_request", operation="create_list", message="Name is not allowed."
    )
    audience_id = workshop.activate()
    workshop.deliver_all()
    row = workshop.list_row(audience_id)
    assert (row.held_reason, row.held_message) == ("list refused", "Name is not allowed.")
    assert row.charged == 0
    retry(workshop.deployment)
    workshop.deliver_all()
    assert workshop.list_row(audience_id).pinterest_list_id is not None


def test_lists_that_are_wished_for_are_due(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with()
    workshop.connect()
    audience_id = workshop.activate()
    with workshop.transaction() as tx:
        due = lists_due(tx, workshop.deployment.settings)
    assert due == [workshop.list_id(audience_id), workshop.list_id(audience_id, "MAID")]
