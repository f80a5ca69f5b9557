"""HTTP/1.1 of the Pinterest simulator: reading requests, delivering replies well and badly."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from app.sandbox.pinterest_api import PinterestApi
from app.sandbox.pinterest_consent import ConsentPage
from app.sandbox.pinterest_inspection import Inspection
from app.sandbox.pinterest_messages import Reply

_CHUNK = b" " * 65_536


class SimulatorServer(ThreadingHTTPServer):
    """A thread per connection, on loopback only. Refuses connections until it is activated."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(
        self,
        port: int,
        api: PinterestApi,
        consent: ConsentPage,
        inspection: Inspection,
        wait: Callable[[float], bool],
    ) -> None:
        super().__init__(("127.0.0.1", port), _Connection, bind_and_activate=False)
        self.api, self.consent, self.inspection, self.wait = api, consent, inspection, wait
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._gone = False
        self.server_bind()

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
            if self._gone:
                _hang_up(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def go_away(self) -> None:
        """Hang up on everybody, for good."""
        self.server_close()
        with self._lock:
            self._gone = True
            for connection in self._connections:
                _hang_up(connection)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # the client was quicker
        connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: SimulatorServer
    _reset = False

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client may go away whenever it likes
            super().handle()

    def finish(self) -> None:
        self.server.closed(self.connection)
        super().finish()
        if self._reset:
            # Lingering for no time turns the close into a reset; it has to come before the
            # orderly shutdown that the server ends a connection with.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name is inherited
        """Keep quiet: the books know everything."""

    def _answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.close_connection = True
            self._deliver(Reply.of(411, {"code": 411, "message": "Content-Length is required."}))
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                self._deliver(self._reply(body))
            else:  # the client died while sending: nothing was received
                self.close_connection = True

    # The standard library asks for one method per verb.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - its names

    def _reply(self, body: bytes) -> Reply:
        if self.path.startswith("/v5/"):
            authorization = self.headers.get("Authorization") or ""
            return self.server.api.answer(self.command, self.path[3:], authorization, body)
        if self.path.startswith("/_sandbox/"):
            return self.server.inspection.answer(self.command, self.path[9:], body)
        path, _, query = self.path.partition("?")
        if path == "/oauth/":
            return self.server.consent.answer(self.command, query, body)
        return Reply.of(404, {"code": 404, "message": "Route not found."})

    def _deliver(self, reply: Reply) -> None:
        if reply.status is None:
            self.close_connection, self._reset = True, reply.delivery == "reset"
            if reply.delivery == "half_status":
                self.connection.sendall(b"HTTP/1.1 20")
            return
        payload = reply.payload if self.command != "HEAD" else b""
        match reply.delivery:
            case "truncated":
                self.close_connection = True
                head = self._head(reply, len(payload))
                self.connection.sendall(head + payload[: len(payload) // 2])
            case "huge":
                self._stream(reply)
            case "drip":
                self._drip(self._head(reply, len(payload)), payload, reply.seconds)
            case _:
                # One write: two would wait for each other's acknowledgement.
                self.connection.sendall(self._head(reply, len(reply.payload)) + payload)

    def _head(self, reply: Reply, length: int) -> bytes:
        status = reply.status or 0
        phrase = self.responses.get(status, ("Unknown", ""))[0]
        headers = {
            "Date": self.date_time_string(),
            "Content-Type": reply.content_type,
            "Content-Length": str(length),
            "Connection": "close" if self.close_connection else "keep-alive",
            **reply.headers,
        }
        lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        return "\r\n".join([f"HTTP/1.1 {status} {phrase}", *lines, "", ""]).encode("latin-1")

    def _stream(self, reply: Reply) -> None:
        self.connection.sendall(self._head(reply, reply.size))
        left = reply.size
        while left > 0:
            self.connection.sendall(_CHUNK[:left])
            left -= len(_CHUNK)

    def _drip(self, head: bytes, payload: bytes, seconds: float) -> None:
        self.connection.sendall(head)
        for position in range(len(payload)):
            if self.server.wait(seconds):
                self.close_connection = True
                return
            self.connection.sendall(payload[position : position + 1])
