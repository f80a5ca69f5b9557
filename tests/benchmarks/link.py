"""A slow link: a TCP proxy on loopback that delays what passes, as distance would.

    python -m tests.benchmarks.link --target 8089 --round-trip 0.05

What is modelled, for each connection and each of its directions:

* bytes arrive half a round trip after they depart;
* the first ones depart two round trips after the connection was opened: one for TCP, one for the
  handshake of TLS 1.3, which is not spoken here;
* slow start: what is under way and not acknowledged is bounded by a window of ten segments, which
  grows by whatever is acknowledged, so that it doubles with each round trip, up to what fills the
  bandwidth. It stays open while the connection is used, and is halved with each time-out that
  passes without use, as Linux does.

Nothing is ever lost, and connections do not compete for the bandwidth. Encryption costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from signal import SIGTERM

from app.sandbox.children import tethered

HERE = "127.0.0.1"
SEGMENT = 1_460
"""Bytes of a request in one packet."""
FIRST_WINDOW = 10 * SEGMENT
"""Of RFC 6928, which Linux follows."""
HANDSHAKES = 2
"""Round trips before the first byte of a request departs."""
BANDWIDTH = 100e6 / 8
"""Bytes a second."""
SHORTEST_TIMEOUT_S = 0.2
"""What Linux adds to the round trip before it takes a connection for rested."""
READ_SIZE = 1 << 16


@dataclass
class Direction:
    """One direction of a connection; tells when bytes arrive. Times are seconds by any clock."""

    round_trip: float
    bandwidth: float = BANDWIDTH
    window: float = FIRST_WINDOW
    _departed_at: float = float("-inf")
    _under_way: int = 0
    _acknowledged_at: deque[tuple[float, int]] = field(default_factory=deque)

    def arrival(self, size: int, now: float) -> float:
        """When the last of ``size`` bytes arrives that are handed over now."""
        self._when_room(0, now)  # what was acknowledged meanwhile has opened the window
        self._shrink(now)
        for start in range(0, size, SEGMENT):
            segment = min(SEGMENT, size - start)
            departs = self._when_room(segment, max(now, self._departed_at))
            self._departed_at = departs + segment / self.bandwidth
            self._under_way += segment
            self._acknowledged_at.append((self._departed_at + self.round_trip, segment))
        return self._departed_at + self.round_trip / 2

    def _when_room(self, segment: int, now: float) -> float:
        """When the window has room for a segment; opens it by what is acknowledged until then."""
        widest = max(FIRST_WINDOW, self.bandwidth * self.round_trip)
        while self._acknowledged_at:
            at, size = self._acknowledged_at[0]
            if at > now and self._under_way + segment <= self.window:
                break
            self._acknowledged_at.popleft()
            self._under_way -= size
            self.window = min(self.window + size, widest)
            now = max(now, at)
        return now

    def _shrink(self, now: float) -> None:
        timeout = self.round_trip + SHORTEST_TIMEOUT_S
        rested = now - self._departed_at
        while rested > timeout and self.window > FIRST_WINDOW:
            self.window = max(self.window / 2, FIRST_WINDOW)
            rested -= timeout


class Link:
    """The proxy: one direction each way for every connection that is opened."""

    def __init__(self, target: int, round_trip: float, bandwidth: float) -> None:
        self._target, self._round_trip, self._bandwidth = target, round_trip, bandwidth

    async def carry(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        opened = asyncio.get_running_loop().time() + HANDSHAKES * self._round_trip
        try:
            far, to_far = await asyncio.open_connection(HERE, self._target)
        except OSError:  # nobody is there any more: hang up as well
            to_near.close()
            return
        await asyncio.gather(self._delay(near, to_far, opened), self._delay(far, to_near, opened))

    async def _delay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: float
    ) -> None:
        """Pass on one direction to its end, each piece when the whole of it arrives."""
        direction = Direction(self._round_trip, self._bandwidth)
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        handing_over = asyncio.create_task(_hand_over(pieces, writer))
        clock = asyncio.get_running_loop().time
        piece = b"-"
        while piece:
            try:
                piece = await reader.read(READ_SIZE)
            except OSError:  # it was reset; the other side sees an end
                piece = b""
            pieces.put_nowait((direction.arrival(len(piece), max(clock(), opened)), piece))
        await handing_over


async def _hand_over(
    pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
) -> None:
    """Write each piece when it arrives; an empty one is the end."""
    clock = asyncio.get_running_loop().time
    with suppress(OSError):  # who went away gets no more
        while True:
            arrives, piece = await pieces.get()
            await asyncio.sleep(max(0.0, arrives - clock()))
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
    writer.close()


@contextmanager
def slow_link(base_url: str, round_trip: float, bandwidth: float = BANDWIDTH) -> Iterator[str]:
    """A base URL that leads to the same server on loopback by way of a link of its own process."""
    scheme, _, rest = base_url.partition("://")
    host_and_port, slash, path = rest.partition("/")
    command = [sys.executable, "-m", "tests.benchmarks.link"]
    command += ["--target", host_and_port.rpartition(":")[2]]
    command += ["--round-trip", str(round_trip), "--bandwidth", str(bandwidth)]
    with subprocess.Popen(
        tethered(command, None, SIGTERM), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if not port:
                raise RuntimeError("the link did not start")
            yield f"{scheme}://{HERE}:{port}{slash}{path}"
        finally:
            process.terminate()


async def _serve(target: int, round_trip: float, bandwidth: float) -> None:
    link = Link(target, round_trip, bandwidth)
    server = await asyncio.start_server(link.carry, HERE, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry connections until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.link")
    parser.add_argument("--target", type=int, required=True, help="a port on loopback")
    parser.add_argument("--round-trip", type=float, required=True, help="seconds")
    parser.add_argument("--bandwidth", type=float, default=BANDWIDTH, help="bytes a second")
    options = parser.parse_args(arguments)
    asyncio.run(_serve(options.target, options.round_trip, options.bandwidth))


if __name__ == "__main__":
    main()
