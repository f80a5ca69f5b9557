"""Segment's events: add and remove by the rule, identities by the table, and nothing guessed.

The many further messages with their results are files: ``tests/golden/segment``.
"""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidEvent
from app.events import Identity, Kind, MembershipEvent, Operation
from app.formats import read_all, segment
from app.formats.calls import NO_IDENTITY, OTHER_TYPE
from app.formats.identifiers import MOST_VALUES
from app.formats.reading import PLAIN, Dialect, Mention, Reading
from app.formats.segment_identities import TRACKING_REFUSED

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "segment"
ADDRESS = "ana.ruiz@example.org"
IDFA = "3F1C9A52-7D40-4B8E-9A61-0C2D5E7F8A90"
GAID = "c1d2e3f4-0a1b-4c2d-8e3f-405162738495"
PERSONAS = {
    "computation_class": "audience",
    "computation_id": "aud_0madeup",
    "computation_key": "spring_sale",
}


def track(properties: object, event: object = "Audience Entered", **fields: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": event,
        "messageId": "m-1",
        "timestamp": "2026-02-03T08:15:30Z",
        "context": {"traits": {"email": ADDRESS}, "personas": PERSONAS},
        "properties": properties,
    } | fields


def context(**fields: Any) -> dict[str, Any]:
    return {"personas": PERSONAS} | fields


def operations(reading: Reading) -> list[Operation]:
    return [event.operation for event in reading.events]


def identities(reading: Reading) -> list[Identity]:
    return [identity for event in reading.events for identity in event.identities]


# Add or remove


@pytest.mark.parametrize(
    ("event", "value", "operation"),
    [
        ("Audience Entered", True, Operation.ADD),
        ("Audience Exited", False, Operation.REMOVE),
        ("Audience Entered", False, Operation.REMOVE),
        ("Audience Exited", True, Operation.ADD),
        ("Renamed", True, Operation.ADD),
        ("Renamed", "false", Operation.REMOVE),
        ("Audience Exited", "true", Operation.ADD),
    ],
)
def test_the_boolean_decides_and_a_contradiction_is_noted(
    event: str, value: object, operation: Operation
) -> None:
    """Trap 9: Audience Entered with false is a removal."""
    reading = segment.read(track({"spring_sale": value}, event))
    assert operations(reading) == [operation]
    contradicts = segment.EVENT_NAMES.get(event, operation) != operation
    assert reading.noted == [segment.CONTRADICTION] * contradicts


@pytest.mark.parametrize("value", ["True", "FALSE", " true", "1", "yes", 1, 0, 1.0, [True], {}])
def test_nothing_else_is_a_boolean(value: object) -> None:
    with pytest.raises(InvalidEvent) as refused:
        segment.read(track({"spring_sale": value}, "Renamed"))
    assert (refused.value.field, refused.value.reason) == ("properties", segment.UNDETERMINED)
    with pytest.raises(InvalidEvent):  # nor is the event's name taken in spite of it
        segment.read(track({"spring_sale": value}))


@pytest.mark.parametrize("computation", ["trait", "computed_trait", "score", 5, ["audience"], {}])
def test_a_trait_with_the_value_true_is_no_audience(computation: object) -> None:
    """Trap 10."""
    personas = PERSONAS | {"computation_class": computation}
    reading = segment.read(track({"spring_sale": True}, context=context(personas=personas)))
    assert reading == Reading(ignored=[segment.OTHER_COMPUTATION], message_id="m-1")


def test_a_legacy_journey_step_without_a_boolean_is_undetermined() -> None:
    personas = PERSONAS | {"computation_class": "journey_step"}
    for event in ("Audience Entered", "Audience Exited", "Reached Step"):
        with pytest.raises(InvalidEvent):
            segment.read(track({}, event, context=context(personas=personas)))


@pytest.mark.parametrize("kind", ["page", "screen", "group", "alias", "delete", "record"])
def test_other_types_carry_no_membership(kind: str) -> None:
    assert segment.read({"type": kind}).ignored == [OTHER_TYPE]


# Which audience


def test_the_audience_is_known_by_its_ids_and_never_by_its_name_first() -> None:
    """Trap 17."""
    personas = PERSONAS | {"external_audience_id": 77}
    reading = segment.read(
        track({"spring_sale": True}, context=context(personas=personas, traits={"email": ADDRESS}))
    )
    assert reading.events[0].audience == "77"
    assert reading.mentions == {"77": Mention(("77", "aud_0madeup", "spring_sale"), "spring_sale")}


@pytest.mark.parametrize("unusable", [True, 7.5, [], ["77"], {"id": 77}, "x" * 1_001, "\x00"])
def test_an_unusable_id_is_a_fault_while_there_are_others(unusable: object) -> None:
    personas = PERSONAS | {"external_audience_id": unusable}
    reading = segment.read(
        track({"spring_sale": True}, context=context(personas=personas, traits={"email": ADDRESS}))
    )
    assert [event.audience for event in reading.events] == ["aud_0madeup"]
    assert [f.field for f in reading.faults] == ["context.personas.external_audience_id"]


def test_without_any_usable_id_the_source_must_know_the_audience() -> None:
    message = track({}, context={"traits": {"email": ADDRESS}})
    with pytest.raises(InvalidEvent, match="--audience"):
        segment.read(message)
    assert segment.read(message, Dialect(audience="31001")).events[0].audience == "31001"


# Who


def test_android_idfa_is_a_gaid() -> None:
    """Trap 11."""
    reading = segment.read(
        track({"spring_sale": True}, context=context(traits={"android_idfa": GAID}))
    )
    assert identities(reading) == [Identity(Kind.GAID, GAID)]


