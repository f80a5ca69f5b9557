"""`pinfold audience show | rebuild | roll-over` say in plain words what is, and what it means."""

from __future__ import annotations

from types import SimpleNamespace

import orjson
import pytest
from typer.testing import CliRunner

from app.cli import root
from app.connections import change_settings
from app.doorbell import SilentDoorbell
from app.errors import Refused
from app.observing import observe_due_once
from tests.workshop import Workshop, emails


def pinfold(workshop: Workshop, *arguments: str, answer: str | None = None) -> str:
    """What `pinfold audience ...` prints; raises what it raises."""
    outside = SimpleNamespace(deployment=workshop.deployment, doorbell=SilentDoorbell)
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})
    done = runner.invoke(root, ["audience", *arguments], obj=outside, input=answer)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_show_tells_state_counters_cap_and_history(workshop: Workshop) -> None:
    workshop.simulator.behaviour.processing_seconds = 0
    audience_id = workshop.ready()
    workshop.upload(audience_id, *emails(range(120)))
    observe_due_once(workshop.deployment)
    said = pinfold(workshop, "show", "VIP")
    row = workshop.list_row(audience_id)
    for words in (
        "VIP: upstream id 31001, connection main, active",
        f"VIP-EMAIL: list {row.pinterest_list_id}, audience {row.pinterest_audience_id}",
        "Pinterest  ready, 121 people matched",
        "Pinterest  under 100 matched people",
        "counters   the counters are exactly what was sent",
        "cap        121 of 300,000,000 records sent, 121 a day: not full within 10 years",
    ):
        assert words in said
    assert "READY READY 121 2 121 0" in " ".join(said.split())  # the newest look


def test_show_as_json_is_for_programs(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.upload(audience_id, *emails(range(3)))
    observe_due_once(workshop.deployment)
    told = orjson.loads(pinfold(workshop, "show", "31001", "--json"))
    assert (told["name"], told["state"]) == ("VIP", "active")
    (each,) = told["lists"]
    assert each["finding"] == {
        "cause": "exact",
        "batches": 0,
        "uploaded": 0,
        "removed": 0,
        "unknown": 0,
        "landed": 0,
    }
    assert each["forecast"]["sent"] == 4
    assert each["seen"]["list_status"] == "PROCESSING"
    assert each["history"][0]["batches"] == 2


def test_show_knows_an_audience_that_nobody_has_made_or_looked_at(workshop: Workshop) -> None:
    workshop.connect(forward_device_id=False)
    workshop.activate()
    assert "not yet created at Pinterest" in pinfold(workshop, "show", "VIP")
    workshop.deliver_all()
    said = pinfold(workshop, "show", "VIP")
    assert "processing: it can take up to 24 hours" in said
    assert "the counters were not compared yet" in said


def test_nobody_waits_for_lists_that_activating_does_not_make(workshop: Workshop) -> None:
    workshop.connect(forward_device_id=False, create_on_activation=False)
    said = pinfold(workshop, "activate", "VIP", "--id", "31001")
    assert "VIP-EMAIL: made with its first upload" in said
    assert "VIP-MAID" not in said


def test_nobody_waits_for_a_list_whose_kind_is_switched_off(workshop: Workshop) -> None:
    workshop.connect(create_on_activation=False)
    workshop.activate()
    change_settings(workshop.deployment, "main", forward_device_id=False)
    said = pinfold(workshop, "activate", "VIP", "--id", "31001")
    assert "VIP-MAID: not made, the connection does not forward what goes there" in said


def test_rebuild_asks_and_says_that_members_must_be_sent_again(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.stage(*emails(range(3)))
    workshop.flush(audience_id)
    workshop.simulator.books.delete_list(workshop.list_row(audience_id).pinterest_list_id)
    observe_due_once(workshop.deployment)
    assert "gone at Pinterest: pinfold audience rebuild" in pinfold(workshop, "show", "VIP")
    assert "Aborted" in pinfold(workshop, "rebuild", "VIP", answer="n\n")
    assert workshop.list_row(audience_id).generation == 1
    said = pinfold(workshop, "rebuild", "VIP", "--no-wait", answer="y\n")
    assert "3 records that waited for that one go to the new one" in said
    assert "send all members of VIP again" in said
    assert workshop.list_row(audience_id).generation == 2


def test_rebuild_first_says_what_can_reach_an_older_list_no_more(workshop: Workshop) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.stage(*emails(range(3)))
    workshop.flush(audience_id)
    workshop.simulator.books.delete_list(workshop.list_row(audience_id).pinterest_list_id)
    pinfold(workshop, "roll-over", "VIP", "--no-wait", "--yes")
    workshop.deliver_all()
    said = pinfold(workshop, "rebuild", "VIP", answer="n\n")
    assert "VIP-EMAIL, an older list, is gone: 3 records that wait for it will not be sent" in said
    assert workshop.book(audience_id).waiting == 3
    said = pinfold(workshop, "rebuild", "VIP", "--no-wait", "--yes")
    assert "VIP-EMAIL: nothing waits for it any more" in said
    assert "send all members" not in said
    assert workshop.book(audience_id).not_forwarded == 3


def test_roll_over_asks_and_says_what_it_means_for_the_old_lists(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.stage(*emails(range(3)))
    workshop.flush(audience_id)
    said = pinfold(workshop, "roll-over", "VIP", answer="n\n")
    assert "VIP-EMAIL and VIP-MAID: new changes will go to VIP (2)-EMAIL and VIP (2)-MAID" in said
    assert "3 records that wait for VIP-EMAIL are sent to it first" in said
    assert "the old audiences keep their members as they are" in said
    assert "point campaigns to these" in said
    assert "send all members of VIP again" in said
    assert workshop.list_row(audience_id).generation == 1
    assert "new changes go to VIP (2)-EMAIL" in pinfold(
        workshop, "roll-over", "VIP", "--yes", "--no-wait"
    )
    with pytest.raises(Refused, match="has not been created"):
        pinfold(workshop, "roll-over", "VIP", "--yes", "--no-wait")
    workshop.deliver_all()
    shown = pinfold(workshop, "show", "VIP")
    assert shown.index("VIP (2)-EMAIL") < shown.index("VIP-EMAIL")
    assert "an older list" in shown
