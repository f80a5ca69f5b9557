"""Celery's settings: queues, the beat table, and what fits messages that are only hints.

Reasons for the settings: reliability, part B. In short: early acknowledgement, no Celery retry, no
result backend and no countdown, because Postgres redoes what was lost; timeouts around every use
of the broker, because one that accepts and stays silent would hang a publisher for ever.
"""

from __future__ import annotations

from typing import Any

from kombu import Exchange, Queue

from app.settings import Settings
from workers.steady_schedule import SteadySchedule

QUEUES = ("flush", "deliver", "upkeep")
TIDY_INTERVAL_S = 600.0
MINUTE_S = 60.0


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings for one installation; raises ConfigError without a broker."""
    broker_url = settings.require_broker_url()
    is_rabbitmq = broker_url.startswith(("amqp", "pyamqp"))
    arguments = {"x-queue-type": "quorum"} if is_rabbitmq else None
    exchange = _exchange(is_rabbitmq)
    return {
        "broker_url": broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_acquire_timeout": 10,
        "broker_transport_options": _transport_options(is_rabbitmq),
        "task_publish_retry_policy": {
            "max_retries": 2,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "task_time_limit": max(600, settings.slice * 2),
        "task_queues": [
            Queue(name, exchange, routing_key=name, queue_arguments=arguments) for name in QUEUES
        ],
        "task_default_exchange": exchange.name,
        "task_default_queue": "upkeep",
        "task_default_queue_type": "quorum" if is_rabbitmq else "classic",
        "task_routes": {
            "pinfold.flush": {"queue": "flush"},
            "pinfold.deliver": {"queue": "deliver"},
        },
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 500,
        "worker_max_memory_per_child": 400_000,
        "worker_soft_shutdown_timeout": settings.call_deadline + 10,
        "worker_hijack_root_logger": True,
        "beat_scheduler": "workers.steady_scheduler:SteadyScheduler",
        "beat_max_loop_interval": min(5.0, settings.check_interval),
        "beat_schedule": {
            "what is due": {
                "task": "pinfold.check_due",
                "schedule": SteadySchedule(settings.check_interval),
            },
            "what Pinterest says": {
                "task": "pinfold.observe",
                "schedule": SteadySchedule(MINUTE_S),
            },
            "renew logins": {
                "task": "pinfold.renew_logins",
                "schedule": SteadySchedule(MINUTE_S),
            },
            "join small chunks": {
                "task": "pinfold.compact",
                "schedule": SteadySchedule(MINUTE_S),
            },
            "tidy up": {"task": "pinfold.tidy", "schedule": SteadySchedule(TIDY_INTERVAL_S)},
            "do the books balance": {
                "task": "pinfold.check_books",
                "schedule": SteadySchedule(TIDY_INTERVAL_S),
            },
        },
        "timezone": "UTC",
    }


def _exchange(is_rabbitmq: bool) -> Exchange:
    """Where hints are published.

    Through a direct one kombu reaches a Redis queue by its name alone, so a wiped Redis loses no
    binding and the next hint arrives. On RabbitMQ, where a broker keeps its bindings, Celery wants
    to bind its delayed queues, which nobody here uses, to a topic exchange.
    """
    return Exchange("pinfold", type="topic" if is_rabbitmq else "direct", durable=True)


def _transport_options(is_rabbitmq: bool) -> dict[str, Any]:
    if is_rabbitmq:
        return {"confirm_publish": True, "read_timeout": 10, "write_timeout": 10}
    return {
        "visibility_timeout": 3_600,
        "socket_timeout": 10,  # must exceed the 1 s that the transport blocks for a message
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
    }
