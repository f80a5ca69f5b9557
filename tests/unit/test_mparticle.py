"""mParticle's membership messages: the rules of reading, and the traps of the fact sheet."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidEvent
from app.events import Identity, Kind, Operation
from app.formats import mparticle, mparticle_identities
from app.formats.mparticle import read
from app.formats.reading import MOST_IDENTITIES, Reading

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "mparticle"
ADDRESS = "ana.ruiz@example.org"
IDFA = "3F1C9A52-7D40-4B8E-9A61-0C2D5E7F8A90"
GAID = "c1d2e3f4-0a1b-4c2d-8e3f-405162738495"
SHA256 = "8aab84db0534eb9111a5fd6f12322bbedafa067301a7cb09d13bfbfad9b853d2"
ADD = {"action": "add"}


def identity(kind: str, value: object, encoding: object = "raw") -> dict[str, Any]:
    return {"type": kind, "encoding": encoding, "value": value}


def profile(**fields: Any) -> dict[str, Any]:
    return {
        "user_identities": [identity("email", ADDRESS)],
        "device_identities": [identity("ios_advertising_id", IDFA)],
        "audiences": [{"audience_id": 31001, "audience_name": "Lapsed buyers", "action": "add"}],
    } | fields


def message(*profiles: Any, **fields: Any) -> dict[str, Any]:
    return {
        "type": "audience_membership_change_request",
        "id": "0b7c2a1e-52f4-4a6f-9c58-6f0de3a41b77",
        "timestamp_ms": 1767265200123,
        "account": {"account_id": 4711, "account_settings": {}},
        "user_profiles": list(profiles or [profile()]),
    } | fields


def of_audiences(*audiences: dict[str, Any]) -> Reading:
    return read(message(profile(audiences=list(audiences))))


def of_devices(*devices: dict[str, Any]) -> list[Identity]:
    reading = read(message(profile(user_identities=[], device_identities=list(devices))))
    return [person for event in reading.events for person in event.identities]


# The traps of section 7, by their numbers


def test_trap_1_a_call_without_profiles_is_a_success_that_changes_nothing() -> None:
    call = message()
    del call["user_profiles"]
    assert read(call) == Reading(message_id=call["id"])


def test_trap_2_an_attribute_update_is_no_add() -> None:
    reading = of_audiences({"audience_id": 1, "action": "attribute_update"})
    assert reading == Reading(ignored=[mparticle.ATTRIBUTES_ONLY], message_id=reading.message_id)


def test_trap_3_delete_removes_and_remove_is_not_guessed() -> None:
    reading = of_audiences(
        {"audience_id": 1, "action": "delete"}, {"audience_id": 2, "action": "remove"}
    )
    assert [(event.audience, event.operation) for event in reading.events] == [
        ("1", Operation.REMOVE)
    ]
    assert [fault.field for fault in reading.faults] == ["user_profiles[0].audiences[1].action"]


def test_trap_4_bad_identities_profiles_and_entries_never_cost_the_rest() -> None:
    good = profile(user_identities=[identity("email", None), identity("email", ADDRESS), 5])
    good["audiences"] = [None, {"audience_id": "x", "action": "add"}, *good["audiences"]]
    reading = read(message("junk", profile(device_identities=7, audiences=[]), good))
    assert [event.identities for event in reading.events] == [
        (Identity(Kind.EMAIL, ADDRESS), Identity(Kind.IDFA, IDFA))
    ]
    assert len(reading.faults) == 6


@pytest.mark.parametrize("kind", ["android_id", "ios_vendor_id", "google"])
def test_trap_5_look_alikes_are_no_advertising_ids(kind: str) -> None:
    everywhere = [identity(kind, IDFA)]
    reading = read(message(profile(user_identities=everywhere, device_identities=everywhere)))
    assert reading.events == []
    assert reading.faults == []


@pytest.mark.parametrize("no", ["false", "False", " FALSE ", False])
@pytest.mark.parametrize("setting", ["forwardEmail", "forwardDeviceId"])
def test_trap_6_settings_are_text_and_false_is_false(setting: str, no: object) -> None:
    reading = read(message(account={"account_settings": {setting: no}}))
    kinds = {kind for event in reading.events for kind, _ in event.identities}
    assert kinds == ({Kind.IDFA} if setting == "forwardEmail" else {Kind.EMAIL})


def test_trap_7_a_person_has_several_idfas() -> None:
    other = "5B0E6D11-90AC-4F37-8E42-7A1B3C5D9E20"
    found = of_devices(*(identity("ios_advertising_id", value) for value in (IDFA, other)))
    assert found == [Identity(Kind.IDFA, IDFA), Identity(Kind.IDFA, other)]


def test_trap_14_seconds_are_told_from_milliseconds() -> None:
    [of_seconds] = read(message(timestamp_ms=1767265200)).events
    [of_milliseconds] = read(message(timestamp_ms=1767265200000)).events
    assert of_seconds.occurred_at_us == of_milliseconds.occurred_at_us == 1767265200000000


@pytest.mark.parametrize("number", [2**31, 2**63 - 1, -(2**63), 2**64 - 1])
def test_trap_15_big_and_negative_integers_keep_every_digit(number: int) -> None:
    reading = read(message(profile(mpid=number, audiences=[{"audience_id": number} | ADD])))
    assert [event.audience for event in reading.events] == [str(number)]


def test_trap_17_an_audience_is_known_by_its_id_and_its_latest_name_is_mentioned() -> None:
    reading = of_audiences(
        {"audience_id": 1, "audience_name": "Before"} | ADD,
        {"audience_id": 1, "audience_name": "After"} | ADD,
    )
    assert [event.audience for event in reading.events] == ["1", "1"]
    assert {key: mention.name for key, mention in reading.mentions.items()} == {"1": "After"}


# Further rules


def test_a_profiles_events_share_one_tuple_of_identities() -> None:
    first, second = of_audiences({"audience_id": 1} | ADD, {"audience_id": 2} | ADD).events
    assert first.identities is second.identities


def test_a_declared_raw_id_without_hyphens_is_no_md5_and_a_declared_md5_is_one() -> None:
    bare = GAID.replace("-", "")
    found = of_devices(
        identity("google_advertising_id", bare), identity("google_advertising_id", bare, "md5")
    )
    assert [value for _, value in found] == [GAID, bare]


def test_an_address_declared_as_a_digest_is_noted_but_not_among_device_ids() -> None:
    reading = read(
        message(
            profile(
                user_identities=[identity("email", ADDRESS, "sha256")],
                device_identities=[identity("ios_advertising_id", ADDRESS, "sha256")],
            )
        )
    )
    assert [event.identities for event in reading.events] == [(Identity(Kind.EMAIL, ADDRESS),)]
    assert len(reading.faults) == len(reading.noted) == 1


def test_a_setting_can_only_narrow() -> None:
    widened = {"audience_id": 1, "audience_subscription_settings": {"forwardEmail": "true"}} | ADD
    account = {"account_settings": {"forwardEmail": "false"}}
    [event] = read(message(profile(audiences=[widened]), account=account)).events
    assert event.identities == (Identity(Kind.IDFA, IDFA),)


def test_people_times_audiences_cannot_multiply_without_end() -> None:
    people = [identity("email", f"{n}@example.org") for n in range(1_000)]
    audiences = [{"audience_id": n} | ADD for n in range(MOST_IDENTITIES // 1_000)]
    whole = profile(user_identities=people, device_identities=[], audiences=audiences)
    assert len(read(message(whole)).events) == len(audiences)
    with pytest.raises(InvalidEvent) as refused:
        read(message(whole, profile()))
    assert refused.value.field == "user_profiles"


def test_a_message_is_not_changed_by_reading_it() -> None:
    given_message = message()
    before = copy.deepcopy(given_message)
    read(given_message)
    assert given_message == before


# Any JSON value at all

CANARY = "canary-7Qz"
TEXTS = st.text(max_size=8) | st.sampled_from(
    ["\x00", "\ud800", " ", "true", "false", "add", "delete", "raw", "md5", '"sha-1"', "9" * 400]
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXTS
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)
SECRETS = st.sampled_from(
    [
        f"{CANARY}@example.org",
        f" {CANARY}",
        f"{CANARY}\x00\ud800",
        [CANARY],
        {CANARY: CANARY},
        *(digits + CANARY for digits in (IDFA, GAID, SHA256)),
    ]
)
VALID = [
    json.loads(path.read_text(encoding="utf-8"))["message"]
    for path in sorted(GOLDEN.glob("*.json"))
]


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below a JSON value."""
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    else:
        return []
    return [(value, key) for key, _ in inner] + [
        place for _, child in inner for place in places_in(child)
    ]


