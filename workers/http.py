"""The HTTP service as processes: one uvicorn in each, and this one that keeps them running.

A request is parsed and answered by the event loop, what waits for Postgres waits in threads. More
processes use more cores; each opens up to twice ``THREADS`` connections to Postgres. Each has a
socket of its own on the same port, so that the kernel deals connections out evenly.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from fastapi import FastAPI

from app.deployment import Deployment
from app.doorbell import Doorbell, SilentDoorbell
from app.errors import ConfigError, Unavailable
from app.settings import Settings, environment, load_settings, set_for_children
from workers.prompt import PromptProtocol

COUNTS = "PROMETHEUS_MULTIPROC_DIR"
"""Where the client library has the processes keep their counts; it is read as it is imported."""
CONNECTIONS_AT_ONCE = 2_000
"""Open connections and requests of one process; what comes beyond is answered 503."""
GRACE_S = 8
"""For requests under way when the service is to stop; containers are killed after ten seconds."""
ORPHAN_GRACE_S = 3.0
LOOK_S = 0.5
TURN_S = 0.001
"""After which a thread that reads a large body lets the event loop go on: a fifth of the usual."""
SHORT_LIFE_S = 3.0
"""A process that ends sooner will not do better when it is started again."""


def serve(host: str, port: int, processes: int) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are answered first.

    Raises ConfigError when the address cannot be had, Unavailable when a process cannot stay up.
    """
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    sockets = _listen(host, port, processes)
    with TemporaryDirectory(prefix="pinfold-api-") as counts:
        set_for_children(COUNTS, counts)
        children = [_start(each) for each in sockets]
        try:
            _keep_running(children, sockets, stopping)
        finally:
            for child, _ in children:
                child.terminate()
            for child, _ in children:
                child.join()


def _listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets that share an address; it must not be shared with another service already."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # told to be TCP, or asyncio leaves small answers waiting for the acknowledgement of others
        sockets = [socket.socket(family, kind, socket.IPPROTO_TCP) for _ in range(count)]
        with socket.socket(family, kind, socket.IPPROTO_TCP) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(address)
    except OSError as problem:
        raise ConfigError(f"cannot listen on {host}:{port}: {problem.strerror}") from None
    return sockets


def _start(listening: socket.socket) -> tuple[BaseProcess, float]:
    """A process that serves a socket, and when it was started."""
    child = multiprocessing.get_context("spawn").Process(target=_serve_on, args=(listening,))
    child.start()
    return child, time.monotonic()


def _keep_running(
    children: list[tuple[BaseProcess, float]], sockets: list[socket.socket], stopping: list[int]
) -> None:
    while not stopping:
        wait([child.sentinel for child, _ in children], timeout=LOOK_S)
        for place, (child, started_at) in enumerate(children):
            if child.is_alive() or stopping:
                continue
            if time.monotonic() - started_at < SHORT_LIFE_S:
                raise Unavailable("the HTTP service ended as it started: its log says why")
            children[place] = _start(sockets[place])


def _serve_on(listening: socket.socket) -> None:
    """One process of the service, until SIGTERM."""
    _end_with_parent()
    config = uvicorn.Config(
        create,
        factory=True,
        http=PromptProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_AT_ONCE,
        timeout_graceful_shutdown=GRACE_S,
    )
    uvicorn.Server(config).run(sockets=[listening])


def create() -> FastAPI:
    """The application of this process, set up from the environment."""
    from app.api.service import THREADS, create_service  # noqa: PLC0415 after COUNTS is set

    _collect_rarely()
    sys.setswitchinterval(TURN_S)
    settings = load_settings()
    counts = environment().get(COUNTS)
    return create_service(
        Deployment(settings, connections=THREADS),
        _doorbell(settings),
        counts if counts and Path(counts).is_dir() else None,
    )


def _doorbell(settings: Settings) -> Doorbell:
    """Rings over the broker; without one beat will notice."""
    from celery import Celery  # noqa: PLC0415

    from workers.configuration import configuration  # noqa: PLC0415
    from workers.doorbell import CeleryDoorbell  # noqa: PLC0415

    try:
        return CeleryDoorbell(Celery("pinfold", config_source=configuration(settings)), settings)
    except ConfigError:
        return SilentDoorbell()


def _collect_rarely() -> None:
    """A call makes ten thousand small objects and no cycle: looking for one is a tenth of it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 50)


def _end_with_parent() -> None:
    """A process ends when the one that started it was killed; slow senders do not hold it up."""
    parent = multiprocessing.parent_process()

    def end() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(ORPHAN_GRACE_S)
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()
