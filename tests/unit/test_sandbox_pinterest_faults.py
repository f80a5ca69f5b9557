"""Bad days of the simulated Pinterest: what a client sees, and what the books say happened."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from app.sandbox.pinterest_faults import FAULTS
from tests.pinterest_caller import ACCOUNT, Caller, calling, refusal

REFUSED = {
    "rate_limited": (429, 8),
    "transient_400": (400, 12),
    "bad_request": (400, 1),
    "server_error": (500, 500),
    "unavailable": (503, 4197),
    "expired_token": (401, 2),
    "missing_scope": (401, 3),
    "forbidden": (403, 29),
    "gone": (404, 404),
    "too_large": (413, 413),
    "conflict": (409, 409),
    "teapot": (418, 7418),
}


@pytest.fixture
def pinterest() -> Iterator[Caller]:
    with calling() as caller:
        yield caller


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


@pytest.mark.parametrize("fault", REFUSED)
def test_a_refusal_applies_nothing_and_meets_only_its_call(pinterest: Caller, fault: str) -> None:
    list_id = pinterest.create("a")
    pinterest.faults.script(fault, operation="patch", list_id=list_id)
    assert pinterest.lists("GET", f"/{list_id}").ok
    assert refusal(pinterest.patch(list_id, "ADD", "b")) == REFUSED[fault]
    assert pinterest.books.membership(list_id) == {"a"}
    assert pinterest.patch(list_id, "ADD", "b").ok
    refused = pinterest.books.writes(list_id)[1]
    assert (refused.status, refused.fault, refused.applied) == (REFUSED[fault][0], fault, False)


def test_a_refusal_can_use_other_words_and_numbers(pinterest: Caller) -> None:
    pinterest.faults.script("gone", code=2, message="AdAccount not found.")
    reply = pinterest.lists("GET")
    assert reply.json() == {"code": 2, "message": "AdAccount not found."}


def test_a_429_comes_with_or_without_a_time_to_wait(pinterest: Caller) -> None:
    pinterest.faults.script("rate_limited", reset=17)
    assert pinterest.lists("GET").headers["x-ratelimit-reset"] == "17"
    pinterest.faults.script("rate_limited", reset=None, retry_after="whenever")
    bare = pinterest.lists("GET")
    assert "x-ratelimit-reset" not in bare.headers
    assert bare.headers["Retry-After"] == "whenever"


def test_poison_is_refused_wherever_it_comes_until_cleared(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    pinterest.faults.script("refuse_records", times=None, records={"bad"})
    assert refusal(pinterest.patch(list_id, "ADD", "b, bad")) == (400, 1)
    assert refusal(pinterest.patch(list_id, "REMOVE", "bad,a")) == (400, 1)
    assert refusal(pinterest.lists("POST", json={"name": "X", "records": "bad"})) == (400, 1)
    assert pinterest.patch(list_id, "ADD", "badger,b").ok
    assert pinterest.books.membership(list_id) == {"a", "b", "badger"}
    pinterest.faults.clear()
    assert pinterest.patch(list_id, "ADD", "bad").ok


def test_poison_can_be_told_by_a_predicate(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    pinterest.faults.script("refuse_records", predicate=lambda digest: digest.startswith("x"))
    assert pinterest.patch(list_id, "ADD", "b").ok
    assert refusal(pinterest.patch(list_id, "ADD", "xb")) == (400, 1)


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "reset_after", "half_status"])
@pytest.mark.parametrize("operation", ["patch", "create_list"])
def test_a_broken_connection_hides_whether_it_was_applied(
    pinterest: Caller, fault: str, operation: str
) -> None:
    list_id = pinterest.create("a")
    pinterest.faults.script(fault, operation=operation)
    body = {"name": "Next", "records": "b", "operation_type": "ADD"}
    method, path = ("PATCH", f"/{list_id}") if operation == "patch" else ("POST", "")
    with pytest.raises(requests.ConnectionError) as failure:
        pinterest.lists(method, path, json=body)
    assert ("reset by peer" in str(failure.value)) == (fault == "reset_after")
    assert ("BadStatusLine" in str(failure.value)) == (fault == "half_status")
    applied = fault != "drop_before"
    last = pinterest.books.writes()[-1]
    assert (last.applied, last.status, last.digests) == (applied, None, ["b"])
    if operation == "patch":
        assert pinterest.books.membership(list_id) == ({"a", "b"} if applied else {"a"})
        assert pinterest.books.records_applied(list_id) == 1 + applied
        assert pinterest.books.records_seen(list_id) == 2
    else:
        assert len(pinterest.books.lists()) == 1 + applied


def test_records_surely_refused_do_not_count_as_seen(pinterest: Caller) -> None:
    list_id = pinterest.create("a,b")
    for fault in ("rate_limited", "server_error", "server_error_after", "html"):
        pinterest.faults.script(fault)
        pinterest.patch(list_id, "ADD", "c,d,e")
    assert pinterest.books.records_applied(list_id) == 2 + 3
    assert pinterest.books.records_seen(list_id) == 2 + 3 * 3


def test_a_500_may_come_after_it_was_applied(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    pinterest.faults.script("server_error_after")
    assert pinterest.patch(list_id, "ADD", "b").status_code == 500
    assert pinterest.books.membership(list_id) == {"a", "b"}


def test_a_late_write_is_applied_after_the_client_gave_up_and_after_newer_ones(
    pinterest: Caller,
) -> None:
    list_id = pinterest.create("a")
    pinterest.faults.script("late", operation="patch", seconds=0.3)
    with pytest.raises(requests.Timeout):
        pinterest.patch(list_id, "ADD", "b", timeout=0.05)
    assert pinterest.books.records_seen(list_id) == 2
    assert pinterest.patch(list_id, "REMOVE", "b").ok
    until(lambda: pinterest.books.membership(list_id) == {"a", "b"})
    late, newer = pinterest.books.writes(list_id)[1:]
    assert (late.sequence, late.applied_sequence) == (2, 3)
    assert (newer.sequence, newer.applied_sequence) == (3, 2)
    assert late.status is None


def test_a_slow_reply_was_applied_at_once(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    pinterest.faults.script("slow", seconds=0.2)
    with pytest.raises(requests.ReadTimeout):
        pinterest.patch(list_id, "ADD", "b", timeout=0.05)
    assert pinterest.books.membership(list_id) == {"a", "b"}


def test_a_body_may_be_cut_short_or_be_no_json(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    pinterest.faults.script("truncated")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        pinterest.patch(list_id, "ADD", "b")
    pinterest.faults.script("garbage")
    reply = pinterest.patch(list_id, "ADD", "c")
    assert reply.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        reply.json()
    assert pinterest.books.membership(list_id) == {"a", "b", "c"}


def test_a_body_may_be_huge_or_come_in_drips(pinterest: Caller) -> None:
    pinterest.faults.script("huge", size=3_000_000)
    assert len(pinterest.lists("GET").content) == 3_000_000
    pinterest.faults.script("drip", seconds=0.01)
    started = time.monotonic()
    reply = pinterest.lists("GET", timeout=0.15)
    assert reply.json() == {"items": [], "bookmark": None}
    # No single wait reaches the client's timeout, yet all of them together do.
    assert time.monotonic() - started >= 0.01 * len(reply.content) > 0.15


def test_other_answers_than_pinterests_own(pinterest: Caller) -> None:
    pinterest.faults.script("redirect")
    redirect = pinterest.lists("GET", "?page_size=2")
    assert redirect.status_code == 307
    assert redirect.headers["Location"] == f"/v5/ad_accounts/{ACCOUNT}/customer_lists"
    pinterest.faults.script("html")
    page = pinterest.lists("GET")
    assert (page.status_code, page.headers["Content-Type"]) == (502, "text/html")
    pinterest.faults.script("created")
    assert pinterest.lists("GET").status_code == 201


def test_scripts_wait_for_their_operation_and_play_as_often_as_asked(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    pinterest.faults.script("conflict", times=2, skip=1, operation="any write")
    pinterest.faults.script("teapot", operation="any read", ad_account="1")
    pinterest.faults.script("gone", list_id="1")
    statuses = [pinterest.patch(list_id, "ADD", "b").status_code for _ in range(4)]
    assert statuses == [200, 409, 409, 200]
    assert pinterest.lists("GET").ok
    assert pinterest.faults.remaining() == 2


def test_the_same_seed_draws_the_same_faults(pinterest: Caller) -> None:
    list_id = pinterest.create("a")

    def statuses(seed: int) -> list[int]:
        pinterest.faults.probability({"conflict": 0.3, "gone": 0.3}, seed=seed)
        return [pinterest.patch(list_id, "ADD", "b").status_code for _ in range(40)]

    first = statuses(7)
    assert set(first) == {200, 404, 409}
    assert statuses(7) == first
    assert statuses(8) != first


@pytest.mark.parametrize("mistake", [{"fault": "drop"}, {"fault": "slow", "second": 1}])
def test_a_fault_or_an_option_that_does_not_exist_is_an_error(
    pinterest: Caller, mistake: dict[str, Any]
) -> None:
    with pytest.raises((ValueError, TypeError), match=r"unknown fault|second"):
        pinterest.faults.script(**mistake)
    assert pinterest.inspect("POST", "/faults", json=mistake).status_code == 400


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_after_any_fault_the_next_call_goes_well(pinterest: Caller, fault: str) -> None:
    list_id = pinterest.create("a")
    pinterest.faults.script(fault, seconds=0.0, records=["b"], size=10)
    with suppress(requests.RequestException):
        pinterest.patch(list_id, "ADD", "b")
    assert pinterest.patch(list_id, "ADD", "c").ok
    assert pinterest.books.writes(list_id)[1].fault == fault


def test_a_request_that_breaks_off_half_way_was_never_received(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    with socket.create_connection(("127.0.0.1", pinterest.simulator.port), timeout=5) as wire:
        head = f"PATCH /v5/ad_accounts/{ACCOUNT}/customer_lists/{list_id} HTTP/1.1\r\n"
        wire.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        wire.shutdown(socket.SHUT_WR)
        assert wire.recv(100) == b""
    assert len(pinterest.books.requests()) == 1
