"""When things happen: the Celery app, its tasks, and the consumer of membership messages.

    celery -A workers worker     flushes and delivers (queues flush, deliver, upkeep)
    celery -A workers beat       asks every 15 seconds what is due
    celery -A workers flower     shows it

Messages are hints that carry row ids: losing, doubling or delaying them changes nothing but the
time at which something happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery


def __getattr__(name: str) -> Celery:
    """``workers.app`` for Celery's commands, made when asked for: `pinfold` needs no broker."""
    if name != "app":
        raise AttributeError(name)
    from workers.celery_app import app  # noqa: PLC0415

    return app
