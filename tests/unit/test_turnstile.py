"""The way to a server that tests shut and open."""

from __future__ import annotations

import socket

import pytest

from tests.acceptance.turnstile import Turnstile

OFTEN = 50


def test_it_can_be_shut_and_opened_again_at_once() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with server, Turnstile(server.getsockname()) as way:
        for _ in range(OFTEN):
            way.away()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", way.port)).close()
            way.open()
            socket.create_connection(("127.0.0.1", way.port)).close()
