"""Connections to Pinterest outlive a turn, for whoever speaks for the same account and login."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.pinterest.client import PinterestClient
from app.pinterest.kept_sessions import KEPT_FOR_S, KeptSessions
from app.pinterest.wire import Patience
from tests.workshop import Workshop, emails


class Pinterest(ThreadingHTTPServer):
    """Answers every request; knows how many connections were opened."""

    daemon_threads = True
    connections = 0
    silent = False

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Pinterest

    def do_GET(self) -> None:
        if self.server.silent:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def pinterest() -> Iterator[Pinterest]:
    server = Pinterest(("127.0.0.1", 0), Answers)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield server
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture(autouse=True)
def none_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pinterest.wire.KEPT", KeptSessions())


@contextmanager
def client_of(server: Pinterest, token: str = "a") -> Iterator[PinterestClient]:
    base_url = f"http://127.0.0.1:{server.server_address[1]}/v5"
    client = PinterestClient(base_url, "549", token, Patience(1, 2, 4))
    yield client
    client.close()


def test_the_next_client_goes_on_over_the_same_connection(pinterest: Pinterest) -> None:
    for _ in range(3):
        with client_of(pinterest) as client:
            assert client.get_account().ok
    assert pinterest.connections == 1


def test_two_clients_at_once_never_share_a_connection(pinterest: Pinterest) -> None:
    with client_of(pinterest) as first, client_of(pinterest) as second:
        assert first.get_account().ok
        assert second.get_account().ok
    assert pinterest.connections == 2


def test_another_login_gets_a_connection_of_its_own(pinterest: Pinterest) -> None:
    for token in ("a", "b", "a"):
        with client_of(pinterest, token) as client:
            assert client.get_account().ok
    assert pinterest.connections == 2


def test_one_that_rested_for_too_long_is_not_used_again(
    pinterest: Pinterest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(pinterest) as client:
        assert client.get_account().ok
    now = time.monotonic()
    monkeypatch.setattr("app.pinterest.kept_sessions.time.monotonic", lambda: now + KEPT_FOR_S + 1)
    with client_of(pinterest) as client:
        assert client.get_account().ok
    assert pinterest.connections == 2


def test_one_whose_request_was_not_answered_is_not_kept(pinterest: Pinterest) -> None:
    with client_of(pinterest) as client:
        assert client.get_account().ok
        pinterest.silent = True
        assert client.get_account().status is None
    pinterest.silent = False
    with client_of(pinterest) as client:
        assert client.get_account().ok
    assert pinterest.connections == 2


def test_a_pinterest_that_closed_it_meanwhile_costs_nothing_and_leaves_no_doubt(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.upload(audience_id, *emails(range(3)))
    workshop.simulator.stop()
    workshop.simulator.start()
    workshop.upload(audience_id, *emails(range(3, 6)))
    assert {state for *_, state in workshop.attempts(audience_id)} == {"sent"}


def test_one_that_rested_for_too_long_within_a_turn_is_opened_anew(
    pinterest: Pinterest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(pinterest) as client:
        assert client.get_account().ok
        now = time.monotonic()
        monkeypatch.setattr("app.pinterest.wire.time.monotonic", lambda: now + KEPT_FOR_S + 1)
        assert client.get_account().ok
    assert pinterest.connections == 2
