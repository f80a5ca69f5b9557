"""`/v1/audiences` over a socket: activate, look, pause, resume, deactivate, flush."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
import requests

from app import audiences
from app.connections import remove_connection
from app.gate import GATE, gate_keys
from app.status import read_status
from tests.doorbells import RecordingDoorbell
from tests.service import Service
from tests.workshop import Workshop, email_event

VALUE = "sealed.envelope@nowhere"


@pytest.fixture
def doorbell() -> RecordingDoorbell:
    return RecordingDoorbell()


@pytest.fixture
def running(
    workshop: Workshop, serve: Callable[..., Service], doorbell: RecordingDoorbell
) -> Service:
    """A service over a workshop with one connection and no audience yet."""
    workshop.connect()
    return serve(workshop, doorbell)


@pytest.fixture
def token(running: Service) -> str:
    return running.token("administer")


def activate(
    service: Service, token: str, upstream_id: str = "31001", **more: Any
) -> requests.Response:
    return service.post("/v1/audiences", token, json={"name": "VIP", "id": upstream_id} | more)


def state_of(workshop: Workshop, audience_id: int) -> str:
    return str(workshop.value("SELECT state FROM audience WHERE id = :id", id=audience_id))


# Activate.


def test_activating_records_the_wish_and_rings_for_both_lists(
    workshop: Workshop, running: Service, token: str, doorbell: RecordingDoorbell
) -> None:
    answer = activate(running, token)
    assert answer.status_code == 202
    ((row),) = workshop.rows("SELECT id, upstream_id, name, state FROM audience")
    assert tuple(row) == (answer.json()["audience_id"], "31001", "VIP", "active")
    lists = workshop.rows("SELECT id, name FROM customer_list ORDER BY name")
    assert [each.name for each in lists] == ["VIP-EMAIL", "VIP-MAID"]
    assert sorted(doorbell.deliveries) == sorted(each.id for each in lists)


def test_activating_answers_before_anything_is_made_at_pinterest(
    workshop: Workshop, running: Service, token: str
) -> None:
    answer = activate(running, token).json()
    assert {each["pinterest_list_id"] for each in answer["lists"]} == {None}
    assert workshop.simulator.books.lists() == []
    workshop.deliver_all()
    shown = running.get(f"/v1/audiences/{answer['audience_id']}", token).json()
    assert None not in {each["pinterest_list_id"] for each in shown["lists"]}


def test_events_are_accepted_as_soon_as_an_audience_is_activated(
    workshop: Workshop, running: Service, token: str
) -> None:
    event = {"audience": "31001", "operation": "add", "email": "ana.ruiz@example.org"}
    assert running.post("/v1/events", token, json=event).status_code == 422
    activate(running, token)
    assert running.post("/v1/events", token, json=event).json()["accepted"] == 1


def test_activating_twice_is_the_same_as_once(
    workshop: Workshop, running: Service, token: str
) -> None:
    first, second = activate(running, token), activate(running, token)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["audience_id"] == second.json()["audience_id"]
    assert workshop.value("SELECT count(*) FROM customer_list") == 2


def test_an_id_that_is_activated_under_another_name_is_refused(
    workshop: Workshop, running: Service, token: str
) -> None:
    activate(running, token)
    assert activate(running, token, name="Renamed").status_code == 409
    assert workshop.rows("SELECT name FROM audience") == [("VIP",)]


def test_activating_again_after_deactivating_starts_it_again(
    workshop: Workshop, running: Service, token: str
) -> None:
    audience_id = activate(running, token).json()["audience_id"]
    running.post(f"/v1/audiences/{audience_id}/deactivate", token)
    assert activate(running, token).json()["state"] == "active"
    assert state_of(workshop, audience_id) == "active"


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"name": "VIP"},
        {"id": "31001"},
        {"name": "", "id": "31001"},
        {"name": "   ", "id": "31001"},
        {"name": f"{VALUE}\n", "id": "31001", "more": 1},
        {"name": f"{VALUE}\x07", "id": "31001"},
        {"name": VALUE * 20, "id": "31001"},
        {"name": "VIP", "id": " "},
        {"name": "VIP", "id": f"{VALUE}\x00"},
        {"name": "VIP", "id": VALUE * 100},
        {"name": [VALUE], "id": "31001"},
        {"name": VALUE, "id": None},
        {"name": VALUE, "id": {VALUE: 1}},
        {"name": "VIP", "id": "31001", "connection": [VALUE]},
        {"name": "VIP", "id": "31001", VALUE: VALUE},
        [VALUE],
        VALUE,
        None,
    ],
)
def test_a_wish_that_cannot_be_one_is_answered_422_without_its_text(
    workshop: Workshop, running: Service, token: str, wanted: object
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = running.post("/v1/audiences", token, data=orjson.dumps(wanted), headers=headers)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert VALUE not in answer.text
    assert workshop.value("SELECT count(*) FROM audience") == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"name": "%s', b"[" * 100_000, b'{"name": "\\ud800", "id": "1"}']
)
def test_a_wish_that_is_no_json_is_refused_without_its_text(
    workshop: Workshop, running: Service, token: str, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = running.post(
        "/v1/audiences", token, data=body.replace(b"%s", VALUE.encode()), headers=headers
    )
    assert answer.status_code in (400, 413, 422)
    assert VALUE not in answer.text


def test_the_connection_is_needed_where_there_are_several(
    workshop: Workshop, running: Service, token: str
) -> None:
    workshop.connect("other")
    assert activate(running, token).status_code == 404
    answer = activate(running, token, connection=VALUE)
    assert answer.status_code == 404
    assert VALUE not in answer.text
    assert activate(running, token, connection="other").json()["connection"] == "other"


# Look.


def test_show_says_what_status_says(workshop: Workshop, running: Service, token: str) -> None:
    audience_id = activate(running, token).json()["audience_id"]
    workshop.deliver_all()
    workshop.stage(email_event(1), email_event(2))
    (expected,) = read_status(workshop.deployment).audiences
    shown = running.get(f"/v1/audiences/{audience_id}", token).json()
    assert shown["waiting"] == 2
    exact = orjson.loads(orjson.dumps(expected.as_json()))
    moving = {"next_upload", "next_upload_at", "last_upload_at"}  # how they are written down
    assert {k: v for k, v in shown.items() if k not in moving} == {
        k: v for k, v in exact.items() if k not in moving
    }
    assert moving < shown.keys()


def test_audiences_are_listed_page_by_page_in_the_order_of_activation(
    running: Service, token: str
) -> None:
    made = [
        activate(running, token, str(number), name=f"A{9 - number}").json()["audience_id"]
        for number in range(5)
    ]
    pages, after = [], 0
    while after is not None:
        page = running.get(f"/v1/audiences?limit=2&after={after}", token).json()
        pages.append([each["audience_id"] for each in page["audiences"]])
        after = page["next_after"]
    assert pages == [made[:2], made[2:4], made[4:]]


def test_the_last_page_says_that_it_is_the_last(running: Service, token: str) -> None:
    for number in range(2):
        activate(running, token, str(number), name=f"A{number}")
    page = running.get("/v1/audiences?limit=2", token).json()
    assert (len(page["audiences"]), page["next_after"]) == (2, None)


def test_an_audience_is_found_by_its_upstream_id(running: Service, token: str) -> None:
    activate(running, token, "31001", name="one")
    activate(running, token, "31002", name="two")
    page = running.get("/v1/audiences?upstream_id=31002", token).json()
    assert [each["name"] for each in page["audiences"]] == ["two"]
    for unknown in ("77", "%00", "%ff", "x" * 5_000):
        page = running.get(f"/v1/audiences?upstream_id={unknown}", token)
        assert (page.status_code, page.json()["audiences"]) == (200, [])


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "after=-1", "after=9223372036854775808", "after=x"],
)
def test_a_page_that_cannot_be_one_is_answered_422(
    running: Service, token: str, query: str
) -> None:
    assert running.get(f"/v1/audiences?{query}", token).status_code == 422


# Change.


def test_pausing_and_resuming_change_the_state_and_nothing_else(
    workshop: Workshop, running: Service, token: str, doorbell: RecordingDoorbell
) -> None:
    audience_id = activate(running, token).json()["audience_id"]
    workshop.stage(email_event(1))
    for change, state in (("pause", "paused"), ("pause", "paused"), ("resume", "active")):
        answer = running.post(f"/v1/audiences/{audience_id}/{change}", token)
        assert (answer.status_code, answer.json()["state"]) == (200, state)
        assert state_of(workshop, audience_id) == state
    assert answer.json()["waiting"] == 1
    assert set(doorbell.flushes) == {audience_id}


def test_deactivating_takes_no_more_events_and_deletes_nothing(
    workshop: Workshop, running: Service, token: str, doorbell: RecordingDoorbell
) -> None:
    audience_id = activate(running, token).json()["audience_id"]
    workshop.upload(audience_id, email_event(1))
    doorbell.deliveries.clear()
    answer = running.post(f"/v1/audiences/{audience_id}/deactivate", token)
    assert (answer.status_code, answer.json()["state"]) == (200, "deactivated")
    assert len(doorbell.deliveries) == 2
    event = {"audience": "31001", "operation": "add", "email": "ana.ruiz@example.org"}
    answer = running.post("/v1/events", token, json=event)
    assert answer.status_code == 422
    assert "deactivated" in answer.json()["errors"][0]["reason"]
    workshop.deliver_all()
    assert len(workshop.members()) == 1


@pytest.mark.parametrize("change", ["pause", "resume", "flush"])
def test_what_is_deactivated_cannot_be_changed(
    workshop: Workshop, running: Service, token: str, change: str
) -> None:
    audience_id = activate(running, token).json()["audience_id"]
    audiences.deactivate(workshop.deployment, audience_id)
    answer = running.post(f"/v1/audiences/{audience_id}/{change}", token)
    assert answer.status_code == 409
    assert state_of(workshop, audience_id) == "deactivated"


def test_deactivating_while_a_call_is_being_accepted_is_to_be_tried_again(
    workshop: Workshop, running: Service, token: str
) -> None:
    audience_id = activate(running, token).json()["audience_id"]
    with workshop.transaction() as tx:
        tx.exec_driver_sql(
            "SELECT pg_advisory_xact_lock_shared(%s, %s)", (GATE, *gate_keys([audience_id]))
        )
        answer = running.post(f"/v1/audiences/{audience_id}/deactivate", token)
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert running.post(f"/v1/audiences/{audience_id}/deactivate", token).status_code == 200


def test_a_flush_is_noted_and_rung_for(
    workshop: Workshop, running: Service, token: str, doorbell: RecordingDoorbell
) -> None:
    audience_id = activate(running, token).json()["audience_id"]
    workshop.stage(email_event(1))
    answer = running.post(f"/v1/audiences/{audience_id}/flush", token)
    assert (answer.status_code, answer.json()["next_upload"]) == (202, "now")
    assert doorbell.flushes == [audience_id]
    assert workshop.value("SELECT flush_requested_at FROM audience") is not None


@pytest.mark.parametrize("change", ["pause", "resume", "deactivate", "flush"])
@pytest.mark.parametrize("audience_id", [4_711, 2**63 - 1])
def test_an_audience_that_does_not_exist_is_answered_404(
    running: Service, token: str, change: str, audience_id: int
) -> None:
    assert running.post(f"/v1/audiences/{audience_id}/{change}", token).status_code == 404
    assert running.get(f"/v1/audiences/{audience_id}", token).status_code == 404


@pytest.mark.parametrize("audience_id", ["0", "-1", "9223372036854775808", VALUE, "1.5", "%00"])
def test_an_id_that_cannot_be_one_is_answered_422_without_its_text(
    running: Service, token: str, audience_id: str
) -> None:
    for answer in (
        running.get(f"/v1/audiences/{audience_id}", token),
        running.post(f"/v1/audiences/{audience_id}/flush", token),
    ):
        assert answer.status_code == 422
        assert VALUE not in answer.text


# Who may.

CHANGES = ("pause", "resume", "deactivate", "flush")


@pytest.mark.parametrize(
    ("permission", "looking", "changing"),
    [("read", 200, 403), ("write", 200, 403), ("administer", 200, None)],
)
def test_looking_needs_read_and_changing_needs_administer(
    workshop: Workshop, running: Service, permission: str, looking: int, changing: int | None
) -> None:
    audience_id, token = workshop.activate(), running.token(permission)
    assert running.get("/v1/audiences", token).status_code == looking
    assert running.get(f"/v1/audiences/{audience_id}", token).status_code == looking
    for change in ("pause", "resume", "flush", "deactivate"):
        status = running.post(f"/v1/audiences/{audience_id}/{change}", token).status_code
        assert status == changing or (changing is None and status in (200, 202))
    if changing:
        assert activate(running, token, "31002", name="new").status_code == changing
        assert state_of(workshop, audience_id) == "active"
        assert workshop.value("SELECT count(*) FROM audience") == 1


@pytest.mark.parametrize("token", [None, "unknown"])
def test_without_a_known_token_nothing_is_shown_or_changed(
    workshop: Workshop, running: Service, token: str | None
) -> None:
    audience_id = workshop.activate()
    assert running.get("/v1/audiences", token).status_code == 401
    assert running.get(f"/v1/audiences/{audience_id}", token).status_code == 401
    assert activate(running, token or "", "31002", name="new").status_code == 401
    for change in CHANGES:
        path = f"/v1/audiences/{audience_id}/{change}"
        assert running.post(path, token).status_code == 401
    assert state_of(workshop, audience_id) == "active"


def test_a_token_of_another_connection_sees_and_changes_nothing(
    workshop: Workshop, running: Service
) -> None:
    audience_id = workshop.activate()
    workshop.connect("other")
    token = running.token("administer", connection="other")
    assert running.get("/v1/audiences", token).json()["audiences"] == []
    assert running.get(f"/v1/audiences/{audience_id}", token).status_code == 404
    for change in CHANGES:
        assert running.post(f"/v1/audiences/{audience_id}/{change}", token).status_code == 404
    assert activate(running, token, "31002", connection="main").status_code == 403
    assert activate(running, token, "31002", connection="nowhere").status_code == 403
    assert state_of(workshop, audience_id) == "active"
    assert activate(running, token, "31001").json()["connection"] == "other"
    assert len(running.get("/v1/audiences", token).json()["audiences"]) == 1


def test_a_token_of_a_removed_connection_is_none(
    workshop: Workshop, running: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.access.KEPT_S", 0.0)
    workshop.connect("other")
    token = running.token("read", connection="other")
    assert running.get("/v1/audiences", token).status_code == 200
    remove_connection(workshop.deployment, "other")
    assert running.get("/v1/audiences", token).status_code == 401


def test_a_method_that_is_not_there_is_answered_405(running: Service, token: str) -> None:
    answer = running.call("DELETE", "/v1/audiences/1", token)
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
