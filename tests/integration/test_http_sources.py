"""`/in/NAME` over a socket: each format at its address, who may deliver, and what is answered."""

import hmac
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
import requests

from app.api import access
from app.audiences import activate, deactivate
from app.deployment import Deployment
from app.events import Kind
from app.formats.reading import Dialect
from app.sandbox.stack import free_port
from app.sources import add_secret, add_signing_key, find_source, list_sources, remove_source
from app.sources import revoke_secret as revoke
from tests.doorbells import RecordingDoorbell
from tests.integration.processes import eventually
from tests.service import Service, running_service
from tests.staged import receipts, staged_changes, staged_messages
from tests.upstream import MAKERS, membership, mparticle, own, profile, rudderstack, segment
from tests.workshop import Workshop, address, device, short_settings

FORMATS = tuple(MAKERS)
SENT_AGAIN = {408, 429, 500, 502, 503, 504}
"""The statuses that mParticle retries; after any other the data are lost."""
VALUE = "sealed.envelope@nowhere"


def emails_staged(workshop: Workshop) -> list[str]:
    return [change.value for change in staged_changes(workshop)]


# Every format at its own address.


@pytest.mark.parametrize("name", FORMATS)
def test_a_message_of_each_format_is_staged(
    workshop: Workshop, service: Service, name: str
) -> None:
    secret = service.source(name, name)
    assert service.post(f"/in/{name}", secret, json=MAKERS[name](7)).status_code == 200
    assert staged_changes(workshop) == [("31001", "add", "email", address(7))]


@pytest.mark.parametrize("name", ["events", "segment", "rudderstack"])
def test_many_messages_of_a_format_come_in_one_body(
    workshop: Workshop, service: Service, name: str
) -> None:
    secret = service.source(name, name)
    made = [MAKERS[name](number) for number in range(6)]
    bodies: list[object] = [made[:2], {"batch": made[2:4]}]
    for body in bodies:
        answer = service.post(f"/in/{name}", secret, json=body)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    lines = "\n".join(map(json.dumps, made[4:]))
    assert service.post(f"/in/{name}", secret, data=lines).json()["accepted"] == 2
    assert emails_staged(workshop) == [address(number) for number in range(6)]


@pytest.mark.parametrize("name", ["events", "segment", "rudderstack"])
def test_each_message_is_answered_for_itself(
    workshop: Workshop, service: Service, name: str
) -> None:
    secret = service.source(name, name)
    body = [MAKERS[name](1), VALUE, MAKERS[name](2), {"type": 1}, MAKERS[name](3, 404), {}]
    answer = service.post(f"/in/{name}", secret, json=body)
    told = answer.json()
    assert (answer.status_code, told["accepted"], told["rejected"]) == (200, 2, 4)
    assert [error["index"] for error in told["errors"]] == [1, 3, 4, 5]
    assert all(error["field"] and error["reason"] for error in told["errors"])
    assert VALUE not in answer.text
    assert emails_staged(workshop) == [address(1), address(2)]


@pytest.mark.parametrize("name", ["events", "segment", "rudderstack"])
def test_a_body_of_which_nothing_can_be_used_is_answered_422(service: Service, name: str) -> None:
    secret = service.source(name, name)
    assert service.post(f"/in/{name}", secret, json=[VALUE, None]).status_code == 422
    assert service.post(f"/in/{name}", secret, json=MAKERS[name](1, 404)).status_code == 422


@pytest.mark.parametrize("name", FORMATS)
def test_a_body_that_is_no_json_is_refused_without_its_text(service: Service, name: str) -> None:
    secret = service.source(name, name)
    for body in ("", '{"email": "%s', "%s", '{"a": "%s"} x'):
        answer = service.post(f"/in/{name}", secret, data=body.replace("%s", VALUE))
        assert answer.status_code == 400
        assert VALUE not in answer.text


def test_a_source_of_events_heeds_idempotency_keys(workshop: Workshop, service: Service) -> None:
    secret, headers = service.source("shop", "events"), {"Idempotency-Key": "call-1"}
    first = service.post("/in/shop", secret, json=own(1), headers=headers)
    again = service.post("/in/shop", secret, json=own(1), headers=headers)
    other = service.post("/in/shop", secret, json=own(2), headers=headers)
    assert (first.status_code, again.content, other.status_code) == (200, first.content, 409)
    assert staged_messages(workshop) == 1


def test_a_source_knows_its_own_dialect(workshop: Workshop, service: Service) -> None:
    dialect = Dialect("31001", "is_vip", {"mail_addr": Kind.EMAIL})
    secret = service.source("warehouse", "rudderstack", dialect=dialect)
    record = {"type": "record", "action": "insert", "fields": {"MAIL_ADDR": address(1)}}
    trait = {"type": "identify", "traits": {"is_vip": False, "email": address(2)}}
    assert service.post("/in/warehouse", secret, json=[record, trait]).json()["accepted"] == 2
    assert [change[1::2] for change in staged_changes(workshop)] == [
        ("add", address(1)),
        ("remove", address(2)),
    ]


# Who may deliver.


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("secret", [None, "", "unknown"])
def test_without_its_secret_a_source_takes_nothing(
    workshop: Workshop, service: Service, name: str, secret: str | None
) -> None:
    service.source(name, name)
    answer = service.post(f"/in/{name}", secret, json=MAKERS[name]())
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"]
    assert receipts(workshop) == 0


def test_a_source_that_does_not_exist_answers_as_one_with_another_secret(
    service: Service,
) -> None:
    service.source("shop", "events")
    known = service.post("/in/shop", "unknown", json=own())
    for name in ("nowhere", "Shop", "shop%00", "%00", "%ff", "a" * 5_000):
        unknown = service.post(f"/in/{name}", "unknown", json=own())
        assert unknown.status_code == 401
        assert unknown.content == known.content


@pytest.mark.parametrize("name", FORMATS)
def test_neither_a_token_nor_the_secret_of_another_source_opens_one(
    workshop: Workshop, service: Service, name: str
) -> None:
    service.source(name, name)
    for secret in (service.token("administer"), service.source("other", name)):
        assert service.post(f"/in/{name}", secret, json=MAKERS[name]()).status_code == 401
    assert receipts(workshop) == 0


