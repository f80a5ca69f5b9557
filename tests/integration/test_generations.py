"""Rebuild and roll-over: the next generation of lists, with nothing lost and nothing twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.audiences import activate, deactivate, pause, request_flush, resume
from app.connections import change_settings
from app.due import audiences_due
from app.errors import Refused, UnreadableBody
from app.flush import flush_once
from app.lease import try_claim
from app.observing import observe_due_once
from app.rebuilding import Rebuilt, rebuild, unreachable
from app.resuming import retry
from app.rolling import plan_roll_over, roll_over
from app.showing import read_shown
from app.status import read_status
from app.tables import customer_list
from app.window import fix_window
from tests.workshop import (
    ADD,
    REMOVE,
    Workshop,
    device_event,
    digests,
    email_event,
    emails,
)


def vanish(workshop: Workshop, audience_id: int, list_type: str = "EMAIL") -> str:
    """Let a list vanish at Pinterest, and be noticed."""
    gone = str(workshop.list_row(audience_id, list_type).pinterest_list_id)
    workshop.simulator.books.delete_list(gone)
    workshop.execute("UPDATE customer_list SET observe_not_before = NULL")
    observe_due_once(workshop.deployment)
    assert workshop.list_row(audience_id, list_type).held_reason == "gone at Pinterest"
    return gone


def rebuilt(workshop: Workshop, audience_id: int) -> Rebuilt:
    return rebuild(workshop.deployment, audience_id)


def notes(workshop: Workshop) -> str:
    (audience,) = read_status(workshop.deployment).audiences
    return "; ".join(note for each in audience.lists for note in each.notes)


def charged(workshop: Workshop) -> dict[int, int]:
    """What is charged per generation of the EMAIL list."""
    rows = workshop.rows("SELECT generation, charged FROM customer_list WHERE list_type = 'EMAIL'")
    return {row.generation: row.charged for row in rows}


def test_a_list_that_is_gone_is_made_again_and_what_waited_reaches_the_new_one(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(3)), device_event(1))
    workshop.stage(*emails(range(3, 6)), *emails(range(1), REMOVE))
    workshop.flush(audience_id)
    gone = vanish(workshop, audience_id)
    (made,) = rebuilt(workshop, audience_id).lists
    assert (made.name, made.records) == ("VIP-EMAIL", 4)
    workshop.assert_books_balance()
    assert workshop.book(audience_id).waiting == 4
    workshop.deliver_all()
    row = workshop.list_row(audience_id)
    assert (row.id, row.generation, row.held_reason) == (made.list_id, 2, None)
    assert row.pinterest_list_id != gone
    assert workshop.members() == digests(range(3, 6))
    assert workshop.patches() == [("REMOVE", 1), ("ADD", 3)]  # still in their order
    assert len(workshop.members("VIP-MAID")) == 1  # its sibling is not concerned
    assert workshop.list_row(audience_id, "MAID").generation == 1
    workshop.upload(audience_id, *emails(range(6, 8)))
    assert workshop.members() == digests(range(3, 8))
    workshop.assert_books_balance()
    assert charged(workshop) == {1: 4, 2: 7}
    old, new = sorted(read_shown(workshop.deployment, audience_id).lists, key=lambda e: e.current)[
        0::2
    ]
    assert (old.current, old.in_lane, old.held_reason) == (False, 0, None)
    assert new.current


def test_both_lists_gone_are_both_made_again(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    vanish(workshop, audience_id)
    vanish(workshop, audience_id, "MAID")
    assert len(rebuilt(workshop, audience_id).lists) == 2
    workshop.deliver_all()
    names = sorted(each["name"] for each in workshop.simulator.books.lists())
    assert names == ["VIP-EMAIL", "VIP-MAID"]


def test_rebuilding_twice_or_what_is_well_changes_nothing(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    with pytest.raises(Refused, match="nothing to rebuild"):
        rebuilt(workshop, audience_id)
    vanish(workshop, audience_id)
    rebuilt(workshop, audience_id)
    with pytest.raises(Refused, match="nothing to rebuild"):
        rebuilt(workshop, audience_id)
    deactivate(workshop.deployment, audience_id)
    with pytest.raises(Refused, match="deactivated"):
        rebuilt(workshop, audience_id)


def test_a_request_under_way_to_a_list_that_is_gone_is_unknown_and_its_batch_goes_again(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.stage(*emails(range(3)))
    workshop.flush(audience_id)
    with workshop.transaction() as tx:
        claim = try_claim(tx, customer_list, workshop.list_id(audience_id), _settings(workshop))
    assert claim is not None
    workshop.execute(
        "INSERT INTO attempt (customer_list_id, batch_id, purpose, record_count, epoch)"
        " SELECT customer_list_id, id, 'ADD', 3, :epoch FROM batch",
        epoch=claim.epoch,
    )
    workshop.execute("UPDATE customer_list SET charged = charged + 3")
    vanish(workshop, audience_id)
    rebuilt(workshop, audience_id)
    assert workshop.value("SELECT state FROM attempt ORDER BY id DESC LIMIT 1") == "unknown"
    workshop.deliver_all()
    assert workshop.members() == digests(range(3))
    workshop.assert_books_balance()


def _settings(workshop: Workshop):  # type: ignore[no-untyped-def]  # the settings of a deployment
    return workshop.deployment.settings


@pytest.mark.parametrize("change", [rebuild, roll_over])
def test_a_cut_under_way_for_the_older_list_changes_nothing_and_is_made_for_the_next(
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[..., object],
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    if change is rebuild:
        vanish(workshop, audience_id)
    workshop.stage(*emails(range(3)))

    def meanwhile(deployment, plan):  # type: ignore[no-untyped-def]  # stands for fix_window
        change(deployment, audience_id)
        return fix_window(deployment, plan)

    with monkeypatch.context() as patched:
        patched.setattr("app.flush.fix_window", meanwhile)
        assert workshop.flush(audience_id) is None
    assert workshop.book(audience_id).waiting == 3
    assert workshop.value("SELECT count(*) FROM batch") == 0
    assert flush_once(workshop.deployment, audience_id) is not None
    workshop.deliver_all()
    name = "VIP-EMAIL" if change is rebuild else "VIP (2)-EMAIL"
    assert workshop.members(name) == digests(range(3))
    workshop.assert_books_balance()


def test_a_lane_that_cannot_be_opened_stops_the_rebuilding_and_loses_nothing(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.stage(*emails(range(3)))
    workshop.flush(audience_id)
    vanish(workshop, audience_id)
    workshop.execute("UPDATE batch SET payload = 'spoiled'")
    with pytest.raises(UnreadableBody):
        rebuilt(workshop, audience_id)
    assert workshop.list_row(audience_id).generation == 1
    assert workshop.book(audience_id).waiting == 3


def test_only_the_audience_gone_is_made_again_from_the_same_list(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.upload(audience_id, *emails(range(3)))
    before = workshop.list_row(audience_id)
    workshop.simulator.books.remove_audience(before.pinterest_audience_id)
    workshop.execute("UPDATE customer_list SET observe_not_before = NULL")
    observe_due_once(workshop.deployment)
    done = rebuilt(workshop, audience_id)
    assert (done.lists, done.audiences) == ([], ["VIP-EMAIL"])
    workshop.deliver_all()
    after = workshop.list_row(audience_id)
    assert after.pinterest_list_id == before.pinterest_list_id
    assert after.pinterest_audience_id not in (None, before.pinterest_audience_id)
    assert "gone" not in notes(workshop)
    with pytest.raises(Refused, match="nothing to rebuild"):
        rebuilt(workshop, audience_id)
    assert workshop.members() == digests(range(3))


# Roll over.


def test_new_changes_go_to_a_fresh_pair_under_the_next_name(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(3)), device_event(1))
    done = roll_over(workshop.deployment, audience_id)
    assert [each.name for each in done.lists] == ["VIP (2)-EMAIL", "VIP (2)-MAID"]
    workshop.deliver_all()
    names = sorted(each["name"] for each in workshop.simulator.books.audiences())
    assert names == ["VIP (2)-EMAIL", "VIP (2)-MAID", "VIP-EMAIL", "VIP-MAID"]
    workshop.upload(audience_id, email_event(0, REMOVE), *emails(range(3, 5)))
    assert workshop.members() == digests(range(3))  # the old one stays as it is
    assert workshop.members("VIP (2)-EMAIL") == digests(range(3, 5))
    assert charged(workshop) == {1: 4, 2: 4}
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


def test_what_was_cut_for_the_old_list_is_sent_to_it_first(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.upload(audience_id, *emails(range(3)))
    workshop.stage(email_event(0, REMOVE), email_event(3, ADD))
    workshop.flush(audience_id)
    assert plan_roll_over(workshop.deployment, audience_id).lists[0].records == 2
    roll_over(workshop.deployment, audience_id)
    assert "2 records wait for the older list and go first" in notes(workshop)
    workshop.stage(email_event(4))
    assert workshop.flush(audience_id) is None  # cuts wait for the older lane
    workshop.deliver_all()
    assert workshop.members() == digests(range(1, 4))
    assert flush_once(workshop.deployment, audience_id) is not None
    workshop.deliver_all()
    assert workshop.members("VIP (2)-EMAIL") == digests(range(4, 5))
    assert "older" not in notes(workshop)
    workshop.assert_books_balance()


def test_an_old_list_that_is_held_keeps_its_lane_and_does_not_stop_the_next(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.faults.script("teapot")
    workshop.stage(*emails(range(2)))
    workshop.flush(audience_id)
    workshop.deliver_all()
    assert workshop.list_row(audience_id).held_reason is not None
    roll_over(workshop.deployment, audience_id)
    workshop.deliver_all()
    workshop.upload(audience_id, email_event(7))
    assert workshop.members("VIP (2)-EMAIL") == digests(range(7, 8))
    assert "that one is held" in notes(workshop)
    retry(workshop.deployment)
    workshop.deliver_all()
    assert workshop.members() == digests(range(2))
    workshop.assert_books_balance()


def older_gone(workshop: Workshop, people: range) -> int:
    """An audience whose older list was found gone, with so many people in its lane."""
    audience_id = workshop.ready(forward_device_id=False)
    workshop.stage(*emails(people))
    workshop.flush(audience_id)
    workshop.simulator.books.delete_list(workshop.list_row(audience_id).pinterest_list_id)
    roll_over(workshop.deployment, audience_id)
    workshop.deliver_all()
    return audience_id


def test_the_lane_of_an_older_list_that_is_gone_is_booked_and_never_moved(
    workshop: Workshop,
) -> None:
    audience_id = older_gone(workshop, range(3))
    workshop.upload(audience_id, *emails(range(3), REMOVE))
    assert 'that one is gone: pinfold audience rebuild "VIP"' in notes(workshop)
    assert unreachable(workshop.deployment, audience_id) == {"VIP-EMAIL": 3}
    done = rebuilt(workshop, audience_id)
    assert (done.lists, done.audiences, done.given_up) == ([], [], ["VIP-EMAIL"])
    book = workshop.book(audience_id)
    assert (book.waiting, book.not_forwarded) == (0, 3)
    workshop.assert_books_balance()
    workshop.deliver_all()
    assert workshop.members("VIP (2)-EMAIL") == set()
    assert "older" not in notes(workshop)
    with pytest.raises(Refused, match="nothing to rebuild"):
        rebuilt(workshop, audience_id)


def test_however_long_the_lane_of_an_older_list_that_is_held_cuts_go_on(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(lane_limit=2)
    audience_id = older_gone(workshop, range(3))
    workshop.stage(email_event(7))
    request_flush(workshop.deployment, audience_id)
    with workshop.transaction() as tx:
        assert audiences_due(tx, workshop.deployment.settings) == [audience_id]
    (shown,) = read_status(workshop.deployment).audiences
    assert shown.next_upload == "now"
    assert flush_once(workshop.deployment, audience_id) is not None


def test_the_next_upload_waits_for_lanes_that_move_and_for_held_ones_that_are_too_long(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(lane_limit=2)
    audience_id = workshop.ready(forward_device_id=False)

    def next_upload() -> str:
        (shown,) = read_status(workshop.deployment).audiences
        return shown.next_upload

    workshop.simulator.faults.script("teapot")
    workshop.stage(*emails(range(2)))
    workshop.flush(audience_id)
    workshop.stage(email_event(7))
    assert next_upload() == "after the lane is empty"
    workshop.deliver_all()
    assert workshop.list_row(audience_id).held_reason is not None
    assert next_upload().startswith("in ")
    assert workshop.flush(audience_id) is not None
    workshop.stage(email_event(8))
    assert next_upload() == "once the list that is held goes on"
    assert workshop.flush(audience_id) is None


def test_no_upload_is_promised_for_now_while_the_connection_is_held_or_a_cut_has_just_failed(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.stage(email_event(1))
    request_flush(workshop.deployment, audience_id)
    workshop.execute("UPDATE audience SET not_before = now() + interval '90 s'")
    (resting,) = read_status(workshop.deployment).audiences
    assert resting.next_upload == "tried again in 1 min"
    workshop.execute("UPDATE connection SET held_reason = 'role lost', held_at = now()")
    (held,) = read_status(workshop.deployment).audiences
    assert held.next_upload == "once the connection goes on"


def test_a_list_rolled_over_while_too_small_gets_its_audience_later(workshop: Workshop) -> None:
    workshop.simulator.behaviour.refuse_small_audience = True
    audience_id = workshop.ready(forward_device_id=False)
    roll_over(workshop.deployment, audience_id)
    workshop.deliver_all()
    assert workshop.simulator.books.audiences() == []
    workshop.simulator.behaviour.refuse_small_audience = False
    workshop.execute("UPDATE customer_list SET audience_not_before = now()")
    workshop.deliver_all()
    names = sorted(each["name"] for each in workshop.simulator.books.audiences())
    assert names == ["VIP (2)-EMAIL", "VIP-EMAIL"]


def test_a_list_rolled_over_while_its_audience_is_made_again_gets_it_too(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.books.remove_audience(workshop.list_row(audience_id).pinterest_audience_id)
    workshop.execute("UPDATE customer_list SET observe_not_before = NULL")
    observe_due_once(workshop.deployment)
    rebuilt(workshop, audience_id)
    roll_over(workshop.deployment, audience_id)
    workshop.deliver_all()
    names = sorted(each["name"] for each in workshop.simulator.books.audiences())
    assert names == ["VIP (2)-EMAIL", "VIP-EMAIL"]


def test_no_audience_is_asked_for_of_a_list_that_was_replaced_because_it_is_gone(
    workshop: Workshop,
) -> None:
    workshop.simulator.behaviour.refuse_small_audience = True
    audience_id = workshop.ready(forward_device_id=False)
    old = vanish(workshop, audience_id)
    rebuilt(workshop, audience_id)
    workshop.simulator.behaviour.refuse_small_audience = False
    workshop.execute(
        "UPDATE customer_list SET audience_not_before = now() WHERE audience_not_before > now()"
    )
    workshop.deliver_all()
    held = "SELECT held_reason FROM customer_list WHERE pinterest_list_id = :l"
    assert workshop.value(held, l=old) is None
    asked = "SELECT count(*) FROM attempt WHERE purpose = 'AUDIENCE'"
    assert workshop.value(asked) == 2


def test_rolling_over_gives_a_full_audience_room_again(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False, record_cap=5)
    workshop.upload(audience_id, *emails(range(9)))
    assert workshop.book(audience_id).over_cap == 5
    roll_over(workshop.deployment, audience_id)
    workshop.deliver_all()
    workshop.upload(audience_id, *emails(range(9, 12)))
    assert workshop.members("VIP (2)-EMAIL") == digests(range(9, 12))
    assert charged(workshop) == {1: 5, 2: 4}
    workshop.assert_books_balance()


def test_a_roll_over_given_twice_starts_one_pair(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    roll_over(workshop.deployment, audience_id)
    for command in (plan_roll_over, roll_over):
        with pytest.raises(Refused, match="has not been created at Pinterest yet"):
            command(workshop.deployment, audience_id)
    workshop.deliver_all()
    done = roll_over(workshop.deployment, audience_id)
    assert [each.name for each in done.lists] == ["VIP (3)-EMAIL", "VIP (3)-MAID"]
    workshop.deliver_all()
    assert len(workshop.simulator.books.lists()) == 6


def test_the_next_name_is_one_that_no_list_has_had(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    activate(workshop.deployment, "VIP (2)", "31002", None)
    workshop.deliver_all()
    done = roll_over(workshop.deployment, audience_id)
    assert done.next_name == "VIP (3)"


def test_a_rolled_over_list_that_is_gone_is_rebuilt_under_its_own_name(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    roll_over(workshop.deployment, audience_id)
    workshop.deliver_all()
    vanish(workshop, audience_id)
    with pytest.raises(Refused, match="rebuild"):
        roll_over(workshop.deployment, audience_id)
    (made,) = rebuilt(workshop, audience_id).lists
    assert made.name == "VIP (2)-EMAIL"
    workshop.deliver_all()
    assert workshop.list_row(audience_id).generation == 3
    assert roll_over(workshop.deployment, audience_id).next_name == "VIP (3)"


def test_a_kind_that_is_switched_off_keeps_its_list(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    change_settings(workshop.deployment, "main", forward_device_id=False)
    assert [each.name for each in roll_over(workshop.deployment, audience_id).lists] == [
        "VIP (2)-EMAIL"
    ]
    change_settings(workshop.deployment, "main", forward_device_id=True)
    workshop.deliver_all()
    workshop.upload(audience_id, device_event(1))
    assert len(workshop.members("VIP-MAID")) == 1


def test_a_paused_audience_rolls_over_and_goes_on_when_resumed(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.stage(*emails(range(2)))
    workshop.flush(audience_id)
    pause(workshop.deployment, audience_id)
    roll_over(workshop.deployment, audience_id)
    workshop.deliver_all()
    assert workshop.list_row(audience_id).pinterest_list_id is None
    resume(workshop.deployment, audience_id)
    workshop.deliver_all()
    assert workshop.members() == digests(range(2))
    assert workshop.members("VIP (2)-EMAIL") == set()
    deactivate(workshop.deployment, audience_id)
    with pytest.raises(Refused, match="deactivated"):
        roll_over(workshop.deployment, audience_id)


def test_activating_again_after_a_roll_over_takes_up_the_newest_lists(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    roll_over(workshop.deployment, audience_id)
    workshop.deliver_all()
    deactivate(workshop.deployment, audience_id)
    workshop.activate()
    workshop.deliver_all()
    workshop.upload(audience_id, email_event(1))
    assert workshop.members("VIP (2)-EMAIL") == digests(range(1, 2))
    assert len(workshop.simulator.books.lists()) == 4
