"""The two brokers as the torture treats them: silenced, restarted, emptied, and more."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import redis
from kombu import Connection
from kombu.exceptions import OperationalError

from app.sandbox.embedded_valkey import EmbeddedValkey
from tests.acceptance.publishing import DEAD, EVENTS, forget_queues, ready
from tests.acceptance.turnstile import Turnstile

HINTS = ("flush", "deliver", "upkeep")
GIVEN_BACK_AFTER_S = 0.5
"""Within it intake acknowledges what it staged, unless somebody stopped it."""


class Broker(Protocol):
    name: str
    url: str
    keeps_messages: bool
    """Whether a published and confirmed message always arrives."""

    def silence(self) -> None:
        """From now on, answer nobody."""

    def speak(self) -> None: ...

    def restart(self) -> None:
        """End all connections; what was accepted is kept."""

    def forget_hints(self) -> None:
        """Lose every hint that waits."""

    def forget_everything(self) -> None:
        """Lose all there is. Only while no membership message waits."""

    def deliver_again(self) -> None:
        """Give messages that nobody acknowledged in time to somebody else."""

    def waiting(self) -> int:
        """Membership messages that intake has not acknowledged yet."""

    def stop(self) -> None: ...


class Valkey:
    name = "Valkey"
    keeps_messages = False

    def __init__(self, place: Path) -> None:
        self._server = EmbeddedValkey(place)
        self._server.start()
        self.url = self._server.url()
        self._socket = urlsplit(self.url.replace("redis+socket", "unix")).path

    def silence(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def speak(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def restart(self) -> None:
        child = self._server.child
        assert child is not None
        child.stop()
        child.start()

    def forget_hints(self) -> None:
        with self._client() as client:
            client.delete(*HINTS)

    def forget_everything(self) -> None:
        self._server.flush()

    def deliver_again(self) -> None:
        options = {"visibility_timeout": GIVEN_BACK_AFTER_S, "socket_timeout": 5}
        with Connection(self.url, transport_options=options) as connection:
            connection.default_channel.qos.restore_visible(num=1_000)

    def waiting(self) -> int:
        with self._client() as client:
            held = [value for value in client.hvals("unacked") if EVENTS.encode() in value]
            return int(client.llen(EVENTS)) + len(held)

    def stop(self) -> None:
        self._server.stop()

    @contextmanager
    def _client(self) -> Iterator[redis.Redis]:
        with redis.Redis(unix_socket_path=self._socket, socket_timeout=5) as client:
            yield client

    @property
    def _pid(self) -> int:
        assert self._server.pid is not None
        return self._server.pid


class RabbitMQ:
    """A server that others use too: reached through a turnstile, which is shut in its stead."""

    name = "RabbitMQ"
    keeps_messages = True

    def __init__(self, url: str) -> None:
        self._direct = url
        place = urlsplit(url)
        self._turnstile = Turnstile((place.hostname or "127.0.0.1", place.port or 5672))
        self._turnstile.__enter__()
        login = f"{place.username}:{place.password}@" if place.username else ""
        self.url = place._replace(netloc=f"{login}127.0.0.1:{self._turnstile.port}").geturl()
        forget_queues(url, EVENTS, DEAD, *HINTS)

    def silence(self) -> None:
        self._turnstile.away()

    def speak(self) -> None:
        self._turnstile.open()

    def restart(self) -> None:
        self._turnstile.away()
        self._turnstile.open()

    def forget_hints(self) -> None:
        with Connection(self._direct) as connection:
            for name in HINTS:
                with suppress(connection.channel_errors), connection.channel() as channel:
                    channel.queue_purge(name)

    def forget_everything(self) -> None:
        self.forget_hints()

    def deliver_again(self) -> None:
        self.restart()

    def waiting(self) -> int:
        return ready(self._direct)

    def stop(self) -> None:
        self._turnstile.__exit__()
        with suppress(OperationalError, OSError):
            forget_queues(self._direct, EVENTS, DEAD, *HINTS)