def test_a_secret_is_shown_in_several_ways(service: Service) -> None:
    secret = service.source("shop", "mparticle")
    for scheme in ("Bearer", "Token", "token"):
        headers = {"Authorization": f"{scheme} {secret}"}
        assert service.post("/in/shop", json=mparticle(), headers=headers).status_code == 200
    assert service.post("/in/shop", json=mparticle(), auth=("mp", secret)).status_code == 200


def test_several_secrets_are_good_at_once_until_one_is_revoked(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.access.KEPT_S", 0.0)
    old = service.source("shop", "events")
    source = find_source(service.deployment, "shop")
    new = add_secret(service.deployment, source.id)
    for secret in (old, new):
        assert service.post("/in/shop", secret, json=own()).status_code == 200
    ((listed),) = list_sources(service.deployment)
    revoke(service.deployment, source.id, listed.secrets[0].secret_id)
    assert service.post("/in/shop", old, json=own()).status_code == 401
    assert service.post("/in/shop", new, json=own()).status_code == 200


def test_what_was_kept_of_a_source_is_forgotten_in_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.access.KEPT_S", 0.3)
    secret = service.source("shop", "events")
    assert service.post("/in/shop", secret, json=own()).status_code == 200
    remove_source(service.deployment, find_source(service.deployment, "shop").id)

    def is_refused() -> bool:
        return service.post("/in/shop", secret, json=own()).status_code == 401

    assert eventually(is_refused, 5)


def test_a_new_source_lets_in_who_was_refused_before_it_was_there(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.access.KEPT_S", 0.0)
    assert service.post("/in/shop", "unknown", json=own()).status_code == 401
    secret = service.source("shop", "events")
    assert service.post("/in/shop", secret, json=own()).status_code == 200


def test_a_new_secret_lets_in_within_a_moment(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.access.NEWS_S", 0.3)
    assert service.post("/in/shop", service.source("shop", "events"), json=own()).ok
    new = add_secret(service.deployment, find_source(service.deployment, "shop").id)
    assert eventually(lambda: service.post("/in/shop", new, json=own()).ok, 5)
    token = service.token()
    assert eventually(lambda: service.post("/v1/events", token, json=own()).ok, 5)


def test_guessing_costs_the_database_next_to_nothing(
    workshop: Workshop, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.access.NEWS_S", 60.0)
    read: list[object] = []
    reading = access._read
    monkeypatch.setattr(access, "_read", lambda *known: read.append(known) or reading(*known))
    for number in range(50):
        assert service.post(f"/in/shop{number}", f"guess{number}", json=own()).status_code == 401
        assert service.post("/v1/events", f"guess{number}", json=own()).status_code == 401
    assert len(read) <= 2


def test_a_name_that_is_free_again_has_no_old_secret(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.access.KEPT_S", 0.0)
    old = service.source("shop", "events")
    remove_source(service.deployment, find_source(service.deployment, "shop").id)
    new = service.source("shop", "segment")
    assert service.post("/in/shop", old, json=segment()).status_code == 401
    assert service.post("/in/shop", new, json=segment()).status_code == 200


def test_secrets_stand_in_the_database_as_digests_and_keys_sealed(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("shop", "segment")
    key = add_signing_key(service.deployment, find_source(service.deployment, "shop"))
    rows = workshop.rows("SELECT source_secret::text AS everything FROM source_secret")
    for row in rows:
        for text in (secret, key):
            assert text not in row.everything
            assert text.encode().hex() not in row.everything


# One connection's audiences are its own.


@pytest.fixture
def two(workshop: Workshop, service: Service) -> Service:
    """A second connection with an audience of the same upstream id."""
    workshop.connect("other")
    activate(workshop.deployment, "VIP", "31001", "other")
    return service


@pytest.mark.parametrize("name", FORMATS)
def test_a_source_reaches_the_audiences_of_its_connection_only(
    workshop: Workshop, two: Service, name: str
) -> None:
    secret = two.source(name, name, "other")
    assert two.post(f"/in/{name}", secret, json=MAKERS[name](1)).status_code == 200
    rows = workshop.rows(
        "SELECT connection.name FROM staged_chunk JOIN audience ON audience.id = audience_id"
        "  JOIN connection ON connection.id = connection_id"
    )
    assert rows == [("other",)]


@pytest.mark.parametrize("name", FORMATS)
def test_a_source_does_not_reach_what_only_another_connection_activated(
    workshop: Workshop, two: Service, name: str
) -> None:
    activate(workshop.deployment, "Mains", "31002", "main")
    secret = two.source(name, name, "other")
    two.post(f"/in/{name}", secret, json=MAKERS[name](1, 31002))
    assert staged_messages(workshop) == 0


def test_a_further_name_of_an_audience_does_not_lead_to_another_connection(
    workshop: Workshop, two: Service
) -> None:
    activate(workshop.deployment, "Mains", "31002", "main")
    secret = two.source("seg", "segment", "other")
    event = segment(1, 31002)
    event["context"]["personas"] |= {"external_audience_id": "e-1", "computation_id": "aud_1"}
    assert two.post("/in/seg", secret, json=event).status_code == 422
    assert staged_messages(workshop) == 0


def test_an_audience_is_found_by_any_of_its_names(workshop: Workshop, service: Service) -> None:
    secret = service.source("seg", "segment", activate_unknown=True)
    event = segment(1, 31001)
    event["context"]["personas"] |= {"external_audience_id": "e-1", "computation_id": "aud_1"}
    assert service.post("/in/seg", secret, json=event).json()["accepted"] == 1
    assert [change.audience for change in staged_changes(workshop)] == ["31001"]
    assert workshop.value("SELECT count(*) FROM audience") == 1


def test_a_subscription_changes_no_audience_of_another_connection(
    workshop: Workshop, two: Service
) -> None:
    secret = two.source("mp", "mparticle", "other", activate_unknown=True)
    answer = two.post("/in/mp", secret, json=subscription("remove"))
    assert answer.status_code == 200
    query = (
        "SELECT connection.name, state FROM audience JOIN connection ON connection.id ="
        " connection_id ORDER BY connection.name"
    )
    assert workshop.rows(query) == [("main", "active"), ("other", "deactivated")]


# Audiences that nobody activated.


@pytest.mark.parametrize("name", ["mparticle", "segment", "rudderstack"])
def test_an_unknown_audience_is_rejected_and_counted(
    workshop: Workshop, service: Service, name: str
) -> None:
    secret = service.source(name, name)
    answer = service.post(f"/in/{name}", secret, json=MAKERS[name](1, 404))
    assert answer.status_code == (200 if name == "mparticle" else 422)
    assert workshop.value("SELECT count(*) FROM audience") == 1
    ((rejected,),) = workshop.rows("SELECT rejected FROM receipt")
    assert sum(rejected.values()) == 1
    assert "not activated" in next(iter(rejected))


@pytest.mark.parametrize(("name", "called"), [("mparticle", "A 77"), ("segment", "77")])
def test_an_unknown_audience_is_activated_under_its_name_where_the_source_says_so(
    workshop: Workshop, serve: Callable[..., Service], name: str, called: str
) -> None:
    workshop.connect()
    doorbell = RecordingDoorbell()
    service = serve(workshop, doorbell)
    secret = service.source(name, name, activate_unknown=True)
    for number in range(3):
        answer = service.post(f"/in/{name}", secret, json=MAKERS[name](number, 77))
        assert answer.status_code == 200
    assert workshop.rows("SELECT upstream_id, name FROM audience") == [("77", called)]
    lists = workshop.rows("SELECT id, name FROM customer_list ORDER BY name")
    assert [each.name for each in lists] == [f"{called}-EMAIL", f"{called}-MAID"]
    assert sorted(doorbell.deliveries) == sorted(each.id for each in lists)
    assert emails_staged(workshop) == [address(number) for number in range(3)]


def test_an_audience_that_is_met_by_many_at_once_is_activated_once(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("mp", "mparticle", activate_unknown=True)
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda number: service.post("/in/mp", secret, json=mparticle(number, 77)), range(16)
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    assert workshop.value("SELECT count(*) FROM audience WHERE upstream_id = '77'") == 1
    assert sorted(emails_staged(workshop)) == sorted(map(address, range(16)))


def test_an_audience_is_known_by_its_id_whatever_it_is_called_now(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("mp", "mparticle", activate_unknown=True)
    renamed = profile(1, 31001)
    renamed["audiences"][0]["audience_name"] = "Renamed"
    assert service.post("/in/mp", secret, json=membership(renamed)).status_code == 200
    assert workshop.rows("SELECT name FROM audience") == [("VIP",)]
    assert staged_messages(workshop) == 1


@pytest.mark.parametrize("name", ["mparticle", "segment"])
def test_an_audience_that_a_person_deactivated_is_not_activated_by_a_message(
    workshop: Workshop, service: Service, name: str
) -> None:
    deactivate(workshop.deployment, workshop.value("SELECT id FROM audience"))
    secret = service.source(name, name, activate_unknown=True)
    service.post(f"/in/{name}", secret, json=MAKERS[name]())
    assert workshop.rows("SELECT state FROM audience") == [("deactivated",)]
    assert staged_messages(workshop) == 0
    assert "deactivated" in str(workshop.rows("SELECT rejected FROM receipt"))


def test_an_audience_that_is_deactivated_meanwhile_takes_no_more_events(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("mp", "mparticle", activate_unknown=True)
    service.post("/in/mp", secret, json=mparticle(1))
    deactivate(workshop.deployment, workshop.value("SELECT id FROM audience"))
    service.post("/in/mp", secret, json=mparticle(2))
    assert emails_staged(workshop) == [address(1)]
    assert workshop.rows("SELECT state FROM audience") == [("deactivated",)]


@pytest.mark.parametrize(
    ("sent", "made"),
    [
        ("two\nlines", "two lines"),
        ("K\u00e4ufer\u00a0DE", "K\u00e4ufer DE"),
        ("\u200bhidden\u0007", "hidden"),
        ("x" * 250, "x" * 200),
        ("\u0007", "77"),
        (None, "77"),
    ],
)
def test_a_name_that_pinterest_could_not_have_is_made_one_and_loses_nobody(
    workshop: Workshop, service: Service, sent: str | None, made: str
) -> None:
    secret = service.source("mp", "mparticle", activate_unknown=True)
    odd = profile(1, 77)
    odd["audiences"][0]["audience_name"] = sent
    answer = service.post("/in/mp", secret, json=membership(odd, profile(2, 31001)))
    assert answer.status_code == 200
    assert sorted(emails_staged(workshop)) == [address(1), address(2)]
    assert workshop.value("SELECT name FROM audience WHERE upstream_id = '77'") == made


def test_a_message_of_which_nothing_was_accepted_may_come_again(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("seg", "segment")
    message = segment(1, 31002, messageId="m-1")
    assert service.post("/in/seg", secret, json=message).json()["accepted"] == 0
    workshop.activate("31002", "Later")
    assert service.post("/in/seg", secret, json=message).json()["accepted"] == 1
    assert service.post("/in/seg", secret, json=message).json()["duplicates"] == 1


def test_an_id_that_is_used_for_something_else_loses_nobody(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("mp", "mparticle", activate_unknown=True)
    for number in (1, 2, 2):
        service.post("/in/mp", secret, json=membership(profile(number, 31001)) | {"id": "same"})
    assert sorted(emails_staged(workshop)) == [address(1), address(2)]


def test_a_source_that_was_made_anew_remembers_nothing_of_the_one_before(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("mp", "mparticle", activate_unknown=True)
    message = membership(profile(1, 31001))
    service.post("/in/mp", secret, json=message)
    remove_source(service.deployment, find_source(service.deployment, "mp").id)
    again = service.source("mp", "mparticle", activate_unknown=True)
    service.post("/in/mp", again, json=message)
    assert emails_staged(workshop) == [address(1)] * 2


def test_a_subscription_that_comes_late_undoes_no_newer_one(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("mp", "mparticle", activate_unknown=True)
    for action, at_ms in (("add", 1_000), ("remove", 2_000), ("add", 3_000), ("remove", 2_000)):
        late = subscription(action, timestamp_ms=1_767_261_600_000 + at_ms)
        assert service.post("/in/mp", secret, json=late).status_code == 200
    assert workshop.rows("SELECT state FROM audience") == [("active",)]


def test_a_subscription_from_the_future_does_not_close_the_door_behind_it(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("mp", "mparticle", activate_unknown=True)
    in_2100 = subscription("add", timestamp_ms=4_102_444_800_000)
    now = {name: each for name, each in subscription("remove").items() if name != "timestamp_ms"}
    for request in (in_2100, now):
        assert service.post("/in/mp", secret, json=request).status_code == 200
    assert workshop.rows("SELECT state FROM audience") == [("deactivated",)]


@pytest.mark.parametrize("reference", ["x" * 300, "\u200b", "\u200b" * 300])
def test_an_audience_whose_id_can_be_no_name_is_activated_all_the_same(
    workshop: Workshop, service: Service, reference: str
) -> None:
    secret = service.source("crm", "events", activate_unknown=True)
    event = {"audience": reference, "operation": "add", "email": address(1)}
    assert service.post("/in/crm", secret, json=event).json()["accepted"] == 1


def test_an_id_that_is_too_long_for_an_index_is_refused_and_spoils_nothing(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("crm", "events", activate_unknown=True)
    long = "".join(map(chr, range(0x4E00, 0x4E00 + 1_000)))  # 3,000 bytes that hardly compress
    events = [
        {"audience": audience, "operation": "add", "email": address(1)}
        for audience in (long, "31001", long[:600])
    ]
    answer = service.post("/in/crm", secret, json=events)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)


def test_a_source_of_our_own_form_activates_an_audience_under_its_id(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("crm", "events", activate_unknown=True)
    event = {"audience": "new one", "operation": "add", "email": address(1)}
    assert service.post("/in/crm", secret, json=event).json()["accepted"] == 1
    made = workshop.rows("SELECT name FROM audience WHERE upstream_id = 'new one'")
    assert made == [("new one",)]


def test_more_new_audiences_than_a_call_may_activate_are_activated_call_after_call(
    workshop: Workshop, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.accepting.ACTIVATED_AT_ONCE", 2)
    secret = service.source("mp", "mparticle", activate_unknown=True)
    message = membership(*(profile(number, 31001 + number) for number in range(1, 6)))
    answers = [service.post("/in/mp", secret, json=message) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert "Retry-After" in answers[0].headers
    assert len(emails_staged(workshop)) == 5


# mParticle's partner protocol.


def subscription(action: str, audience: object = 31001, **more: Any) -> dict[str, Any]:
    return {
        "type": "audience_subscription_request",
        "id": "9a1f4c3e-1111-4d2b-8c7a-2f6b5d4e3c21",
        "timestamp_ms": 1_767_261_600_000,
        "firehose_version": "3.2.0",
        "account": {"account_id": 4711, "account_settings": {}},
        "audience_id": audience,
        "audience_name": "Lapsed buyers",
        "action": action,
    } | more


def assert_answers(answer: requests.Response, kind: str, request: dict[str, Any]) -> dict[str, Any]:
    """The envelope of every answer of the protocol (event-formats, 2.1 and 2.2)."""
    told: dict[str, Any] = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert told["type"] == kind
    assert UUID(told["id"])
    assert isinstance(told["timestamp_ms"], int)
    assert told["firehose_version"] == request.get("firehose_version", "3.2.0")
    return told


def test_registration_works_without_a_secret(workshop: Workshop, service: Service) -> None:
    service.source("mp", "mparticle")
    request = {
        "type": "module_registration_request",
        "id": "7d0d6c1b-9a52-4d0e-8f00-3a5c1b2d4e6f",
        "timestamp_ms": 1_767_258_000_000,
    }
    for secret in (None, "unknown"):
        answer = service.post("/in/mp", secret, json=request)
        assert answer.status_code == 200
        told = assert_answers(answer, "module_registration_response", request)
        assert (told["id"], told["name"]) == (request["id"], "Pinfold")
        assert 0 < len(told["description"]) < 230
        wanted = told["permissions"]["user_identities"] + told["permissions"]["device_identities"]
        assert {each["type"] for each in wanted} == {
            "email",
            "ios_advertising_id",
            "google_advertising_id",
        }
        settings = told["audience_processing_registration"]["account_settings"]
        assert {each["id"] for each in settings} == {"forwardEmail", "forwardDeviceId"}
    assert receipts(workshop) == 0


def test_registration_is_of_sources_of_its_format_only(service: Service) -> None:
    service.source("seg", "segment")
    request = {"type": "module_registration_request", "id": "1"}
    assert service.post("/in/seg", json=request).status_code == 401
    assert service.post("/in/nowhere", json=request).status_code == 401


@pytest.mark.parametrize("message", [membership(profile()), subscription("remove"), {"type": "x"}])
def test_everything_but_registration_needs_the_secret(
    workshop: Workshop, service: Service, message: dict[str, Any]
) -> None:
    service.source("mp", "mparticle", activate_unknown=True)
    for secret in (None, "unknown"):
        assert service.post("/in/mp", secret, json=message).status_code == 401
    assert workshop.rows("SELECT state FROM audience") == [("active",)]
    assert receipts(workshop) == 0


def test_a_long_message_with_a_wrong_secret_is_told_that_its_secret_is_wrong(
    service: Service,
) -> None:
    service.source("mp", "mparticle")
    message = membership(*map(profile, range(1_000)))
    assert service.post("/in/mp", "unknown", json=message).status_code == 401


def test_verification_without_profiles_succeeds_and_changes_nothing(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("mp", "mparticle")
    request = membership(id="0b7c2a1e-52f4-4a6f-9c58-6f0de3a41b77")
    for profiles in ({}, {"user_profiles": None}, {"user_profiles": []}):
        message = {k: v for k, v in request.items() if k != "user_profiles"} | profiles
        answer = service.post("/in/mp", secret, json=message)
        assert answer.status_code == 200
        told = assert_answers(answer, "audience_membership_change_response", request)
        assert (told["id"], told["suspend_subscription"]) == (request["id"], False)
    assert staged_messages(workshop) == 0


def test_a_membership_change_is_staged_and_answered_in_the_protocols_form(
    workshop: Workshop, service: Service
) -> None:
    workshop.activate("31002", "Cart")
    secret = service.source("mp", "mparticle")
    request = membership(
        {
            "mpid": "-812345678901234567",
            "user_identities": [
                {"type": "email", "encoding": "raw", "value": address(1)},
                {"type": "customer", "encoding": "raw", "value": "C-99"},
                {"type": "google", "encoding": "raw", "value": device(3)},
            ],
            "device_identities": [
                {"type": "ios_advertising_id", "encoding": "raw", "value": device(1)},
                {"type": "ios_vendor_id", "encoding": "raw", "value": device(4)},
                {"type": "android_id", "encoding": "raw", "value": device(5)},
            ],
            "audiences": [
                {"audience_id": 31001, "audience_name": "VIP", "action": "add"},
                {"audience_id": 31002, "audience_name": "Cart", "action": "delete"},
                {"audience_id": 31001, "audience_name": "VIP", "action": "attribute_update"},
            ],
        },
        id="not a guid",
    )
    answer = service.post("/in/mp", secret, json=request)
    assert answer.status_code == 200
    assert_answers(answer, "audience_membership_change_response", request)
    assert sorted(staged_changes(workshop)) == [
        ("31001", "add", "email", address(1)),
        ("31001", "add", "idfa", device(1)),
        ("31002", "remove", "email", address(1)),
        ("31002", "remove", "idfa", device(1)),
    ]


def test_version_1_and_the_dialect_in_the_wild_are_taken(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("mp", "mparticle", activate_unknown=True)
    old = {
        "type": "audience_membership_change_request",
        "id": "v1",
        "user_profiles": [
            profile(1)
            | {"audiences": None}
            | {"added_audiences": [{"audience_id": 31001, "audience_name": "VIP"}]}
            | {"removed_audiences": []}
        ],
    }
    digest = "8aab84db0534eb9111a5fd6f12322bbedafa067301a7cb09d13bfbfad9b853d2"
    wild = {
        "type": "audience_membership_change_request",
        "id": "dialect",
        "user_profiles": [
            {
                "user_identities": [
                    {"type": "email", "encoding": '"sha-256"', "value": digest},
                    {"type": "loyalty", "encoding": '"sha-256"', "value": "x"},
                ],
                "audiences": [{"audience_id": 2**40, "audience_name": "Far", "action": "add"}],
            }
        ],
    }
    for message in (old, wild):
        assert service.post("/in/mp", secret, json=message).status_code == 200
    assert emails_staged(workshop) == [address(1), digest]


@pytest.mark.parametrize(
    ("switch", "left"), [("forwardEmail", device(1)), ("forwardDeviceId", address(1))]
)
def test_settings_that_say_false_in_text_are_respected(
    workshop: Workshop, service: Service, switch: str, left: str
) -> None:
    secret = service.source("mp", "mparticle")
    person = profile(1)
    person["device_identities"] = [
        {"type": "google_advertising_id", "encoding": "raw", "value": device(1)}
    ]
    account = {"account_id": 4711, "account_settings": {switch: "false"}}
    service.post("/in/mp", secret, json=membership(person, account=account))
    assert emails_staged(workshop) == [left]
    person["audiences"][0]["audience_subscription_settings"] = {switch: "false"}
    service.post("/in/mp", secret, json=membership(person))
    assert emails_staged(workshop) == [left, left]


def test_one_bad_identity_never_costs_the_message(workshop: Workshop, service: Service) -> None:
    secret = service.source("mp", "mparticle")
    bad: list[object] = [
        {"type": "email", "encoding": "raw", "value": VALUE},
        {"type": "email", "encoding": "rot13", "value": address(9)},
        {"type": "email", "encoding": "raw", "value": None},
        {"type": "email", "encoding": "sha256", "value": "too short"},
        {"type": 17},
        {},
        VALUE,
        None,
        [[]],
    ]
    people: list[object] = []
    for number, identity in enumerate(bad):
        person = profile(number)
        person["user_identities"] = [identity, *person["user_identities"], identity]
        people.append(person)
    alone = profile(99)
    alone["user_identities"] = bad
    answer = service.post("/in/mp", secret, json=membership(alone, 17, *people, None, "x"))
    assert answer.status_code == 200
    assert VALUE not in answer.text
    assert emails_staged(workshop) == [address(number) for number in range(len(bad))]


def test_what_was_wrong_within_a_message_is_counted(workshop: Workshop, service: Service) -> None:
    secret = service.source("mp", "mparticle")
    person = profile(1)
    person["user_identities"] = [{"type": "email", "encoding": "raw", "value": "junk"}]
    service.post("/in/mp", secret, json=membership(person, profile(2)))
    ((accepted, rejected),) = workshop.rows("SELECT accepted, rejected FROM receipt")
    assert accepted == 1
    assert sum(rejected.values()) == 1


@pytest.mark.parametrize(
    "message",
    [
        {"type": "event_processing_request", "id": "1"},
        {"type": "dsr_processing_request", "id": "1"},
        {"type": "audience_membership_change_response", "id": "1"},
        {"type": VALUE},
        {"type": None},
        {},
        [],
        [membership(profile())],
        VALUE,
        None,
        membership() | {"user_profiles": VALUE},
        membership() | {"user_profiles": {VALUE: 1}},
        subscription(VALUE),
        subscription("delete"),
        subscription("add", VALUE),
        subscription("add", None),
    ],
)
def test_what_can_never_be_used_is_answered_with_a_status_that_is_not_retried(
    workshop: Workshop, service: Service, message: object
) -> None:
    secret = service.source("mp", "mparticle", activate_unknown=True)
    answer = service.post("/in/mp", secret, data=json.dumps(message))
    assert 400 <= answer.status_code < 500
    assert answer.status_code not in SENT_AGAIN
    assert VALUE not in answer.text
    assert staged_messages(workshop) == 0


def test_a_message_that_comes_again_is_staged_once_and_answered_alike(
    workshop: Workshop, service: Service, serve: Callable[..., Service]
) -> None:
    secret = service.source("mp", "mparticle")
    message = mparticle(1, id="0b7c2a1e-52f4-4a6f-9c58-6f0de3a41b77")
    for running in (service, service, serve(workshop)):
        answer = running.post("/in/mp", secret, json=message)
        assert answer.status_code == 200
        assert_answers(answer, "audience_membership_change_response", message)
    assert emails_staged(workshop) == [address(1)]


def test_a_message_that_comes_many_times_at_once_is_staged_once(
    workshop: Workshop, service: Service
) -> None:
    secret, message = service.source("mp", "mparticle"), mparticle(1, id="m-1")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.post("/in/mp", secret, json=message), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert emails_staged(workshop) == [address(1)]


def test_an_id_is_that_of_one_source_only(workshop: Workshop, service: Service) -> None:
    for name in ("one", "two"):
        secret = service.source(name, "mparticle")
        service.post(f"/in/{name}", secret, json=mparticle(1, id="m-1"))
    assert staged_messages(workshop) == 2


# mParticle: an audience is connected, changed, disconnected.


@pytest.fixture
def doorbell() -> RecordingDoorbell:
    return RecordingDoorbell()


@pytest.fixture
def subscribing(
    workshop: Workshop, serve: Callable[..., Service], doorbell: RecordingDoorbell
) -> tuple[Service, str]:
    """A service and the secret of /in/mp, which may activate; no audience is there yet."""
    workshop.connect()
    service = serve(workshop, doorbell)
    return service, service.source("mp", "mparticle", activate_unknown=True)


def states(workshop: Workshop) -> list[tuple[str, str, str]]:
    rows = workshop.rows("SELECT upstream_id, name, state FROM audience ORDER BY id")
    return [tuple(row) for row in rows]


def test_connecting_activates_and_rings(
    workshop: Workshop, subscribing: tuple[Service, str], doorbell: RecordingDoorbell
) -> None:
    service, secret = subscribing
    request = subscription("add")
    answer = service.post("/in/mp", secret, json=request)
    assert answer.status_code == 200
    assert_answers(answer, "audience_subscription_response", request)
    assert states(workshop) == [("31001", "Lapsed buyers", "active")]
    assert len(doorbell.deliveries) == 2
    service.post("/in/mp", secret, json=request)
    assert len(states(workshop)) == 1


def test_changing_renames_nothing(workshop: Workshop, subscribing: tuple[Service, str]) -> None:
    service, secret = subscribing
    service.post("/in/mp", secret, json=subscription("add"))
    answer = service.post("/in/mp", secret, json=subscription("update", audience_name="Renamed"))
    assert answer.status_code == 200
    assert states(workshop) == [("31001", "Lapsed buyers", "active")]


def test_disconnecting_deactivates_and_connecting_again_starts_it_again(
    workshop: Workshop, subscribing: tuple[Service, str], doorbell: RecordingDoorbell
) -> None:
    service, secret = subscribing
    service.post("/in/mp", secret, json=subscription("add"))
    workshop.deliver_all()
    assert service.post("/in/mp", secret, json=subscription("remove")).status_code == 200
    assert states(workshop) == [("31001", "Lapsed buyers", "deactivated")]
    assert doorbell.flushes
    assert len(workshop.simulator.books.lists()) == 2
    again = subscription("add", audience_name="Renamed meanwhile")
    assert service.post("/in/mp", secret, json=again).status_code == 200
    assert states(workshop) == [("31001", "Lapsed buyers", "active")]


def test_changing_what_is_deactivated_does_not_activate_it(
    workshop: Workshop, subscribing: tuple[Service, str]
) -> None:
    service, secret = subscribing
    service.post("/in/mp", secret, json=subscription("add"))
    service.post("/in/mp", secret, json=subscription("remove"))
    assert service.post("/in/mp", secret, json=subscription("update")).status_code == 200
    assert states(workshop) == [("31001", "Lapsed buyers", "deactivated")]


def test_disconnecting_what_nobody_knows_succeeds(
    workshop: Workshop, subscribing: tuple[Service, str]
) -> None:
    service, secret = subscribing
    assert service.post("/in/mp", secret, json=subscription("remove", 77)).status_code == 200
    assert states(workshop) == []


def test_a_source_that_may_not_activate_leaves_that_to_a_person(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("mp", "mparticle")
    answer = service.post("/in/mp", secret, json=subscription("add", 77))
    assert 400 <= answer.status_code < 500
    assert answer.status_code not in SENT_AGAIN
    assert service.post("/in/mp", secret, json=subscription("remove")).status_code == 200
    assert states(workshop) == [("31001", "VIP", "active")]
    assert service.post("/in/mp", secret, json=subscription("add")).status_code == 200


@pytest.mark.parametrize(
    "name", ["two\nlines", "x" * 300, "x" * 3_000, "\x07", "", None, 17, "\x00"]
)
def test_an_audience_with_an_odd_name_is_never_answered_with_a_retry(
    workshop: Workshop, subscribing: tuple[Service, str], name: object
) -> None:
    service, secret = subscribing
    answer = service.post("/in/mp", secret, json=subscription("add", audience_name=name))
    assert answer.status_code not in SENT_AGAIN
    assert (answer.status_code == 200) == (len(states(workshop)) == 1)


# Only what may succeed later is to be sent again.


@pytest.fixture
def stranded() -> Iterator[Service]:
    """A service whose database does not answer."""
    url = f"postgresql+psycopg2://pinfold@127.0.0.1:{free_port(0)}/pinfold"
    with running_service(Deployment(short_settings(url, "http://127.0.0.1:9"))) as service:
        yield service


@pytest.mark.parametrize("path", ["/in/mp", "/v1/events", "/v1/audiences", "/in/mp/audiences"])
def test_without_its_database_the_service_says_later(stranded: Service, path: str) -> None:
    answer = stranded.post(path, "anything", json={"name": "VIP", "id": "31001"})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize("name", FORMATS)
def test_what_failed_for_our_part_is_to_be_sent_again_and_then_staged_once(
    workshop: Workshop, service: Service, name: str
) -> None:
    secret, message = service.source(name, name), MAKERS[name](2)
    assert service.post(f"/in/{name}", secret, json=MAKERS[name](1)).status_code == 200
    workshop.execute("ALTER TABLE receipt RENAME TO mislaid")
    headers = {"Connection": "close"}
    answer = service.post(f"/in/{name}", secret, json=message, headers=headers)
    assert answer.status_code in SENT_AGAIN
    assert answer.json().keys() == {"detail"}
    workshop.execute("ALTER TABLE mislaid RENAME TO receipt")
    assert service.post(f"/in/{name}", secret, json=message).status_code == 200
    assert emails_staged(workshop) == [address(1), address(2)]


# Segment.

VECTOR = (
    '{"type":"track","event":"Audience Entered","messageId":"m-1",'
    '"properties":{"spring_sale":true,"city":"Köln"}}'
)


def signature(key: str, text: bytes) -> dict[str, str]:
    return {"X-Signature": hmac.digest(key.encode(), text, "sha1").hex()}


@pytest.fixture
def signing(service: Service) -> tuple[Service, str, str]:
    """A service, and secret and signing key of /in/seg."""
    secret = service.source("seg", "segment")
    return (
        service,
        secret,
        add_signing_key(service.deployment, find_source(service.deployment, "seg")),
    )


def test_a_signature_alone_lets_in(workshop: Workshop, signing: tuple[Service, str, str]) -> None:
    service, _, key = signing
    body = json.dumps(segment(1), separators=(",", ":"), ensure_ascii=False).encode()
    answer = service.post("/in/seg", data=body, headers=signature(key, body))
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)


def test_with_a_key_events_without_a_right_signature_are_refused_even_with_the_secret(
    workshop: Workshop, signing: tuple[Service, str, str]
) -> None:
    service, secret, key = signing
    body = json.dumps(segment(1)).encode()
    for headers in (
        {},
        {"X-Signature": ""},
        {"X-Signature": "0" * 40},
        signature("another key", body),
        signature(key, body + b" "),
        signature(key, json.dumps(segment(2)).encode()),
        signature("", body),
    ):
        for shown in (None, secret):
            answer = service.post("/in/seg", shown, data=body, headers=headers)
            assert answer.status_code == 401
    assert receipts(workshop) == 0


def test_a_signature_does_not_help_who_shows_a_wrong_secret(
    signing: tuple[Service, str, str],
) -> None:
    service, _, key = signing
    body = json.dumps(segment(1)).encode()
    answer = service.post("/in/seg", "unknown", data=body, headers=signature(key, body))
    assert answer.status_code == 401


def test_an_array_is_signed_over_its_first_element_as_it_stands(
    workshop: Workshop, signing: tuple[Service, str, str]
) -> None:
    service, secret, key = signing
    first = VECTOR.replace("spring_sale", "31001").replace("}}", '},"x":"[{\\"}]"}').encode()
    first = first.replace(
        b'"x":',
        b'"context":{"traits":{"email":"a@b.cd"},"personas":{"computation_key":"31001"}},"x":',
    )
    body = b" [ " + first + b' , {"type":"page"}, ' + json.dumps(segment(2)).encode() + b"]"
    answer = service.post("/in/seg", secret, data=body, headers=signature(key, first))
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    whole = service.post("/in/seg", secret, data=body, headers=signature(key, body))
    assert whole.status_code == 401


def test_what_no_signature_vouches_for_needs_the_secret(
    workshop: Workshop, signing: tuple[Service, str, str]
) -> None:
    service, _, key = signing
    first = json.dumps(segment(1)).encode()
    forged = b"[" + first + b"," + json.dumps(segment(2)).encode() + b"]"
    answer = service.post("/in/seg", data=forged, headers=signature(key, first))
    assert (answer.status_code, receipts(workshop)) == (401, 0)
    assert "Authorization: Bearer SECRET" in answer.json()["detail"]


def test_a_stranger_is_not_read_for_long(signing: tuple[Service, str, str]) -> None:
    service, secret, key = signing
    body = json.dumps(segment(1) | {"more": "a" * (64 << 10)}).encode()
    for shown, status in ((None, 413), (secret, 200)):
        answer = service.post("/in/seg", shown, data=body, headers=signature(key, body))
        assert answer.status_code == status


def test_keys_are_rotated_as_secrets_are(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.access.KEPT_S", 0.0)
    service.source("seg", "segment")
    source = find_source(service.deployment, "seg")
    old = add_signing_key(service.deployment, source)
    new = add_signing_key(service.deployment, source)
    body = json.dumps(segment(1)).encode()
    for key in (old, new):
        answer = service.post("/in/seg", data=body, headers=signature(key, body))
        assert answer.status_code == 200
    first = next(one.secret_id for one in list_sources(service.deployment)[0].secrets if one.signs)
    revoke(service.deployment, source.id, first)
    statuses = [
        service.post("/in/seg", data=body, headers=signature(key, body)).status_code
        for key in (old, new)
    ]
    assert statuses == [401, 200]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_segment_may_put_or_patch_as_well(
    workshop: Workshop, service: Service, method: str
) -> None:
    secret = service.source("seg", "segment")
    assert service.call(method, "/in/seg", secret, json=segment(1)).json()["accepted"] == 1
    assert emails_staged(workshop) == [address(1)]


@pytest.mark.parametrize("name", ["segment", "rudderstack"])
def test_a_message_id_counts_once_within_an_array_and_across_calls(
    workshop: Workshop, service: Service, name: str
) -> None:
    secret, make = service.source(name, name), MAKERS[name]
    body = [make(1, messageId="a"), make(2, messageId="b"), make(1, messageId="a"), make(3)]
    told = service.post(f"/in/{name}", secret, json=body).json()
    assert (told["accepted"], told["duplicates"]) == (3, 1)
    told = service.post(f"/in/{name}", secret, json=[*body, make(4, messageId="c")]).json()
    assert (told["accepted"], told["duplicates"]) == (2, 3)
    assert emails_staged(workshop) == [address(number) for number in (1, 2, 3, 3, 4)]


@pytest.mark.parametrize("name", ["segment", "rudderstack"])
def test_a_body_of_nothing_but_duplicates_is_answered_200(
    workshop: Workshop, service: Service, name: str
) -> None:
    secret, message = service.source(name, name), MAKERS[name](1, messageId="a")
    for expected in ((1, 0), (0, 1)):
        answer = service.post(f"/in/{name}", secret, json=[message])
        told = answer.json()
        assert (answer.status_code, told["accepted"], told["duplicates"]) == (200, *expected)


def test_contradictions_and_undetermined_events_are_answered_and_counted(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("seg", "segment")
    exited = segment(1, event="Audience Exited")
    entered_false = segment(2, properties={"31001": False})
    undetermined = segment(3, event="Renamed by somebody", properties={})
    trait = segment(4)
    trait["context"]["personas"]["computation_class"] = "trait"
    answer = service.post("/in/seg", secret, json=[exited, entered_false, undetermined, trait])
    told = answer.json()
    assert (told["accepted"], told["rejected"]) == (2, 1)
    assert (sum(told["noted"].values()), sum(told["ignored"].values())) == (2, 1)
    assert [error["index"] for error in told["errors"]] == [2]
    assert [change[1:4:2] for change in staged_changes(workshop)] == [
        ("add", address(1)),
        ("remove", address(2)),
    ]
    ((noted,),) = workshop.rows("SELECT noted FROM receipt")
    assert sum(noted.values()) == 3


def test_creating_and_getting_an_audience_answers_its_external_id(
    workshop: Workshop, serve: Callable[..., Service], doorbell: RecordingDoorbell
) -> None:
    workshop.connect()
    service = serve(workshop, doorbell)
    secret = service.source("seg", "segment", activate_unknown=True)
    body = {"audienceName": "Spring sale", "extra": {"x": 1}}
    for _ in range(2):
        answer = service.post("/in/seg/audiences", secret, json=body)
        assert answer.status_code == 200
        external_id = answer.json()["externalId"]
    assert states(workshop) == [(external_id, "Spring sale", "active")]
    assert len(doorbell.deliveries) >= 2
    asked = {"externalId": external_id}
    answer = service.post("/in/seg/audiences/get", secret, json=asked)
    assert (answer.status_code, answer.json()) == (200, asked)
    event = segment(1, "aud_key")
    event["context"]["personas"]["external_audience_id"] = external_id
    assert service.post("/in/seg", secret, json=event).json()["accepted"] == 1
    assert [change.audience for change in staged_changes(workshop)] == [external_id]


def test_an_audience_that_does_not_exist_is_not_got_nor_created_by_who_may_not(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("seg", "segment")
    unknown = {"externalId": VALUE}
    answer = service.post("/in/seg/audiences/get", secret, json=unknown)
    assert (answer.status_code, VALUE in answer.text) == (404, False)
    answer = service.post("/in/seg/audiences", secret, json={"audienceName": VALUE})
    assert (answer.status_code, VALUE in answer.text) == (404, False)
    assert len(states(workshop)) == 1


@pytest.mark.parametrize("path", ["/in/seg/audiences", "/in/seg/audiences/get"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        VALUE,
        {"audienceName": [VALUE]},
        {"audienceName": "\x00"},
        {"externalId": {VALUE: 1}},
    ],
)
def test_an_odd_wish_for_an_audience_is_refused_without_its_text(
    workshop: Workshop, service: Service, path: str, body: object
) -> None:
    secret = service.source("seg", "segment", activate_unknown=True)
    answer = service.post(path, secret, data=json.dumps(body))
    assert 400 <= answer.status_code < 500
    assert VALUE not in answer.text
    assert len(states(workshop)) == 1


@pytest.mark.parametrize("path", ["audiences", "audiences/get"])
def test_audiences_are_made_and_shown_to_who_knows_the_secret_only(
    workshop: Workshop, service: Service, path: str
) -> None:
    service.source("seg", "segment", activate_unknown=True)
    other = service.source("rud", "rudderstack", activate_unknown=True)
    body = {"audienceName": "New", "externalId": "31001"}
    for secret in (None, "unknown", other):
        assert service.post(f"/in/seg/{path}", secret, json=body).status_code == 401
    assert service.post(f"/in/rud/{path}", other, json=body).status_code == 404
    assert len(states(workshop)) == 1


# RudderStack.


def test_rudderstack_adds_and_removes_people_of_a_list(
    workshop: Workshop, service: Service
) -> None:
    secret = service.source("rud", "rudderstack")
    message = rudderstack(
        properties={
            "listData": {
                "add": [{"EMAIL": address(1), "MADID": device(1)}, {"EMAIL": None, "MADID": ""}],
                "remove": [{"EMAIL": address(1)}, {"EMAIL_SHA256": address(2)}],
            }
        },
        timestamp="2026-02-03T10:00:00.000+02:00",
    )
    told = service.post("/in/rud", secret, json=message).json()
    assert (told["accepted"], sum(told["ignored"].values())) == (3, 1)
    assert [change[1::2] for change in staged_changes(workshop)] == [
        ("remove", address(1)),
        ("remove", address(2)),
        ("add", address(1)),
        ("add", device(1)),
    ]


def test_rudderstack_records_need_the_audience_of_their_source(
    workshop: Workshop, service: Service
) -> None:
    told = Dialect(audience="31001")
    secrets = {
        "bare": service.source("bare", "rudderstack"),
        "told": service.source("told", "rudderstack", dialect=told),
    }
    actions = {"insert": "add", "update": "add", "delete": "remove"}
    records = [
        {"type": "record", "action": action, "identifiers": {"email": address(1)}}
        for action in actions
    ]
    assert service.post("/in/bare", secrets["bare"], json=records).status_code == 422
    answer = service.post("/in/told", secrets["told"], json=[*records, {"type": "record"}])
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (3, 1)
    assert [change.operation for change in staged_changes(workshop)] == [*actions.values()]


def test_secrets_are_in_no_metric(service: Service) -> None:
    secret = service.source("shop", "events")
    service.post("/in/shop", secret, json=own())
    assert secret not in service.get("/metrics").text
    assert re.search(r'source="source shop"', service.get("/metrics").text)
