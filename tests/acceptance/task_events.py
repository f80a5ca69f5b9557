"""What Celery tells its monitors about tasks, taken down while a test runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from celery import Celery


class Task(NamedTuple):
    kind: str
    """task-sent or task-received."""
    name: str
    args: str
    kwargs: str


@contextmanager
def watched_tasks(broker_url: str) -> Iterator[Callable[[], list[Task]]]:
    """Gives a callable that returns the tasks that were sent or received so far."""
    seen: list[Task] = []
    ended = threading.Event()

    def note(event: dict[str, Any]) -> None:
        if event["type"] in ("task-sent", "task-received"):
            seen.append(Task(event["type"], event["name"], event["args"], event["kwargs"]))

    celery_app = Celery("watcher", broker=broker_url)
    with celery_app.connection_for_read() as connection:
        receiver = celery_app.events.Receiver(connection, handlers={"*": note})

        def watch() -> None:
            with receiver.consumer_context() as (own_connection, _, _):
                while not ended.is_set():
                    with suppress(TimeoutError):
                        own_connection.drain_events(timeout=0.2)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield lambda: list(seen)
        finally:
            ended.set()
            thread.join()
