"""What a worker process checks before it works, and what it carries.

A worker refuses to start with a wrong or missing key, on a schema it does not know, or with a pool
whose tasks the dead-man timer cannot guard. Its children open connections of their own.
"""

from __future__ import annotations

import multiprocessing
import signal
from functools import cache
from typing import Any

from celery.signals import (
    celeryd_after_setup,
    worker_init,
    worker_process_init,
    worker_shutting_down,
)

from app.deployment import Deployment
from app.errors import PinfoldError
from app.settings import load_settings

_stop_asked = multiprocessing.Event()


@cache
def deployment() -> Deployment:
    """The process's access to the installation."""
    return Deployment(load_settings())


def stopping() -> bool:
    """True once this worker was asked to stop: long turns end after the request under way."""
    return _stop_asked.is_set()


def refuse_other_pools(instance: Any, **_: Any) -> None:
    """Requests to Pinterest are made by processes only: threads cannot be fenced by a timer."""
    pool = instance.pool_cls if isinstance(instance.pool_cls, str) else instance.pool_cls.__module__
    if "prefork" not in pool:
        raise SystemExit(
            "pinfold: workers need --pool=prefork: the timer that keeps a frozen worker from "
            "sending too late cannot guard threads, gevent, eventlet or solo"
        )


def check_before_work(**_: Any) -> None:
    """Refuse to start with a clear line where work could only fail."""
    try:
        deployment().require_schema()
        _keys = deployment().keyring
    except PinfoldError as problem:
        raise SystemExit(f"pinfold: {problem}") from None


def start_child(**_: Any) -> None:
    """A child never shares its parent's sockets, and the dead-man timer must really kill."""
    deployment().engine.dispose(close=False)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def ask_turns_to_end(**_: Any) -> None:
    _stop_asked.set()


celeryd_after_setup.connect(refuse_other_pools)
worker_init.connect(check_before_work)
worker_process_init.connect(start_child)
worker_shutting_down.connect(ask_turns_to_end)