@st.composite
def mutated_messages(draw: st.DrawFn) -> Any:
    """A valid message with some of its parts replaced, dropped or doubled, and secret values."""
    mutant = copy.deepcopy(draw(st.sampled_from(VALID)))
    for container, key in places_in(mutant):
        if key == "value" and "encoding" in container:
            container[key] = copy.deepcopy(draw(SECRETS))
    for _ in range(draw(st.integers(0, 4))):
        places = places_in(mutant)
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["replace", "drop", "double"]))
        if change == "replace":
            container[key] = draw(ANYTHING)
        elif change == "drop":
            del container[key]
        elif isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
    return mutant


CONSTANT = {
    mparticle.NO_IDENTITY,
    mparticle.ATTRIBUTES_ONLY,
    *mparticle.SWITCHED_OFF.values(),
    mparticle.UNREADABLE_SETTING,
    mparticle.UNREADABLE_TIME,
    mparticle.UNREADABLE_NAME,
    mparticle.ADDED_AND_REMOVED,
    mparticle_identities.ADDRESS_DECLARED_DIGEST,
    mparticle_identities.DIGEST_DECLARED_RAW,
}


@given(
    ANYTHING
    | mutated_messages()
    | st.builds(lambda profiles: message(user_profiles=profiles), ANYTHING)
    | st.builds(lambda audiences: message(profile(audiences=audiences)), ANYTHING)
)
def test_whatever_comes_is_read_or_refused_and_no_value_is_repeated(value: Any) -> None:
    try:
        reading = read(value)
    except InvalidEvent as problem:
        said = [problem.field, problem.reason]
    else:
        said = [text for fault in reading.faults for text in fault]
        assert {*reading.ignored, *reading.noted} <= CONSTANT
        assert {event.audience for event in reading.events} >= reading.mentions.keys()
        for event in reading.events:
            assert event.identities
            assert all(isinstance(text, str) for _, text in event.identities)
            assert event.audience.removeprefix("-").isdigit()
    assert not [text for text in said if CANARY in text]
