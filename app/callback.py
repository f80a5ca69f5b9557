"""The loopback address that receives Pinterest's answer after a person allowed the login.

It listens on this machine only, takes one answer with the right state, and says in the browser what
happened. The code is good once and dies within minutes; the browser is sent on to a page without
it, so that it does not stay in the address bar.
"""

from __future__ import annotations

import hmac
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from app.errors import ConfigError, Refused

POLL_S = 0.2
LONGEST_REQUEST_S = 5.0
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Pinfold</title>
<body style="font-family: sans-serif; margin: 4em auto; max-width: 30em">
<h1>{title}</h1><p>{text}</p></body></html>"""


def read_answer(address: str, state: str) -> str:
    """The code in the address that Pinterest sent the browser to.

    Raises Refused when the person denied the login, or when the answer is not to this login.
    """
    query = parse_qs(urlsplit(address.strip()).query)
    given = query.get("state", [""])[0]
    if not hmac.compare_digest(given.encode(), state.encode()):
        raise Refused("this answer belongs to another login: its state differs; nothing was stored")
    if "error" in query:
        raise Refused("the login was denied at Pinterest; nothing was stored")
    code = query.get("code", [""])[0]
    if not code:
        raise Refused("the answer of Pinterest holds no code; nothing was stored")
    return code


class Callback:
    """Waits at ``http://localhost:PORT/`` for one answer. Use as a context."""

    def __init__(self, port: int, state: str) -> None:
        """Raises ConfigError when the port is taken."""
        self._state = state
        self._address: str | None = None
        callback = self

        class Answering(BaseHTTPRequestHandler):
            timeout = LONGEST_REQUEST_S

            def do_GET(self) -> None:
                callback._answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing: the request line holds the code."""

        try:
            self._server = HTTPServer(("127.0.0.1", port), Answering)
        except OSError:
            raise ConfigError(
                f"port {port} is taken: name another one with --port (or PINFOLD_CALLBACK_PORT), "
                "and register http://localhost:PORT/ with your Pinterest app"
            ) from None
        self._server.timeout = POLL_S
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Callback:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def wait(self, seconds: float, given_up: threading.Event | None = None) -> str:
        """The code. Raises Refused after so many seconds, or when the person denied the login."""
        deadline = time.monotonic() + seconds
        while self._address is None:
            if time.monotonic() > deadline or (given_up is not None and given_up.is_set()):
                raise Refused(
                    f"nobody allowed the login within {seconds / 60:.0f} minutes; nothing was "
                    "stored. Try again, or --no-browser where the browser is elsewhere"
                )
            self._server.handle_request()
        self._server.handle_request()  # the page that the browser is sent on to
        return read_answer(self._address, self._state)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        if parts.path == "/done":
            _show(request, 200, "Pinfold has its answer", "This window can be closed.")
            return
        try:
            read_answer(request.path, self._state)
        except Refused as problem:
            if "denied" not in str(problem):
                _show(request, 400, "Not this login", str(problem))
                return
        self._address = self._address or request.path
        request.send_response(303)
        request.send_header("Location", "/done")
        _end(request, b"")


def _show(request: BaseHTTPRequestHandler, status: int, title: str, text: str) -> None:
    request.send_response(status)
    request.send_header("Content-Type", "text/html; charset=utf-8")
    _end(request, _PAGE.format(title=title, text=text).encode())


def _end(request: BaseHTTPRequestHandler, body: bytes) -> None:
    for name, value in (
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Referrer-Policy", "no-referrer"),
        ("Connection", "close"),
    ):
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
