"""What mParticle asks beside memberships, and what it is answered."""

import json
from importlib.metadata import version
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidEvent
from app.formats.mparticle import read
from app.formats.mparticle_answers import (
    Subscription,
    kind_of,
    membership_answer,
    read_subscription,
    registration_answer,
    subscription_answer,
)

NOW_MS = 1767265200123
GUID = "9a1f4c3e-1111-4d2b-8c7a-2f6b5d4e3c21"
FACT_SHEETS_SUBSCRIPTION: dict[str, Any] = json.loads(
    """{"type":"audience_subscription_request","id":"9a1f4c3e-1111-4d2b-8c7a-2f6b5d4e3c21",
 "timestamp_ms":1767261600000,"firehose_version":"3.2.0",
 "account":{"account_id":4711,"account_settings":{"forwardEmail":"true"}},"audience_id":31001,
 "audience_name":"Lapsed buyers EU","previous_audience_subscription_settings":{"retention":"30"},
 "audience_subscription_settings":{"retention":"60"},"action":"update"}"""
)
ANSWERS = [registration_answer, subscription_answer, membership_answer]


def subscription(**fields: Any) -> dict[str, Any]:
    return FACT_SHEETS_SUBSCRIPTION | fields


def test_the_kind_of_a_message_is_its_type() -> None:
    assert kind_of({"type": "module_registration_request"}) == "module_registration_request"


@pytest.mark.parametrize("value", [None, [], "x", 5, {}, {"type": None}, {"type": ["x"]}])
def test_what_has_no_type_is_refused(value: object) -> None:
    with pytest.raises(InvalidEvent):
        kind_of(value)


def test_the_fact_sheets_subscription_is_read() -> None:
    assert read_subscription(FACT_SHEETS_SUBSCRIPTION) == Subscription(
        "31001", "Lapsed buyers EU", "update"
    )


@pytest.mark.parametrize("action", ["add", "update", "remove"])
def test_a_subscription_is_added_updated_or_removed(action: str) -> None:
    assert read_subscription(subscription(action=action)).action == action


UNUSABLE: dict[str, list[object]] = {
    "action": ["delete", "", None, 1, ["add"]],
    "audience_id": [None, "", "VIP", 3.5, True, {}],
    "type": ["audience_membership_change_request", None],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in UNUSABLE for value in UNUSABLE[field]]
)
def test_a_subscription_that_cannot_be_used_is_refused_by_field(field: str, value: object) -> None:
    with pytest.raises(InvalidEvent) as refused:
        read_subscription(subscription(**{field: value}))
    assert refused.value.field == field


@pytest.mark.parametrize("name", [None, " ", 7, "x" * 1_001, "a\x00b"])
def test_a_subscription_without_a_usable_name_has_none(name: object) -> None:
    assert read_subscription(subscription(audience_name=name)).name is None


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_repeats_the_requests_guid_and_version(answer: Any) -> None:
    answered = answer(subscription(firehose_version="2.8.1"), NOW_MS)
    assert answered["id"] == GUID
    assert answered["firehose_version"] == "2.8.1"
    assert answered["timestamp_ms"] == NOW_MS


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("given_id", [None, "m-1", 5, f"{{{GUID}}}", GUID + "\n", GUID[:-1]])
def test_an_answer_to_an_id_that_is_no_guid_has_a_fresh_one(answer: Any, given_id: object) -> None:
    first, second = (answer(subscription(id=given_id), NOW_MS)["id"] for _ in range(2))
    assert str(UUID(first)) == first != second


@pytest.mark.parametrize("spoken", [None, "", " ", 3, "3" * 21, "\ud800", ["3.2.0"]])
def test_an_answer_to_no_usable_version_speaks_the_current_one(spoken: object) -> None:
    answered = membership_answer(subscription(firehose_version=spoken), NOW_MS)
    assert answered["firehose_version"] == "3.2.0"


def test_the_answers_are_of_the_protocols_types() -> None:
    assert [answer({}, NOW_MS)["type"] for answer in ANSWERS] == [
        "module_registration_response",
        "audience_subscription_response",
        "audience_membership_change_response",
    ]


def test_a_membership_answer_never_suspends() -> None:
    assert membership_answer({"id": GUID}, NOW_MS) == {
        "type": "audience_membership_change_response",
        "id": GUID,
        "timestamp_ms": NOW_MS,
        "firehose_version": "3.2.0",
        "suspend_subscription": False,
    }


def test_registration_asks_for_raw_identities_and_requires_none() -> None:
    assert registration_answer({}, NOW_MS)["permissions"] == {
        "user_identities": [{"type": "email", "encoding": "raw", "required": False}],
        "device_identities": [
            {"type": "ios_advertising_id", "encoding": "raw", "required": False},
            {"type": "google_advertising_id", "encoding": "raw", "required": False},
        ],
    }


def test_registration_says_who_answers() -> None:
    answered = registration_answer({}, NOW_MS)
    assert (answered["name"], answered["version"]) == ("Pinfold", version("pinfold"))
    assert 0 < len(answered["description"]) < 230
    assert registration_answer({}, NOW_MS, "9.9")["version"] == "9.9"


@pytest.mark.parametrize("level", ["account_settings", "audience_subscription_settings"])
def test_the_settings_that_are_registered_are_those_that_are_read(level: str) -> None:
    settings = registration_answer({}, NOW_MS)["audience_processing_registration"][level]
    for setting in settings:
        assert setting["type"] == "boolean"
        assert setting["visible"] is setting["default_value"] is setting["checked"] is True
    switched_off = {setting["id"]: "false" for setting in settings}
    audience = {"audience_id": 1, "action": "add"}
    account: dict[str, Any] = {}
    (account if level == "account_settings" else audience)[level] = switched_off
    reading = read(
        {
            "type": "audience_membership_change_request",
            "account": account,
            "user_profiles": [
                {
                    "user_identities": [{"type": "email", "encoding": "raw", "value": "a@b.org"}],
                    "device_identities": [
                        {"type": "ios_advertising_id", "encoding": "raw", "value": "x"}
                    ],
                    "audiences": [audience],
                }
            ],
        }
    )
    assert reading.events == []
    assert len(reading.ignored) == 2


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
)


@given(st.dictionaries(st.sampled_from([*FACT_SHEETS_SUBSCRIPTION]), ANYTHING) | ANYTHING)
def test_whatever_comes_is_read_or_refused_and_answered_in_json(value: Any) -> None:
    for request in (value, FACT_SHEETS_SUBSCRIPTION | value if isinstance(value, dict) else value):
        try:
            found = read_subscription(request)
        except InvalidEvent:
            pass
        else:
            assert found.action in ("add", "update", "remove")
        for answer in ANSWERS:
            assert json.dumps(answer(request, NOW_MS), allow_nan=False).encode("utf-8")
