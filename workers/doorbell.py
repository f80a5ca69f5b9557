"""The doorbell over Celery: publish a hint, soon and without waiting for long.

Where the broker is silent one ring takes as long as its time-out. So after one that failed the
bell is silent until the next due check, which finds everything that is rung for meanwhile.
"""

from __future__ import annotations

import logging
import math
import time
from typing import Any

from celery import Celery

from app.settings import Settings

log = logging.getLogger(__name__)
EXPIRES_AFTER_CHECKS = 4
"""A hint older than this is void: the due check has rung again since."""


class CeleryDoorbell:
    """Rings by task name, so that it can be used where the tasks are not imported."""

    def __init__(self, celery_app: Celery, settings: Settings) -> None:
        self._app = celery_app
        self._check_interval = settings.check_interval
        self._expires = max(settings.check_interval * EXPIRES_AFTER_CHECKS, 60.0)
        self._silent_until = -math.inf

    def flush(self, audience_id: int) -> None:
        self._ring("pinfold.flush", audience_id)

    def deliver(self, list_id: int) -> None:
        self._ring("pinfold.deliver", list_id)

    def _ring(self, task: str, row_id: int) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            self._app.send_task(task, args=(row_id,), expires=self._expires)
        except Exception as problem:  # noqa: BLE001 whatever the broker's trouble, beat rings again
            self._silent_until = time.monotonic() + self._check_interval
            log.warning("cannot ring for %s %s: %s", task, row_id, type(problem).__name__)


def workers_answering(celery_app: Celery, timeout: float) -> list[str]:
    """The names of the workers that answer a ping; raises when the broker is away."""
    replies: dict[str, Any] = celery_app.control.inspect(timeout=timeout).ping() or {}
    return sorted(replies)
