"""`POST /v1/events` over a socket: our own form, tokens, answers, calls that count once."""

import gzip
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from app.api_tokens import revoke_token
from app.audiences import activate
from app.events import Operation
from tests.service import Service
from tests.staged import receipts, staged_changes, staged_messages
from tests.workshop import Workshop, address, device

SECRET_VALUE = "sealed.envelope@nowhere"
"""No address and no digest, and in no text of ours."""


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {"audience": "31001", "operation": "add", "email": address(number)} | changes


def lines(*events: object) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in events)


def errors_of(answer: requests.Response) -> list[tuple[int, str, bool]]:
    """Index, field and whether the whole event was rejected; each has a reason."""
    found = answer.json()["errors"]
    assert all(error["reason"] for error in found)
    return [(error["index"], error["field"], error["rejected"]) for error in found]


# The shapes of a body.


def test_one_event_is_accepted_and_staged(workshop: Workshop, service: Service) -> None:
    answer = service.post("/v1/events", service.token(), json=event(7))
    assert answer.status_code == 200
    assert answer.json() == {
        "accepted": 1,
        "rejected": 0,
        "duplicates": 0,
        "ignored": {},
        "noted": {},
        "errors": [],
        "errors_not_listed": 0,
    }
    assert staged_changes(workshop) == [("31001", "add", "email", address(7))]


def test_an_array_is_staged_in_its_order(workshop: Workshop, service: Service) -> None:
    body = [event(1), event(1, operation="remove"), event(2, email=None, idfa=device(2))]
    assert service.post("/v1/events", service.token(), json=body).json()["accepted"] == 3
    assert staged_changes(workshop) == [
        ("31001", "add", "email", address(1)),
        ("31001", "remove", "email", address(1)),
        ("31001", "add", "idfa", device(2)),
    ]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\n\n  \n"])
def test_a_body_may_hold_one_event_a_line(
    workshop: Workshop, service: Service, line_end: bytes
) -> None:
    body = line_end.join([lines(event(1)), lines(event(2)), b""])
    headers = {"Content-Type": "application/x-ndjson"}
    answer = service.post("/v1/events", service.token(), data=body, headers=headers)
    assert answer.json()["accepted"] == 2
    assert staged_messages(workshop) == 2


def test_a_single_line_with_its_end_is_one_event(workshop: Workshop, service: Service) -> None:
    answer = service.post("/v1/events", service.token(), data=lines(event()) + b"\n")
    assert answer.json()["accepted"] == 1


def test_the_content_type_is_not_asked_for(workshop: Workshop, service: Service) -> None:
    headers = {"Content-Type": "text/plain; charset=latin-1"}
    answer = service.post("/v1/events", service.token(), data=lines(event()), headers=headers)
    assert answer.json()["accepted"] == 1


@pytest.mark.parametrize(
    "headers", [{"Content-Encoding": "gzip"}, {"Content-Encoding": "x-gzip"}, {}]
)
def test_gzip_is_unpacked_by_its_header_and_by_its_first_bytes(
    workshop: Workshop, service: Service, headers: dict[str, str]
) -> None:
    packed = gzip.compress(lines(event(1), event(2)))
    answer = service.post("/v1/events", service.token(), data=packed, headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    assert staged_messages(workshop) == 2


def test_gzip_of_several_members_is_unpacked_whole(workshop: Workshop, service: Service) -> None:
    packed = gzip.compress(lines(event(1)) + b"\n") + gzip.compress(lines(event(2)))
    assert service.post("/v1/events", service.token(), data=packed).json()["accepted"] == 2


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(lines(event()))[:-6],
        gzip.compress(lines(event()))[:15] + b"\xff" * 20,
        gzip.compress(lines(event())) + b"not gzip",
        b"\x1f\x8b",
    ],
)
def test_damaged_gzip_is_refused_whole(workshop: Workshop, service: Service, body: bytes) -> None:
    assert service.post("/v1/events", service.token(), data=body).status_code == 400
    assert receipts(workshop) == 0


def test_plain_json_that_is_declared_as_gzip_is_refused(service: Service) -> None:
    headers = {"Content-Encoding": "gzip"}
    answer = service.post("/v1/events", service.token(), data=lines(event()), headers=headers)
    assert answer.status_code == 400


@pytest.mark.parametrize("body", [b"", b"   ", b"{", b"[1,", b"\xff\xfe", b'{"audience":}', b"nul"])
def test_a_body_that_is_no_json_is_refused(
    workshop: Workshop, service: Service, body: bytes
) -> None:
    answer = service.post("/v1/events", service.token(), data=body)
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["detail"]
    assert receipts(workshop) == 0


