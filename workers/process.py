"""What a worker process checks before it works, and what it carries.

A worker refuses to start with a wrong or missing key, on a schema it does not know, or with a pool
whose tasks the dead-man timer cannot guard. Its children open connections of their own.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
from functools import cache
from typing import Any

from celery.exceptions import WorkerShutdown
from celery.platforms import EX_FAILURE
from celery.signals import (
    celeryd_after_setup,
    heartbeat_sent,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_shutdown,
    worker_shutting_down,
)

from app.deployment import Deployment
from app.errors import ConfigError, PinfoldError, Unavailable
from app.processes import Presence
from app.settings import load_settings

log = logging.getLogger(__name__)
_stop_asked = mmap.mmap(-1, 1)
"""A byte that the children share. No lock goes with it that one killed in time would keep."""


@cache
def deployment() -> Deployment:
    """The process's access to the installation."""
    return Deployment(load_settings())


def stopping() -> bool:
    """True once this worker was asked to stop: long turns end after the request under way."""
    return _stop_asked[0] == 1


def refuse_other_pools(instance: Any, **_: Any) -> None:
    """Requests to Pinterest are made by processes only: threads cannot be fenced by a timer."""
    pool = instance.pool_cls if isinstance(instance.pool_cls, str) else instance.pool_cls.__module__
    if "prefork" not in pool:
        raise SystemExit(
            "pinfold: workers need --pool=prefork: the timer that keeps a frozen worker from "
            "sending too late cannot guard threads, gevent, eventlet or solo"
        )


@cache
def presence() -> Presence:
    """The worker's row among the running processes: one for the node with all its children."""
    return Presence(deployment(), "worker")


def check_before_work(sender: Any, **_: Any) -> None:
    """Refuse to start with a clear line where work could only fail."""
    presence().where = f"{sender.hostname}:{os.getpid()}"
    try:
        deployment().require_schema()
        presence().renew()
    except PinfoldError as problem:
        raise SystemExit(f"pinfold: {problem}") from None


def stay_noted(**_: Any) -> None:
    """Say that the worker runs: at its heartbeat and before each task, once a minute at most.

    A worker that was taken for gone, and whose key was dropped or whose schema was taken away, ends
    before it meets that.
    """
    try:
        presence().renew()
    except ConfigError as problem:
        log.critical("%s", problem)
        raise WorkerShutdown(EX_FAILURE) from None
    except Unavailable as problem:
        log.warning("cannot note that this worker runs: %s", problem)


def leave(**_: Any) -> None:
    presence().leave()


def start_child(**_: Any) -> None:
    """A child never shares its parent's sockets, and the dead-man timer must really kill."""
    deployment().engine.dispose(close=False)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def ask_turns_to_end(**_: Any) -> None:
    _stop_asked[0] = 1


celeryd_after_setup.connect(refuse_other_pools)
worker_init.connect(check_before_work)
worker_process_init.connect(start_child)
heartbeat_sent.connect(stay_noted)
task_prerun.connect(stay_noted)
worker_shutdown.connect(leave)
worker_shutting_down.connect(ask_turns_to_end)
