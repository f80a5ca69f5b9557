"""RudderStack's lists, records and boolean traits.

The many further messages with their results are files: ``tests/golden/rudderstack``.
"""

import json
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from app.bodies import pack_chunk, unpack_chunk
from app.drafting import draft_chunks, sort_events
from app.errors import InvalidEvent
from app.events import Identity, Kind, ListType, MembershipEvent, Operation
from app.folding import Folder
from app.formats import messages_of, read_all, rudderstack
from app.formats.calls import NO_IDENTITY, OTHER_TYPE
from app.formats.reading import GUESSED, MOST_IDENTITIES, PLAIN, Dialect, Reading
from tests.unit.test_segment import ANYTHING, assert_safe, mutated

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "rudderstack"
ADDRESS = "ana.ruiz@example.org"
GAID = "c1d2e3f4-0a1b-4c2d-8e3f-405162738495"
KNOWS = Dialect(audience="31001")


def audience_list(**lists: Any) -> dict[str, Any]:
    return {
        "type": "audienceList",
        "context": {"externalId": [{"type": "PINTEREST_AUDIENCE-9001"}]},
        "properties": {"listData": lists},
    }


def record(action: object, identifiers: object = None, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "action": action, "identifiers": identifiers} | fields


def operations(reading: Reading) -> list[Operation]:
    return [event.operation for event in reading.events]


def folded(events: list[MembershipEvent]) -> tuple[list[bytes], list[bytes]]:
    """Who is added to and who removed from the EMAIL list by these events, folded."""
    drafts, rejections = draft_chunks(sort_events(events), {"9001": 1}, {}, arrived_us=7)
    assert not rejections
    folder = Folder(
        forward=dict.fromkeys(ListType, True), forward_other_digests=False, case="lower"
    )
    folder.take([unpack_chunk(pack_chunk(d.flags, d.times, d.values)) for d in drafts])
    emails = folder.fold()[ListType.EMAIL]
    return emails.adds, emails.removes


@pytest.mark.parametrize("timestamp", [None, "2026-02-03T10:00:00.000+02:00"])
def test_who_stands_in_both_lists_ends_as_a_member(timestamp: str | None) -> None:
    """Trap 13, down to what would be sent."""
    people = [{"email": ADDRESS}]
    message = audience_list(add=people, remove=people) | {"timestamp": timestamp}
    events = rudderstack.read(message).events
    assert [event.operation for event in events] == [Operation.REMOVE, Operation.ADD]
    assert folded(events) == ([sha1(ADDRESS.encode()).digest()], [])


@pytest.mark.parametrize("kind", ["audiencelist", "audienceList", "AUDIENCELIST", "AudienceList"])
def test_the_type_of_a_list_is_matched_in_any_case(kind: str) -> None:
    message = audience_list(remove=[{"email": ADDRESS}]) | {"type": kind}
    assert operations(rudderstack.read(message)) == [Operation.REMOVE]


def test_traits_beside_a_track_call_are_no_news() -> None:
    """Libraries put them beside every call of a person."""
    call = {
        "type": "track",
        "event": "Order Completed",
        "context": {"traits": {"email": ADDRESS, "vip": True}},
        "properties": {"total": 5},
    }
    reading = rudderstack.read(call, Dialect(audience="31001", audience_key="vip"))
    assert (reading.events, reading.ignored) == ([], [rudderstack.NO_TRAIT])


def test_another_id_of_the_person_names_no_audience() -> None:
    message = audience_list(add=[{"email": ADDRESS}])
    message["context"]["externalId"] = [{"type": "customer-id", "id": "4711"}]
    (event,) = rudderstack.read(message, KNOWS).events
    assert event.audience == "31001"


def test_a_plain_value_under_a_hashed_name_is_taken_as_it_is() -> None:
    """Trap 12."""
    (event,) = rudderstack.read(audience_list(add=[{"EMAIL_SHA256": ADDRESS}])).events
    assert event.identities == (Identity(Kind.EMAIL, ADDRESS),)