def test_an_empty_array_accepts_nothing_and_is_no_mistake(
    workshop: Workshop, service: Service
) -> None:
    answer = service.post("/v1/events", service.token(), json=[])
    assert (answer.status_code, answer.json()["accepted"]) == (200, 0)
    assert staged_messages(workshop) == 0


# What is said of each event.


def test_each_event_is_answered_for_itself_and_costs_no_neighbour(
    workshop: Workshop, service: Service
) -> None:
    body = [
        event(0),
        event(1, operation="insert"),
        event(2, email="nobody"),
        event(3, audience="99999"),
        event(4, idfa="not-an-id"),
        event(5, audience=None),
        event(6, email=[address(6), 17]),
        event(7, occurred_at="yesterday"),
        {"audience": "31001", "operation": "add"},
        "an event",
        event(10),
    ]
    answer = service.post("/v1/events", service.token(), json=body)
    assert answer.status_code == 200
    assert errors_of(answer) == [
        (1, "operation", True),
        (2, "email", True),
        (3, "audience", True),
        (4, "idfa", False),
        (5, "audience", True),
        (6, "email[1]", False),
        (7, "occurred_at", True),
        (8, "email, idfa, gaid", True),
        (9, "message", True),
    ]
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (4, 7)
    assert {change.value for change in staged_changes(workshop)} == set(map(address, (0, 4, 6, 10)))


def test_the_index_is_that_in_the_body_whatever_was_wrong_before_it(service: Service) -> None:
    body = [17, event(1), None, event(3, email="junk"), event(4), event(5, gaid="junk")]
    answer = service.post("/v1/events", service.token(), json=body)
    assert errors_of(answer) == [
        (0, "message", True),
        (2, "message", True),
        (3, "email", True),
        (5, "gaid", False),
    ]


def test_a_line_that_is_no_json_costs_only_itself(workshop: Workshop, service: Service) -> None:
    body = b"\n".join([lines(event(0)), b'{"audience":', lines(event(2))])
    answer = service.post("/v1/events", service.token(), data=body)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    assert errors_of(answer) == [(1, "message", True)]


@pytest.mark.parametrize(
    "body", [event(email="junk"), [event(audience="99999")], [17, None], "text", 17, None, [[]]]
)
def test_a_body_of_which_nothing_can_be_used_is_answered_422(
    workshop: Workshop, service: Service, body: object
) -> None:
    answer = service.post("/v1/events", service.token(), data=json.dumps(body))
    assert answer.status_code == 422
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (
        0,
        len(answer.json()["errors"]),
    )
    assert staged_messages(workshop) == 0


def test_what_was_rejected_is_counted_by_reason(workshop: Workshop, service: Service) -> None:
    body = [event(0), event(1, operation="insert"), event(2, operation="?"), event(3, email="junk")]
    service.post("/v1/events", service.token(), json=body)
    ((rejected,),) = workshop.rows("SELECT rejected FROM receipt")
    assert rejected['must be "add" or "remove"'] == 2
    assert sum(rejected.values()) == 3


@pytest.mark.parametrize(
    "body",
    [
        event(email=SECRET_VALUE),
        event(email=[SECRET_VALUE, {"x": SECRET_VALUE}]),
        event(idfa=SECRET_VALUE, email=None),
        event(audience=SECRET_VALUE),
        event(audience=[SECRET_VALUE]),
        event(operation=SECRET_VALUE),
        event(occurred_at=SECRET_VALUE),
        [SECRET_VALUE],
        SECRET_VALUE,
        {SECRET_VALUE: SECRET_VALUE},
    ],
)
def test_no_answer_repeats_a_value_of_an_event(service: Service, body: object) -> None:
    answer = service.post("/v1/events", service.token(), json=body)
    assert answer.status_code == 422
    assert SECRET_VALUE not in answer.text
    assert SECRET_VALUE not in str(answer.headers)


@pytest.mark.parametrize(
    "body", [b'{"email": "%s', b'{"email": "%s"} x', b"%s", b'{"email": "%s"}\x00', b'["%s",]']
)
def test_no_answer_repeats_a_piece_of_what_is_no_json(service: Service, body: bytes) -> None:
    answer = service.post("/v1/events", service.token(), data=body % SECRET_VALUE.encode())
    assert answer.status_code == 400
    assert SECRET_VALUE not in answer.text


def test_what_is_answered_2xx_is_committed_already(workshop: Workshop, service: Service) -> None:
    token = service.token()
    for number in range(20):
        assert service.post("/v1/events", token, json=event(number)).status_code == 200
        assert staged_messages(workshop) == number + 1


