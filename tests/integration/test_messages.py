"""Messages of the broker become batches: in any format, of a bounded size, nothing twice."""

from typing import Any

import orjson
import pytest
from kombu import Message

from app.accepting import meet_audiences
from app.staging import Intake, stage
from tests.workshop import Workshop
from workers import messages
from workers.intake import _commit
from workers.messages import Batch, read_batch

EMAIL = "ana.ruiz@example.org"
EVENT = {"audience": "31001", "operation": "add", "email": EMAIL}
VERIFICATION = {"type": "audience_membership_change_request", "timestamp_ms": 1767265200123}


def message(body: Any, again: bool = False, message_id: str = "", **headers: Any) -> Message:
    return Message(
        body=body if isinstance(body, bytes) else orjson.dumps(body),
        headers=headers,
        properties={"message_id": message_id} if message_id else {},
        delivery_info={"redelivered": again},
    )


@pytest.fixture
def intake(workshop: Workshop) -> Intake:
    workshop.connect()
    workshop.activate()
    return Intake(workshop.deployment, "queue")


def reasons(batch: Batch) -> list[str]:
    return [reason for _, reason in batch.dead]


def test_a_batch_takes_no_further_messages_after_so_many_events(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "BATCH_EVENTS", 5)
    arrived = [message([EVENT] * 3) for _ in range(4)]
    batch = read_batch(intake, arrived)
    assert (len(batch.messages), len(batch.events)) == (2, 6)
    assert batch.messages == arrived[:2]


def test_a_message_without_a_format_is_our_own_form(intake: Intake) -> None:
    batch = read_batch(intake, [message(EVENT), message(EVENT, format="events")])
    assert len(batch.events) == 2


def test_the_audience_of_the_header_counts_where_the_message_names_none(intake: Intake) -> None:
    unnamed = {name: value for name, value in EVENT.items() if name != "audience"}
    arrived = [message(body, audience="9") for body in (unnamed, EVENT)]
    assert [event.audience for event in read_batch(intake, arrived).events] == ["9", "31001"]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"format": "xml"}, "header format: must be one of events, mparticle, segment, rudder"),
        ({"format": ""}, "header format"),
        ({"format": ["segment"]}, "header format"),
        ({"audience": ["7"]}, "header audience: the upstream id"),
        ({"audience": "x" * 1_001}, "header audience: is not an id"),
        ({"audience_key": 5}, "header audience_key: must be text"),
    ],
)
def test_headers_that_cannot_be_used_make_a_dead_letter(
    intake: Intake, headers: dict[str, Any], reason: str
) -> None:
    batch = read_batch(intake, [message(EVENT, **headers), message(EVENT)])
    assert len(batch.events) == 1
    assert [found.startswith(reason) for found in reasons(batch)] == [True]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "message: holds no event"),
        (b"[]", "message: holds no event"),
        (b"{broken", "message: is not JSON"),
        (b"7", "message: message: must be a JSON object"),
        ([{}, EVENT | {"operation": "fly"}], "message: audience: the upstream id of the audience"),
        (b" " * messages.LONGEST_MESSAGE + b"7", "message: is longer than 8,388,608 bytes"),
    ],
    ids=["empty", "empty array", "broken", "number", "bad events", "long"],
)
def test_a_message_that_holds_no_event_is_a_dead_letter(
    intake: Intake, body: Any, reason: str
) -> None:
    batch = read_batch(intake, [message(body)])
    assert batch.events == []
    assert [found.startswith(reason) for found in reasons(batch)] == [True]


def test_a_message_that_changes_nothing_is_no_dead_letter(intake: Intake) -> None:
    batch = read_batch(intake, [message(VERIFICATION, format="mparticle")])
    assert (batch.events, batch.dead, batch.rejected.total()) == ([], [], 0)
    ignored = read_batch(intake, [message({"type": "page"}, format="segment")])
    assert (ignored.dead, ignored.noted.total()) == ([], 1)


def test_a_message_whose_people_are_all_junk_is_a_dead_letter(intake: Intake) -> None:
    profile = {"user_identities": [7], "audiences": [{"audience_id": "x", "action": "fly"}]}
    batch = read_batch(
        intake, [message(VERIFICATION | {"user_profiles": [profile]}, format="mparticle")]
    )
    assert len(batch.dead) == 1
    assert all("[" not in reason for reason in batch.rejected)


def test_an_audience_is_found_by_any_of_its_references(intake: Intake, workshop: Workshop) -> None:
    """It was activated under Segment's id; the event names our own first."""
    event = {
        "type": "identify",
        "traits": {"email": EMAIL, "vip": True},
        "context": {
            "personas": {
                "computation_class": "audience",
                "external_audience_id": "unknown here",
                "computation_id": "31001",
                "computation_key": "vip",
            }
        },
    }
    batch = read_batch(intake, [message(event, format="segment")])
    meet_audiences(intake, batch.mentions.values(), None)
    assert stage(intake, batch.events).accepted == 1


def test_a_message_delivered_again_is_left_out_whatever_its_format(intake: Intake) -> None:
    first = read_batch(intake, [message(EVENT, message_id="a", format="events")])
    stage(intake, first.events, message_ids=b"".join(first.ids))
    second = [message(EVENT, again=True, message_id="a"), message(EVENT, message_id="b")]
    assert len(read_batch(intake, second).events) == 1


def test_text_that_is_no_unicode_stops_no_intake(intake: Intake) -> None:
    broken = message(EVENT, message_id="\ud800")
    broken.body = orjson.dumps(EVENT).decode() + "\ud800"
    batch = read_batch(intake, [broken, message(EVENT, again=True, message_id="\udfff")])
    assert len(batch.events) == 1
    assert [reason for _, reason in batch.dead] == ["message: is not JSON"]


def test_what_intake_logs_names_nobody(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    batch = read_batch(intake, [message([EVENT, EVENT | {"audience": "nowhere"}])])
    assert _commit(intake, batch).rejections
    assert "1 events or identities were rejected" in caplog.text
    assert EMAIL not in caplog.text
