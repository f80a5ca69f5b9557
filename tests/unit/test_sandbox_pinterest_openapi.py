"""What the simulated Pinterest says is what the official document declares."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests import openapi
from tests.pinterest_caller import ACCOUNT, Caller, calling

pytestmark = pytest.mark.openapi


@pytest.fixture
def pinterest() -> Iterator[Caller]:
    with calling() as caller:
        yield caller


def check(reply: requests.Response, body: dict[str, Any] | None = None) -> Any:
    """Insist on a declared exchange; the content of the reply."""
    method, url = str(reply.request.method), str(reply.request.url)
    assert openapi.problems(method, url, reply.status_code, body, reply.json()) == []
    return reply.json()


@pytest.mark.parametrize("created_status", [200, 201])
@pytest.mark.parametrize("float_counters", [False, True])
def test_a_tour_of_the_customer_lists_keeps_to_the_document(
    pinterest: Caller, created_status: int, float_counters: bool
) -> None:
    pinterest.behaviour.created_status = created_status
    pinterest.behaviour.float_counters = float_counters
    create = {"name": "VIP", "records": "a,b", "list_type": "MAID"}
    path = "/" + check(pinterest.lists("POST", json=create), create)["id"]
    for operation in ("ADD", "REMOVE"):
        change = {"operation_type": operation, "records": "b,c"}
        check(pinterest.lists("PATCH", path, json=change), change)
    check(pinterest.lists("GET", path))
    pinterest.create()
    query = "?page_size=1&order=DESCENDING"
    bookmark = check(pinterest.lists("GET", query))["bookmark"]
    assert check(pinterest.lists("GET", f"{query}&bookmark={bookmark}"))["bookmark"] is None


def test_a_tour_of_the_audiences_keeps_to_the_document(pinterest: Caller) -> None:
    rule = {"customer_list_id": pinterest.create()}
    create = {"name": "VIP", "audience_type": "CUSTOMER_LIST", "rule": rule, "description": "D"}
    path = "/" + check(pinterest.audiences("POST", json=create), create)["id"]
    pinterest.clock.now += 60
    check(pinterest.audiences("GET", path))
    check(pinterest.audiences("GET", "?ownership_type=OWNED&page_size=250"))
    for change in ({"name": "New"}, {"operation_type": "REMOVE"}):
        check(pinterest.audiences("PATCH", path, json=change), change)
    check(pinterest.audiences("GET"))


def test_a_tour_of_accounts_and_tokens_keeps_to_the_document(pinterest: Caller) -> None:
    check(pinterest.call("GET", "/ad_accounts?page_size=250"))
    assert check(pinterest.call("GET", f"/ad_accounts/{ACCOUNT}"))["permissions"] == ["OWNER"]
    pinterest.simulator.accounts.set_roles(ACCOUNT, "ADMIN", "AUDIENCE_MANAGER", "ANALYST")
    check(pinterest.call("GET", f"/ad_accounts/{ACCOUNT}"))
    pinterest.simulator.accounts.set_roles("549770000002", "OWNER")
    bookmark = check(pinterest.call("GET", "/ad_accounts?page_size=1"))["bookmark"]
    check(pinterest.call("GET", f"/ad_accounts?page_size=1&bookmark={bookmark}"))
    check(pinterest.call("GET", "/user_account"))
    pinterest.simulator.tokens.add_code("code-1")
    by_code = {"grant_type": "authorization_code", "code": "code-1", "redirect_uri": "https://a.b"}
    by_refresh = {"grant_type": "refresh_token", "refresh_token": "pinr_test"}
    by_app = {"grant_type": "client_credentials", "scope": "ads:read"}
    for form in (by_code, by_refresh, by_app):
        check(pinterest.token(form), form)
    pinterest.behaviour.rotate_refresh = False
    pinterest.simulator.tokens.add_refresh_token("pinr_2")
    by_refresh["refresh_token"] = "pinr_2"
    check(pinterest.token(by_refresh), by_refresh)


def test_refusals_keep_to_the_document(pinterest: Caller) -> None:
    list_id = pinterest.create()
    refusals = [
        pinterest.lists("GET", "/1"),
        pinterest.lists("GET", headers={"Authorization": None}),
        pinterest.lists("POST", json={}),
        pinterest.call("GET", "/ad_accounts/1"),
        pinterest.token({"grant_type": "refresh_token"}),
    ]
    for status in (400, 401):
        pinterest.behaviour.dead_refresh_status = status
        dead = {"grant_type": "refresh_token", "refresh_token": "pinr_dead"}
        refusals.append(pinterest.token(dead))
    accounts = pinterest.simulator.accounts
    for state in ("disapproved", "under review"):
        accounts.set_state(ACCOUNT, state)
        refusals.append(pinterest.lists("GET"))
    accounts.set_state(ACCOUNT, "active")
    accounts.set_roles(ACCOUNT, "ANALYST")
    refusals.append(pinterest.audiences("GET"))
    accounts.set_roles(ACCOUNT, "OWNER")
    pinterest.simulator.apps.restrict()
    refusals.append(pinterest.lists("GET"))
    pinterest.simulator.apps.restrict(restricted=False)
    for fault in ("rate_limited", "server_error", "unavailable", "teapot", "conflict"):
        pinterest.faults.script(fault)
        refusals.append(pinterest.patch(list_id, "ADD", "c"))
    for reply in refusals:
        assert reply.status_code >= 400
        check(reply)


@pytest.mark.parametrize(
    ("request_change", "reply_change", "complaint"),
    [
        ({"operation_type": "add"}, {}, "request: operation_type: 'add' is not one of"),
        ({"records": ["a"]}, {}, "request: records"),
        ({"recrods": "a"}, {}, "request: unknown field recrods"),
        ({}, {"id": 4189001}, "reply: id: 4189001 is not of type 'string'"),
        ({}, {"status": "GONE"}, "reply: status: 'GONE' is not one of"),
    ],
)
def test_what_the_document_does_not_declare_is_found(
    pinterest: Caller,
    request_change: dict[str, Any],
    reply_change: dict[str, Any],
    complaint: str,
) -> None:
    body = {"operation_type": "ADD", "records": "a"}
    reply = pinterest.patch(pinterest.create(), "ADD", "a")
    url = str(reply.request.url)
    content = json.loads(reply.text)
    assert openapi.problems("PATCH", url, 200, body, content) == []
    (found,) = openapi.problems("PATCH", url, 200, body | request_change, content | reply_change)
    assert complaint in found


def test_a_query_or_an_operation_that_the_document_does_not_declare_is_found() -> None:
    page: dict[str, Any] = {"items": [], "bookmark": None}
    path = f"/v5/ad_accounts/{ACCOUNT}/customer_lists"
    assert openapi.problems("GET", path + "?page_size=250", 200, None, page) == []
    assert len(openapi.problems("GET", path + "?page_size=251", 200, None, page)) == 1
    assert len(openapi.problems("GET", path + "?name=VIP", 200, None, page)) == 1
    assert len(openapi.problems("DELETE", path, 200, None, page)) == 1