@pytest.mark.parametrize("refusal", [False, "false", " False ", 0])
def test_who_refused_tracking_is_not_reached_by_the_device(refusal: object) -> None:
    device = {"type": "ios", "advertisingId": IDFA, "adTrackingEnabled": refusal}
    message = track(
        {"spring_sale": True, "idfa": IDFA.lower()},
        context=context(device=device, traits={"email": ADDRESS}),
    )
    reading = segment.read(message)
    assert identities(reading) == [Identity(Kind.EMAIL, ADDRESS)]
    assert reading.ignored == [TRACKING_REFUSED]


def test_an_answer_about_tracking_may_be_anything() -> None:
    nested: object = None
    for _ in range(1_010):  # as deep as the parser lets through
        nested = [nested]
    device = {"type": "ios", "advertisingId": IDFA, "adTrackingEnabled": nested}
    reading = segment.read(track({"spring_sale": True}, context=context(device=device)))
    assert identities(reading) == [Identity(Kind.IDFA, IDFA)]


def test_who_refused_tracking_is_not_reached_by_another_spelling_of_the_id() -> None:
    device = {"type": "ios", "advertisingId": IDFA, "adTrackingEnabled": False}
    message = track({"spring_sale": True, "idfa": IDFA.replace("-", "")})
    message["context"] |= {"device": device}
    assert identities(segment.read(message)) == [Identity(Kind.EMAIL, ADDRESS)]


def test_an_event_without_an_identity_of_ours_is_ignored() -> None:
    reading = segment.read(track({"spring_sale": True}, context=context(traits={"phone": "5"})))
    assert reading == Reading(ignored=[NO_IDENTITY], message_id="m-1")


def test_a_list_of_external_ids_without_end_is_one_fault() -> None:
    external_ids = [5] * (MOST_VALUES + 1)
    reading = segment.read(
        track({"spring_sale": True, "email": ADDRESS}, context=context(externalIds=external_ids))
    )
    assert [fault.field for fault in reading.faults] == ["context.externalIds"]
    assert identities(reading) == [Identity(Kind.EMAIL, ADDRESS)]


# Of an array


def test_one_undetermined_event_of_an_array_spoils_no_other() -> None:
    """Trap 8."""
    good, bad = track({"spring_sale": True}), track({}, "Order Completed")
    call = read_all(segment.read, [good, bad, 5, good])
    assert [message.position for message in call.messages] == [0, 3]
    assert [(fault.position, fault.whole) for fault in call.faults] == [(1, True), (2, True)]
    assert list(call.mentions) == ["aud_0madeup"]


# Anything at all

SECRETS = [ADDRESS, IDFA, GAID, "8aab84db0534eb9111a5fd6f12322bbedafa067301a7cb09d13bfbfad9b853d2"]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats()
    | st.text()
    | st.sampled_from([*SECRETS, "true", "\x00", "\ud800", "x" * 2_000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
MESSAGES = [
    (golden["message"], Dialect(**golden.get("dialect", {})))
    for golden in (json.loads(path.read_text("utf-8")) for path in sorted(GOLDEN.glob("*.json")))
]


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything within a JSON value."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [path] + [place for key, entry in inner for place in places(entry, (*path, key))]


def with_another(message: object, path: tuple[Any, ...], value: object) -> object:
    if not path:
        return value
    changed: Any = copy.deepcopy(message)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return changed


@st.composite
def mutated(draw: st.DrawFn, messages: list[tuple[object, Dialect]]) -> tuple[object, Dialect]:
    """A message of a golden file with one to three of its parts replaced by anything."""
    message, dialect = draw(st.sampled_from(messages))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(message)))
        message = with_another(message, path, draw(ANYTHING))
    return message, dialect


def said(reading: Reading) -> list[str]:
    """Every text about a message that people or logs may see."""
    faults = [text for fault in reading.faults for text in fault]
    return [*faults, *reading.ignored, *reading.noted]


def assert_safe(read: Any, message: object, dialect: Dialect) -> None:
    """It is read or refused, events are whole, and no text repeats a value."""
    try:
        reading = read(message, dialect)
    except InvalidEvent as refused:
        texts = [refused.field, refused.reason, str(refused)]
    else:
        texts = said(reading)
        for event in reading.events:
            assert isinstance(event, MembershipEvent)
            assert event.audience
            assert event.audience == event.audience.strip()
            assert event.identities
            assert len(set(event.identities)) == len(event.identities)
            assert all(isinstance(value, str) and value.strip() for _, value in event.identities)
        assert reading.mentions.keys() <= {event.audience for event in reading.events}
        assert all(ref == mention.references[0] for ref, mention in reading.mentions.items())
    assert not [text for text in texts for secret in SECRETS if secret in text]


@given(ANYTHING)
def test_any_json_value_is_read_or_refused(message: object) -> None:
    assert_safe(segment.read, message, PLAIN)


@given(mutated(MESSAGES))
def test_a_message_changed_at_random_is_read_or_refused(case: tuple[object, Dialect]) -> None:
    assert_safe(segment.read, *case)


@given(st.dictionaries(st.sampled_from(["spring_sale", "audience_key", "x"]), ANYTHING))
def test_without_a_boolean_and_a_default_name_nothing_is_ever_taken(
    properties: dict[str, object],
) -> None:
    """The rule's last step, against a plain model of the first two."""
    values = [properties.get("spring_sale")]
    key = properties.get("audience_key")
    values += [properties.get(key)] if isinstance(key, str) and key.strip() else []
    booleans = [value for value in values if isinstance(value, bool) or value in ("true", "false")]
    message = track(properties, "Renamed")
    if not booleans:
        with pytest.raises(InvalidEvent):
            segment.read(message)
    else:
        expected = Operation.ADD if booleans[0] in (True, "true") else Operation.REMOVE
        assert operations(segment.read(message)) == [expected]