def test_events_of_several_audiences_come_in_one_call(workshop: Workshop, service: Service) -> None:
    workshop.activate("31002", "Cart")
    body = [event(1), event(2, audience=31002), event(3, audience=" 31002 ", operation="REMOVE")]
    assert service.post("/v1/events", service.token(), json=body).json()["accepted"] == 3
    assert [change[:2] for change in sorted(staged_changes(workshop))] == [
        ("31001", "add"),
        ("31002", "add"),
        ("31002", "remove"),
    ]


def test_what_is_accepted_over_http_arrives_at_pinterest(
    workshop: Workshop, service: Service
) -> None:
    audience_id = workshop.value("SELECT id FROM audience")
    service.post("/v1/events", service.token(), json=[event(1), event(2)])
    assert workshop.flush(audience_id) is not None
    workshop.deliver_all()
    assert len(workshop.members()) == 2
    workshop.assert_books_balance()


# Tokens.


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer pinfold_unknown",
        "Basic cGluZm9sZDo=",
        "Basic !!!",
        "Digest x",
        "Bearer \x7fé".encode("latin-1").decode("latin-1"),
    ],
)
def test_a_missing_or_unknown_token_is_answered_401(
    workshop: Workshop, service: Service, authorization: str | None
) -> None:
    service.token()
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = service.post("/v1/events", json=event(), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert receipts(workshop) == 0


def test_the_secret_of_a_source_is_no_token(service: Service) -> None:
    secret = service.source("shop", "events")
    assert service.post("/v1/events", secret, json=event()).status_code == 401


@pytest.mark.parametrize(
    ("permission", "status"), [("read", 403), ("write", 200), ("administer", 200)]
)
def test_staging_needs_permission_to_write(
    workshop: Workshop, service: Service, permission: str, status: int
) -> None:
    answer = service.post("/v1/events", service.token(permission), json=event())
    assert answer.status_code == status
    assert staged_messages(workshop) == (status == 200)


@pytest.mark.parametrize("scheme", ["Bearer {}", "bearer  {}", "Token {}"])
def test_a_token_is_shown_in_several_ways(service: Service, scheme: str) -> None:
    headers = {"Authorization": scheme.format(service.token())}
    assert service.post("/v1/events", json=event(), headers=headers).status_code == 200


def test_a_token_may_be_the_password_of_basic(service: Service) -> None:
    token = service.token()
    assert service.post("/v1/events", json=event(), auth=("anybody", token)).status_code == 200


def test_a_revoked_token_lets_nobody_in_once_what_was_kept_is_over(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.access.KEPT_S", 0.0)
    token = service.token()
    assert service.post("/v1/events", token, json=event()).status_code == 200
    revoke_token(service.deployment, "write")
    assert service.post("/v1/events", token, json=event()).status_code == 401


def test_a_token_of_one_connection_reaches_no_audience_of_another(
    workshop: Workshop, service: Service
) -> None:
    workshop.connect("other")
    token = service.token(connection="other")
    answer = service.post("/v1/events", token, json=event())
    assert answer.status_code == 422
    assert errors_of(answer) == [(0, "audience", True)]
    assert service.post("/v1/events?connection=main", token, json=event()).status_code == 403
    assert staged_messages(workshop) == 0


def test_a_token_of_one_connection_learns_no_name_of_another(
    workshop: Workshop, service: Service
) -> None:
    workshop.connect("other")
    token = service.token(connection="other")
    answer = service.post("/v1/events?connection=nowhere", token, json=event())
    assert answer.status_code in (403, 404)
    assert "main" not in answer.text


def test_an_audience_of_several_connections_needs_the_connection_named(
    workshop: Workshop, service: Service
) -> None:
    workshop.connect("other")
    activate(workshop.deployment, "VIP", "31001", "other")
    token = service.token()
    assert service.post("/v1/events", token, json=event(1)).status_code == 422
    answer = service.post("/v1/events?connection=other", token, json=event(1))
    assert answer.json()["accepted"] == 1
    ((name,),) = workshop.rows(
        "SELECT connection.name FROM staged_chunk JOIN audience ON audience.id = audience_id"
        "  JOIN connection ON connection.id = connection_id"
    )
    assert name == "other"


def test_a_connection_that_does_not_exist_is_answered_404(service: Service) -> None:
    answer = service.post("/v1/events?connection=nowhere", service.token(), json=event())
    assert answer.status_code == 404


def test_the_token_stands_in_the_database_as_a_digest_only(
    workshop: Workshop, service: Service
) -> None:
    token = service.token()
    ((digest,),) = workshop.rows("SELECT digest FROM api_token")
    assert len(bytes(digest)) == 32
    row = workshop.rows("SELECT api_token::text AS everything FROM api_token")[0]
    assert token not in row.everything
    assert token.encode().hex() not in row.everything


# Keys that make a call count once.


def keyed(service: Service, token: str, key: str, body: object) -> requests.Response:
    return service.post("/v1/events", token, json=body, headers={"Idempotency-Key": key})


def test_the_same_key_and_body_get_the_same_answer_and_change_nothing(
    workshop: Workshop, service: Service
) -> None:
    token, body = service.token(), [event(1), event(2, email="junk")]
    first = keyed(service, token, "call-1", body)
    again = keyed(service, token, "call-1", body)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.content == again.content
    assert (staged_messages(workshop), receipts(workshop)) == (1, 1)


def test_the_same_answer_is_given_after_the_service_restarted(
    workshop: Workshop, service: Service, serve: Callable[..., Service]
) -> None:
    token = service.token()
    first = keyed(service, token, "call-1", [event(1), event(2)])
    again = keyed(serve(workshop), token, "call-1", [event(1), event(2)])
    assert first.content == again.content
    assert staged_messages(workshop) == 2


def test_an_answer_of_422_is_the_same_again_too(workshop: Workshop, service: Service) -> None:
    token = service.token()
    first = keyed(service, token, "call-1", event(email="junk"))
    again = keyed(service, token, "call-1", event(email="junk"))
    assert (first.status_code, again.status_code) == (422, 422)
    assert first.content == again.content


def test_the_same_key_with_another_body_is_refused(workshop: Workshop, service: Service) -> None:
    token = service.token()
    assert keyed(service, token, "call-1", event(1)).status_code == 200
    answer = keyed(service, token, "call-1", event(2))
    assert answer.status_code == 409
    assert address(2) not in answer.text
    assert [change.value for change in staged_changes(workshop)] == [address(1)]


def test_the_same_body_packed_is_the_same_body(workshop: Workshop, service: Service) -> None:
    token, body = service.token(), lines(event(1))
    headers = {"Idempotency-Key": "call-1"}
    first = service.post("/v1/events", token, data=body, headers=headers)
    again = service.post("/v1/events", token, data=gzip.compress(body), headers=headers)
    assert (first.content, again.status_code) == (again.content, 200)
    assert staged_messages(workshop) == 1


def test_a_key_is_that_of_one_token_only(workshop: Workshop, service: Service) -> None:
    for token in (service.token(), service.token(name="another")):
        assert keyed(service, token, "call-1", event(1)).status_code == 200
    assert staged_messages(workshop) == 2


def test_calls_with_one_key_at_the_same_time_are_staged_once(
    workshop: Workshop, service: Service
) -> None:
    token = service.token()
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: keyed(service, token, "call-1", [event(1), event(2)]), range(8))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert staged_messages(workshop) == 2


def test_of_two_bodies_with_one_key_at_the_same_time_one_is_refused(
    workshop: Workshop, service: Service
) -> None:
    token = service.token()
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda number: keyed(service, token, "call-1", event(number)), range(8))
        )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert staged_messages(workshop) == 1


