"""The Pinterest client: one call is at most one request, and every end of it is an Answer."""

import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.pinterest.client import PinterestClient
from app.pinterest.oauth import OAuthClient
from app.pinterest.outcomes import Answer, Settlement, judge
from app.pinterest.wire import LARGEST_REPLY, Patience
from app.sandbox.pinterest import PinterestSimulator
from app.sandbox.stack import free_port
from tests.workshop import ACCOUNT, TOKEN

PATIENCE = Patience(0.5, 0.5, 1.0)
DIGEST = b"7ac429373cf077cc6f61eb587d3e66c108a21716"

SENT, REFUSED, UNKNOWN = Settlement.SENT, Settlement.REFUSED, Settlement.UNKNOWN


def client_of(base_url: str, patience: Patience = PATIENCE, token: str = TOKEN) -> PinterestClient:
    return PinterestClient(base_url, ACCOUNT, token, patience)


@pytest.fixture
def client(simulator: PinterestSimulator) -> Iterator[PinterestClient]:
    made = client_of(simulator.base_url)
    yield made
    made.close()


@pytest.fixture
def list_id(client: PinterestClient, simulator: PinterestSimulator) -> str:
    return str(client.create_list("VIP", "EMAIL", DIGEST).body["id"])


@pytest.mark.parametrize(
    ("fault", "options", "settlement", "status"),
    [
        ("rate_limited", {}, REFUSED, 429),
        ("transient_400", {}, REFUSED, 400),
        ("bad_request", {}, REFUSED, 400),
        ("server_error", {}, UNKNOWN, 500),
        ("server_error_after", {}, UNKNOWN, 500),
        ("unavailable", {"retry_after": "1"}, UNKNOWN, 503),
        ("expired_token", {}, REFUSED, 401),
        ("missing_scope", {}, REFUSED, 401),
        ("forbidden", {}, REFUSED, 403),
        ("gone", {}, REFUSED, 404),
        ("too_large", {}, REFUSED, 413),
        ("conflict", {}, REFUSED, 409),
        ("teapot", {}, REFUSED, 418),
        ("redirect", {}, UNKNOWN, 307),
        ("html", {}, UNKNOWN, 502),
        ("drop_before", {}, UNKNOWN, None),
        ("drop_after", {}, UNKNOWN, None),
        ("reset_after", {}, UNKNOWN, None),
        ("half_status", {}, UNKNOWN, None),
        ("slow", {"seconds": 0.8}, UNKNOWN, None),
        ("late", {"seconds": 0.8}, UNKNOWN, None),
        ("created", {}, SENT, 201),
        ("truncated", {}, SENT, 200),
        ("garbage", {}, SENT, 200),
        ("garbage", {"body": "[1]"}, SENT, 200),
        ("garbage", {"body": '"text"'}, SENT, 200),
    ],
)
def test_one_call_is_one_request_whatever_comes_back(
    simulator: PinterestSimulator,
    client: PinterestClient,
    list_id: str,
    fault: str,
    options: dict[str, object],
    settlement: Settlement,
    status: int | None,
) -> None:
    simulator.faults.script(fault, operation="patch", **options)  # type: ignore[arg-type]
    before = len(simulator.books.requests())
    answer = client.change_list(list_id, "ADD", DIGEST)
    assert answer.status == status
    assert judge(answer).settlement is settlement
    assert len(simulator.books.requests()) == before + 1


def test_a_connection_that_was_closed_between_two_calls_costs_no_second_request(
    simulator: PinterestSimulator, client: PinterestClient, list_id: str
) -> None:
    """A kept-alive connection that died is where libraries like to send again on their own."""
    simulator.stop()
    simulator.start()
    before = len(simulator.books.requests())
    answers = [client.change_list(list_id, "ADD", DIGEST) for _ in range(2)]
    answered = [answer for answer in answers if answer.ok]
    assert len(simulator.books.requests()) - before == len(answered)
    assert answers[1].ok


def test_records_and_name_arrive_as_given(
    simulator: PinterestSimulator, client: PinterestClient
) -> None:
    name = 'Käufer "2026" \\ a\u2028b'
    answer = client.create_list(name, "MAID", DIGEST + b"," + DIGEST[::-1])
    assert answer.ok
    made = simulator.books.list_named(name)
    assert made["list_type"] == "MAID"
    assert simulator.books.membership(made["id"]) == {DIGEST.decode(), DIGEST.decode()[::-1]}
    assert answer.request_id


def test_a_reply_of_a_gigabyte_is_not_read_to_its_end(
    simulator: PinterestSimulator, client: PinterestClient, list_id: str
) -> None:
    simulator.faults.script("huge", operation="patch", size=1 << 30)
    tracemalloc.start()
    try:
        answer = client.change_list(list_id, "ADD", DIGEST)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.ok
    assert answer.body == {}
    assert peak < 16 * LARGEST_REPLY


def test_a_body_that_drips_ends_with_the_deadline_and_counts_by_its_status(
    simulator: PinterestSimulator, list_id: str
) -> None:
    client = client_of(simulator.base_url, Patience(0.5, 0.5, 0.6))
    simulator.faults.script("drip", operation="patch", seconds=0.05)
    began = time.monotonic()
    answer = client.change_list(list_id, "ADD", DIGEST)
    client.close()
    assert time.monotonic() - began < 3
    assert answer.ok
    assert answer.body == {}


