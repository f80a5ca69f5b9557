"""Clients of the HTTP service in a process of their own, which do as little as clients can.

One thread, many kept connections; requests are whole bytes beforehand, answers are only counted.
Either each connection sends its next request as soon as it was answered, or requests are due so
many a second, whatever the service does: then a request's time counts from when it was due, also
while it still waits for a connection.

Run with a request on standard input, this module is that process; nothing else is imported.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

PIECE = 1 << 16
PATIENCE_S = 60.0
END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"


class Sent(NamedTuple):
    """From the first request to the last answer, and how long each answer took."""

    seconds: float
    latencies: list[float]
    statuses: dict[str, int]


class Connection:
    """A connection that has at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def begin(self, request: memoryview, since: float) -> None:
        self.since = since
        self._unsent, self._answer = request, b""
        self.send()

    def send(self) -> None:
        """Hand over as much of the request as the kernel takes now."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            pass

    def has_more_to_send(self) -> bool:
        return bool(self._unsent)

    def receive(self) -> str | None:
        """The status once the whole answer is there, None before."""
        piece = self.socket.recv(PIECE)
        if not piece:
            raise ConnectionError("the service hung up on a request")
        self._answer += piece
        head, found, body = self._answer.partition(END_OF_HEAD)
        if not found or len(body) < _length(head):
            return None
        return self._answer[9:12].decode()


def send_all(
    port: int, requests: Sequence[memoryview], connections: int, per_second: float | None
) -> Sent:
    """Send all requests, and wait for all answers."""
    with selectors.DefaultSelector() as ready:
        opened = [Connection(port) for _ in range(min(connections, len(requests)))]
        idle = deque(opened)
        for connection in opened:
            ready.register(connection.socket, selectors.EVENT_READ, connection)
        latencies: list[float] = []
        statuses: Counter[str] = Counter()
        start, begun = perf_counter(), 0
        while len(latencies) < len(requests):
            wait = PATIENCE_S
            while idle and begun < len(requests):
                now = perf_counter()
                due = start + begun / per_second if per_second else now
                if due > now:
                    wait = due - now
                    break
                connection = idle.popleft()
                connection.begin(requests[begun], due)
                _listen_for(ready, connection)
                begun += 1
            for key, events in ready.select(wait):
                connection = key.data
                if events & selectors.EVENT_WRITE:
                    connection.send()
                    _listen_for(ready, connection)
                if events & selectors.EVENT_READ and (status := connection.receive()):
                    latencies.append(perf_counter() - connection.since)
                    statuses[status] += 1
                    idle.append(connection)
        seconds = perf_counter() - start
        for connection in opened:
            connection.socket.close()
    return Sent(seconds, latencies, statuses)


def _listen_for(ready: selectors.BaseSelector, connection: Connection) -> None:
    """Writing is asked for only while there is something left to write."""
    events = selectors.EVENT_READ
    if connection.has_more_to_send():
        events |= selectors.EVENT_WRITE
    if ready.get_key(connection.socket).events != events:
        ready.modify(connection.socket, events, connection)


def _length(head: bytes) -> int:
    _, _, after = head.lower().partition(LENGTH)
    return int(after.partition(b"\r\n")[0])


def main() -> None:
    """What the process does: read the requests, send them, tell."""
    asked = json.load(sys.stdin)
    everything = memoryview(Path(asked["file"]).read_bytes())
    requests, at = [], 0
    for length in asked["lengths"]:
        requests.append(everything[at : at + length])
        at += length
    sent = send_all(asked["port"], requests, asked["connections"], asked["per_second"])
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