@pytest.mark.parametrize("key", ["update", "ADD", "", ADDRESS])
def test_a_list_of_another_name_is_an_error_that_does_not_repeat_it(key: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        rudderstack.read(audience_list(**{key: [{"email": ADDRESS}]}))
    assert str(refused.value) == 'properties.listData: may hold "add" and "remove" only'


@pytest.mark.parametrize(
    ("mapped", "audience"),
    [
        ("PINTEREST_AUDIENCE-9001", "9001"),
        ("FB_CUSTOM_AUDIENCE-a-b-c", "a-b-c"),
        ("TIKTOK_AUDIENCE--5", "-5"),
        ("PINTEREST_AUDIENCE", "31001"),
        ("PINTEREST_AUDIENCE-", "31001"),
        ("-9001", "31001"),
        (9001, "31001"),
        (None, "31001"),
    ],
)
def test_an_audience_is_mapped_after_the_first_hyphen_else_the_sources(
    mapped: object, audience: str
) -> None:
    message = audience_list(add=[{"email": ADDRESS}])
    for external_id in ({"type": mapped}, [{"type": mapped}]):
        message["context"] = {"externalId": external_id}
        (event,) = rudderstack.read(message, KNOWS).events
        assert event.audience == audience


@pytest.mark.parametrize("context", [None, {}, {"externalId": []}, {"externalId": [{"type": "x"}]}])
def test_without_an_audience_the_fix_is_named(context: object) -> None:
    for message in (record("insert", {"email": ADDRESS}), audience_list(add=[])):
        with pytest.raises(InvalidEvent, match="the source needs --audience"):
            rudderstack.read(message | {"context": context})


@pytest.mark.parametrize(
    ("action", "operation"),
    [("insert", Operation.ADD), ("update", Operation.ADD), ("delete", Operation.REMOVE)],
)
def test_a_records_action_is_its_operation(action: str, operation: Operation) -> None:
    reading = rudderstack.read(record(action, {"email": ADDRESS}), KNOWS)
    assert operations(reading) == [operation]


@pytest.mark.parametrize("action", [None, "", "add", "remove", "upsert", 1, True, ["insert"], {}])
def test_any_other_action_is_an_error(action: object) -> None:
    with pytest.raises(InvalidEvent) as refused:
        rudderstack.read(record(action, {"email": ADDRESS}), KNOWS)
    assert refused.value.field == "action"


def test_identifiers_may_stand_in_either_place_of_a_record() -> None:
    newer, older = {"EMAIL": ADDRESS, "MADID": None}, {"email": ADDRESS, "MADID": GAID}
    for identifiers, fields, kinds in (
        (newer, {}, [Kind.EMAIL]),
        (None, older, [Kind.EMAIL, Kind.GAID]),
        (newer, older, [Kind.EMAIL, Kind.GAID]),
    ):
        reading = rudderstack.read(record("insert", identifiers, fields=fields), KNOWS)
        assert [kind for event in reading.events for kind, _ in event.identities] == kinds
        assert reading.noted == [GUESSED] * (Kind.GAID in kinds)


def test_nothing_but_nulls_is_nothing_to_send() -> None:
    reading = rudderstack.read(record("insert", {"EMAIL": None, "MADID": " "}, fields={}), KNOWS)
    assert reading == Reading(ignored=[NO_IDENTITY])


@pytest.mark.parametrize("kind", ["page", "screen", "group", "alias", "audience"])
def test_other_types_carry_no_membership(kind: str) -> None:
    assert rudderstack.read({"type": kind}).ignored == [OTHER_TYPE]


def test_the_wrapper_of_ingest_calls_is_opened() -> None:
    body = {"batch": [record("insert", {"email": ADDRESS}), record("fly"), {"type": "page"}]}
    call = read_all(rudderstack.read, messages_of(body), KNOWS)
    assert [len(message.events) for message in call.messages] == [1, 0]
    assert [(fault.position, fault.field) for fault in call.faults] == [(1, "action")]
    assert call.ignored == {OTHER_TYPE: 1}


def test_a_list_without_end_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MOST_IDENTITIES == 250_000
    monkeypatch.setattr(rudderstack, "MOST_IDENTITIES", 4)
    four: list[object] = [{"email": [ADDRESS, GAID]}, 5, {"phone": 5}]
    assert len(rudderstack.read(audience_list(add=four)).events) == 1
    for more in ([{"email": ADDRESS}], [5], [{}]):
        with pytest.raises(InvalidEvent, match="more than") as refused:
            rudderstack.read(audience_list(remove=more, add=four))
        assert refused.value.field == "properties.listData"


MESSAGES = [
    (golden["message"], Dialect(**golden.get("dialect", {})))
    for golden in (json.loads(path.read_text("utf-8")) for path in sorted(GOLDEN.glob("*.json")))
]


@given(ANYTHING)
def test_any_json_value_is_read_or_refused(message: object) -> None:
    assert_safe(rudderstack.read, message, PLAIN)


@given(mutated(MESSAGES))
def test_a_message_changed_at_random_is_read_or_refused(case: tuple[object, Dialect]) -> None:
    assert_safe(rudderstack.read, *case)


@given(ANYTHING, ANYTHING)
def test_lists_of_anything_are_read_or_refused(add: object, remove: object) -> None:
    assert_safe(rudderstack.read, audience_list(add=[add], remove=remove), PLAIN)
