"""A way to a server that a test can shut, in the two ways in which networks fail.

``hang``: dialling neither fails nor gets through. The queue of connections is full, so the kernel
goes on dialling on behalf of the client, even of one that is frozen. This makes the worst moment
last: after the charge, before the first byte.

``away``: what is connected is cut off, and dialling is refused.
"""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import Self

from app.sandbox.stack import free_port

HERE = "127.0.0.1"
Target = tuple[str, int] | str
"""Host and port, or the path of a unix socket."""


class Turnstile:
    """Passes connections on to a server."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.port = free_port(0)
        self._listening = _listen(self.port)
        self._may_accept = threading.Event()
        self._accepting = threading.Lock()
        self._ended = False
        self._crowd: list[socket.socket] = []
        self._passing: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._may_accept.set()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self.open()
        self._thread.join()
        self._cut_off()
        self._listening.close()

    def hang(self) -> None:
        """Let nobody through: fill the queue, so that further connections hang in dialling."""
        self._may_accept.clear()
        for _ in range(4):
            visitor = socket.socket()
            visitor.settimeout(0.3)
            self._crowd.append(visitor)
            with suppress(TimeoutError):
                visitor.connect((HERE, self.port))

    def away(self) -> None:
        """Hang up on everybody and refuse further connections."""
        self._may_accept.clear()
        with self._accepting:  # what is closed while it is listened on goes on listening a moment
            self._listening.close()
        self._cut_off()

    def open(self) -> None:
        """Send the crowd away and let everybody through."""
        for visitor in self._crowd:
            visitor.close()
        self._crowd.clear()
        if self._listening.fileno() < 0:
            self._listening = _listen(self.port)
        self._may_accept.set()

    def _cut_off(self) -> None:
        for side in self._passing:
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        self._passing.clear()

    def _run(self) -> None:
        while not self._ended:
            self._may_accept.wait()
            with self._accepting, suppress(OSError):  # nobody came in a moment, or it is closed
                visitor, _ = self._listening.accept()
                threading.Thread(target=self._pass_on, args=(visitor,), daemon=True).start()

    def _pass_on(self, visitor: socket.socket) -> None:
        """Copy both ways until either side hangs up."""
        with visitor, _dial(self._target) as server, selectors.DefaultSelector() as ready:
            self._passing += [visitor, server]
            ready.register(visitor, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, visitor)
            with suppress(OSError):
                while True:
                    for key, _ in ready.select():
                        source = key.fileobj
                        assert isinstance(source, socket.socket)
                        if not (passed := source.recv(1 << 16)):
                            return
                        key.data.sendall(passed)


def _listen(port: int) -> socket.socket:
    listening = socket.create_server((HERE, port), backlog=0)
    listening.settimeout(0.1)
    return listening


def _dial(target: Target) -> socket.socket:
    if not isinstance(target, str):
        return socket.create_connection(target)
    server = socket.socket(socket.AF_UNIX)
    server.connect(target)
    return server
