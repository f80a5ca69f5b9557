"""Each request of our client, and each reply it gets, is as Pinterest's document declares."""

import io
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import requests
from urllib3 import HTTPResponse

from app.pinterest.client import PinterestClient
from app.pinterest.wire import Patience
from app.sandbox.pinterest import PinterestSimulator
from tests import openapi
from tests.workshop import ACCOUNT, TOKEN

pytestmark = pytest.mark.openapi

DIGEST = b"7ac429373cf077cc6f61eb587d3e66c108a21716"


class Heard:
    """The exchanges of a client, judged as they pass."""

    def __init__(self) -> None:
        self.exchanges: list[str] = []
        self.problems: list[str] = []

    def __call__(self, reply: requests.Response, *_: Any, **__: Any) -> None:
        request = reply.request
        body = orjson.loads(request.body) if request.body else None
        self.exchanges.append(f"{request.method} {reply.status_code}")
        self.problems += openapi.problems(
            str(request.method), str(request.url), reply.status_code, body, reply.json()
        )
        reply.raw = HTTPResponse(io.BytesIO(reply.content), preload_content=False)  # for the client


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def client(simulator: PinterestSimulator, heard: Heard) -> Iterator[PinterestClient]:
    made = PinterestClient(simulator.base_url, ACCOUNT, TOKEN, Patience(2, 2, 4))
    made.wire.session.hooks["response"].append(heard)
    yield made
    made.close()


@pytest.mark.parametrize("list_type", ["EMAIL", "MAID"])
def test_a_tour_of_all_calls_keeps_to_the_document(
    simulator: PinterestSimulator, client: PinterestClient, heard: Heard, list_type: str
) -> None:
    list_id = str(client.create_list("VIP", list_type, DIGEST).body["id"])
    records = b",".join([DIGEST, b"ab" * 16, b"cd" * 32])
    client.change_list(list_id, "ADD", records)
    client.change_list(list_id, "REMOVE", DIGEST)
    client.get_list(list_id)
    audience_id = str(client.create_audience("VIP", list_id).body["id"])
    client.get_audience(audience_id)
    client.get_account()
    for number in range(251):
        simulator.books.create_list(
            simulator.books.requests()[-1],
            ACCOUNT,
            f"other {number}",
            list_type="EMAIL",
            is_nca=False,
            records=None,
        )
    assert len(list(client.list_pages())) == 2
    assert len(list(client.audience_pages())) == 1
    assert heard.problems == []
    assert heard.exchanges == [
        *("POST 200", "PATCH 200", "PATCH 200", "GET 200", "POST 200"),
        *("GET 200", "GET 200", "GET 200", "GET 200", "GET 200"),
    ]


@pytest.mark.parametrize("fault", ["rate_limited", "bad_request", "gone", "server_error"])
def test_refusals_keep_to_the_document(
    simulator: PinterestSimulator, client: PinterestClient, heard: Heard, fault: str
) -> None:
    list_id = str(client.create_list("VIP", "EMAIL", DIGEST).body["id"])
    simulator.faults.script(fault, operation="patch")
    client.change_list(list_id, "ADD", DIGEST)
    assert heard.problems == []
    assert len(heard.exchanges) == 2


def test_the_check_itself_notices_what_is_wrong() -> None:
    url = f"/v5/ad_accounts/{ACCOUNT}/customer_lists/1"
    body = {"operation_type": "UPSERT", "records": "a"}
    assert openapi.problems("PATCH", url, 200, body, {}) != []
