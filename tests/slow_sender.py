"""A sender that speaks HTTP by hand: piece by piece, too much, too slowly, or half of it.

Libraries send a whole body before they look for an answer; here the answer may come before.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.client import HTTPResponse
from typing import NamedTuple, Self

from tests.service import Service

PATIENCE_S = 30.0


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: str


class Sender:
    """One connection and one request on it."""

    def __init__(self, service: Service, path: str, secret: str | None, **headers: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", service.port), PATIENCE_S)
        self.sent = 0
        given = {"Host": "test", **{name.replace("_", "-"): text for name, text in headers.items()}}
        if secret is not None:
            given["Authorization"] = f"Bearer {secret}"
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {text}" for name, text in given.items())]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def is_answered(self, within: float = 0.0) -> bool:
        """Whether an answer, or a hang-up, came already."""
        return bool(select.select([self._socket], [], [], within)[0])

    def send(self, piece: bytes) -> bool:
        """Send a piece of the body; False when the service hung up."""
        try:
            self._socket.sendall(piece)
        except OSError:
            return False
        self.sent += len(piece)
        return True

    def send_chunks(self, pieces: Iterable[bytes], *, heeding: bool = True) -> None:
        """Send chunks until the service answers, or hangs up where answers are not heeded."""
        for piece in pieces:
            if heeding and self.is_answered():
                return
            if not self.send(b"%x\r\n%s\r\n" % (len(piece), piece)):
                return
        self.send(b"0\r\n\r\n")

    def answer(self) -> Answer:
        response = HTTPResponse(self._socket, method="POST")
        try:
            response.begin()
            return Answer(response.status, dict(response.getheaders()), response.read().decode())
        finally:
            response.close()

    def hang_up(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
