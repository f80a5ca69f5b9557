"""The simulated link takes the time that the model of a real one says, by a clock of the test's."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.benchmarks.link import (
    BANDWIDTH,
    FIRST_WINDOW,
    HANDSHAKES,
    SEGMENT,
    Direction,
    slow_link,
)

ROUND_TRIP = 0.1
ENDLESS = 1e15
"""Bytes a second: only the window bounds what is under way."""


def flights(size: int) -> float:
    """Round trips until the last of so many bytes arrives, over a connection just opened."""
    direction = Direction(ROUND_TRIP, ENDLESS)
    return round(direction.arrival(size, 0.0) / ROUND_TRIP, 6)


@pytest.mark.parametrize(
    ("segments", "round_trips"),
    [(1, 0.5), (10, 0.5), (11, 1.5), (30, 1.5), (31, 2.5), (70, 2.5), (71, 3.5), (150, 3.5)],
)
def test_slow_start_doubles_what_is_under_way_with_each_round_trip(
    segments: int, round_trips: float
) -> None:
    assert flights(segments * SEGMENT) == round_trips


def test_a_window_that_is_open_takes_half_a_round_trip_however_much_it_held_before() -> None:
    direction = Direction(ROUND_TRIP, ENDLESS)
    first = direction.arrival(150 * SEGMENT, 0.0)
    again = direction.arrival(80 * SEGMENT, first + ROUND_TRIP / 2)
    assert again == pytest.approx(first + ROUND_TRIP)


def test_the_window_never_opens_wider_than_what_fills_the_bandwidth() -> None:
    direction = Direction(ROUND_TRIP)
    now = 0.0
    for _ in range(20):
        now = direction.arrival(1_000_000, now)
    assert direction.window == BANDWIDTH * ROUND_TRIP
    took = direction.arrival(1_000_000, now + ROUND_TRIP) - (now + ROUND_TRIP)
    assert took == pytest.approx(1_000_000 / BANDWIDTH + ROUND_TRIP / 2)


def test_the_bandwidth_holds_without_any_distance() -> None:
    assert Direction(0.0).arrival(1_000_000, 5.0) == pytest.approx(5.0 + 1_000_000 / BANDWIDTH)


def test_a_window_closes_by_half_with_each_timeout_of_rest_but_never_below_its_beginning() -> None:
    direction = Direction(ROUND_TRIP, ENDLESS)
    used = direction.arrival(310 * SEGMENT, 0.0) - ROUND_TRIP / 2
    direction.arrival(1, used + ROUND_TRIP)
    open_wide = direction.window
    assert open_wide > 4 * FIRST_WINDOW
    direction.arrival(1, used + ROUND_TRIP + 0.29)
    assert direction.window >= open_wide
    direction.arrival(1, used + ROUND_TRIP + 0.29 + 0.31)
    assert direction.window == pytest.approx(open_wide / 2, rel=0.01)
    direction.arrival(1, used + 60.0)
    assert direction.window == pytest.approx(FIRST_WINDOW, abs=2)


def test_what_was_acknowledged_before_the_rest_opened_the_window_that_the_rest_closes() -> None:
    direction = Direction(ROUND_TRIP, ENDLESS)
    direction.arrival(30 * SEGMENT, 0.0)
    direction.arrival(1, ROUND_TRIP + ROUND_TRIP + 0.25)
    assert direction.window == 40 * SEGMENT / 2


def test_what_is_handed_over_in_pieces_arrives_as_if_it_were_one() -> None:
    whole, pieces = Direction(ROUND_TRIP), Direction(ROUND_TRIP)
    last = [pieces.arrival(SEGMENT * 10, 0.0) for _ in range(20)][-1]
    assert last == pytest.approx(whole.arrival(SEGMENT * 200, 0.0))


# Over sockets.


@contextmanager
def echoing() -> Iterator[int]:
    """A server that answers every piece with as much; its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def serve(connection: socket.socket) -> None:
            with closing(connection):
                while piece := connection.recv(1 << 16):
                    connection.sendall(piece)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,)).start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()


def ask(connection: socket.socket, size: int) -> float:
    """Send so many bytes, wait for as many; the round trips that took."""
    began, sent, echoed = time.monotonic(), bytes(range(256)) * (size // 256), b""
    connection.sendall(sent)
    while len(echoed) < len(sent):
        piece = connection.recv(1 << 16)
        assert piece, "the link hung up"
        echoed += piece
    assert echoed == sent
    return (time.monotonic() - began) / ROUND_TRIP


def test_a_request_over_the_link_takes_the_round_trips_that_the_model_says() -> None:
    with echoing() as port, slow_link(f"http://127.0.0.1:{port}/v5", ROUND_TRIP) as url:
        assert url.endswith("/v5")
        where = ("127.0.0.1", int(url.split(":")[2].partition("/")[0]))
        with closing(socket.create_connection(where)) as connection:
            first, again = ask(connection, 256), ask(connection, 256)
            large = ask(connection, 102_400)
        with closing(socket.create_connection(where)) as connection:
            anew = ask(connection, 256)
    # a machine under load is late, and never early
    assert HANDSHAKES + 1 <= first < HANDSHAKES + 6
    assert 1 <= again < 6
    assert 3 <= large < 12  # at least three flights, and half a round trip back
    assert HANDSHAKES + 1 <= anew < HANDSHAKES + 6


def test_the_link_ends_a_connection_that_the_other_side_ends() -> None:
    with (
        echoing() as port,
        slow_link(f"http://127.0.0.1:{port}", ROUND_TRIP) as url,
        closing(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))) as near,
    ):
        ask(near, 256)
        near.shutdown(socket.SHUT_WR)
        assert near.recv(1) == b""


def test_the_link_hangs_up_where_nobody_listens_behind_it() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with (
        slow_link(f"http://127.0.0.1:{port}", ROUND_TRIP) as url,
        closing(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))) as near,
    ):
        near.settimeout(10)
        assert near.recv(1) == b""


def test_the_link_dies_with_the_block() -> None:
    with echoing() as port, slow_link(f"http://127.0.0.1:{port}", ROUND_TRIP) as url:
        where = ("127.0.0.1", int(url.rpartition(":")[2]))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where)
