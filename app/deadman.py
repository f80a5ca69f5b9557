"""The dead-man timer: a worker frozen beyond its lease is killed before it can act again.

A kernel timer runs while a request is out. When the process was stopped or starved past it,
SIGALRM at its default action ends the process before another instruction of ours runs
(reliability, D5: 87 stale sends without it, none with it). Only the main thread of a process can
be guarded so, which is why only prefork workers deliver.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import ConfigError


@contextmanager
def armed(seconds: float) -> Iterator[None]:
    """Die by SIGALRM if the block takes longer than ``seconds``.

    Raises ConfigError outside the main thread, where the timer would not protect anything.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError(
            "requests to Pinterest need a worker with processes: "
            "start it with --pool=prefork, not threads, gevent or eventlet"
        )
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