def test_without_a_key_a_call_that_comes_twice_folds(workshop: Workshop, service: Service) -> None:
    token, audience_id = service.token(), workshop.value("SELECT id FROM audience")
    for _ in range(2):
        assert service.post("/v1/events", token, json=event(1)).json()["accepted"] == 1
    workshop.flush(audience_id)
    workshop.deliver_all()
    assert len(workshop.members()) == 1
    assert workshop.book(audience_id).folded == 1


def test_a_key_that_is_too_long_is_refused_without_its_text(service: Service) -> None:
    answer = keyed(service, service.token(), "k" * 201, event())
    assert answer.status_code == 422
    assert "kkkk" not in answer.text


def test_a_refused_call_spends_no_key(workshop: Workshop, service: Service) -> None:
    token, headers = service.token(), {"Idempotency-Key": "call-1"}
    assert service.post("/v1/events", token, data=b"{", headers=headers).status_code == 400
    assert keyed(service, token, "call-1", event(1)).status_code == 200
    assert staged_messages(workshop) == 1


def accepted_by_metrics(service: Service, name: str) -> dict[str, float]:
    found = re.findall(
        rf'^pinfold_http_events_total{{outcome="(\w+)",source="token {name}"}} (\S+)$',
        service.get("/metrics").text,
        re.MULTILINE,
    )
    return {outcome: float(count) for outcome, count in found}


def test_a_call_that_comes_again_is_not_counted_as_accepted_again(service: Service) -> None:
    token = service.token(name="counted-once")
    for _ in range(3):
        keyed(service, token, "call-1", [event(1), event(2)])
    assert accepted_by_metrics(service, "counted-once")["accepted"] == 2


def test_a_removal_of_somebody_who_was_never_added_is_accepted(
    workshop: Workshop, service: Service
) -> None:
    service.post("/v1/events", service.token(), json=event(1, operation="remove"))
    assert [change.operation for change in staged_changes(workshop)] == [Operation.REMOVE]