def test_an_answer_that_does_not_come_ends_with_the_read_timeout(
    simulator: PinterestSimulator, client: PinterestClient, list_id: str
) -> None:
    simulator.faults.script("late", operation="patch", seconds=5)
    began = time.monotonic()
    answer = client.change_list(list_id, "ADD", DIGEST)
    assert 0.4 < time.monotonic() - began < 2
    assert (answer.status, answer.left, answer.fault) == (None, True, "timed out")


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param(lambda: f"http://127.0.0.1:{free_port(0)}/v5", id="refused"),
        pytest.param(lambda: "http://no-such-host.invalid/v5", id="no such name"),
    ],
)
def test_what_never_left_is_known_to_have_stayed(base_url: Callable[[], str]) -> None:
    client = client_of(base_url())
    answer = client.change_list("1", "ADD", DIGEST)
    client.close()
    assert judge(answer).settlement is REFUSED
    assert answer.fault is not None
    assert TOKEN not in answer.fault


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does one thing with each connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            ended.set()
            thread.join()


def speaks_no_tls(connection: socket.socket) -> None:
    connection.recv(4_096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def hangs_up(connection: socket.socket) -> None:
    connection.recv(4_096)


def test_a_failed_tls_handshake_is_known_to_have_sent_nothing() -> None:
    with listening(speaks_no_tls) as port:
        client = client_of(f"https://127.0.0.1:{port}/v5")
        answer = client.change_list("1", "ADD", DIGEST)
        client.close()
    assert judge(answer).settlement is REFUSED


def test_a_handshake_that_breaks_off_is_never_taken_for_sent() -> None:
    with listening(hangs_up) as port:
        client = client_of(f"https://127.0.0.1:{port}/v5")
        answer = client.change_list("1", "ADD", DIGEST)
        client.close()
    assert judge(answer).settlement in (UNKNOWN, REFUSED)


def test_nothing_of_the_environment_changes_a_call(
    simulator: PinterestSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(netrc.read_text())
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port(0)}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    client = client_of(simulator.base_url)
    answer = client.get_account()
    client.close()
    assert answer.ok
    assert simulator.books.requests()[-1].token == TOKEN


def test_no_redirect_is_followed_and_no_token_carried_elsewhere(
    simulator: PinterestSimulator, client: PinterestClient
) -> None:
    simulator.faults.script("redirect")
    assert client.get_account().status == 307
    assert len(simulator.books.requests()) == 1


@pytest.mark.parametrize(
    ("status_fault", "header", "expected"),
    [
        ("rate_limited", {"reset": 7}, 7.0),
        ("rate_limited", {"reset": 7, "retry_after": "3"}, 3.0),
        ("rate_limited", {"reset": "soon"}, None),
        ("rate_limited", {"reset": None}, None),
        ("rate_limited", {"reset": None, "retry_after": "Thu, 01 Jan 1970 00:00:00 GMT"}, -1e9),
        ("unavailable", {"retry_after": "12"}, 12.0),
        ("unavailable", {"retry_after": "1.5"}, 1.5),
        ("unavailable", {"retry_after": "twelve"}, None),
        ("unavailable", {"retry_after": "9" * 400}, 1e17),
        ("unavailable", {}, None),
    ],
)
def test_the_wait_that_pinterest_names_is_read(
    simulator: PinterestSimulator,
    client: PinterestClient,
    status_fault: str,
    header: dict[str, object],
    expected: float | None,
) -> None:
    simulator.faults.script(status_fault, **header)  # type: ignore[arg-type]
    answer = client.get_account()
    if expected is None:
        assert answer.retry_after is None
    elif expected < 0:
        assert answer.retry_after is not None
        assert answer.retry_after < expected
    else:
        assert answer.retry_after is not None
        assert answer.retry_after >= expected
    wait = judge(answer).wait
    assert wait is None or 1 <= wait <= 3_600


def test_pages_come_newest_first_until_there_are_no_more(
    simulator: PinterestSimulator, client: PinterestClient
) -> None:
    for number in range(260):
        assert client.create_list(f"L{number}", "EMAIL", DIGEST).ok
    pages = list(client.list_pages())
    names = [item["name"] for page in pages for item in page.body["items"]]
    assert names == [f"L{number}" for number in reversed(range(260))]
    assert [len(page.body["items"]) for page in pages] == [250, 10]


def test_pages_end_with_the_first_that_fails(
    simulator: PinterestSimulator, client: PinterestClient
) -> None:
    simulator.faults.script("server_error")
    pages: list[Answer] = list(client.audience_pages())
    assert [page.status for page in pages] == [500]


def test_secrets_that_an_answer_repeats_are_removed(simulator: PinterestSimulator) -> None:
    token, secret, refresh = "an unusual token", "the app's own", "another unusual token"
    echo = f"{token} of {secret} and {refresh} may not"
    simulator.set_token_state(token, "valid")
    simulator.faults.script("bad_request", times=None, message=echo)
    asking = client_of(simulator.base_url, token=token)
    granting = OAuthClient(simulator.base_url, "1", secret, PATIENCE)
    assert asking.get_account().message == f"[removed] of {secret} and {refresh} may not"
    assert granting.refresh(refresh).message == f"{token} of [removed] and [removed] may not"
    assert "another" not in granting.refresh(refresh).message
    asking.close()
    granting.close()
