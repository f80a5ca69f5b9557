"""The Celery app that ``celery -A workers`` loads."""

from __future__ import annotations

from celery import Celery

from app.errors import ConfigError
from app.settings import load_settings
from workers.configuration import configuration
from workers.ending import end_undisturbed
from workers.mistakes import Step
from workers.reconnecting import mend_redis_transport


def create_app() -> Celery:
    try:
        settings = load_settings()
        include = ["workers.tasks", "workers.process"]
        celery_app = Celery("pinfold", task_cls=Step, include=include)
        celery_app.conf.update(configuration(settings))
    except ConfigError as problem:
        raise SystemExit(f"pinfold: {problem}") from None
    mend_redis_transport()
    end_undisturbed()
    return celery_app


app = create_app()
