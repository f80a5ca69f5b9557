"""Mistakes: what a step that failed as nobody foresaw may tell Celery, its log and Flower.

Celery logs and passes on the text of whatever a task raises, and the text of a mistake may hold
what the step was reading. What is raised on purpose goes on as it is: it names nobody.
"""

from __future__ import annotations

from typing import Any

from celery import Task

from app.errors import PinfoldError, kind_and_place


class Mistake(PinfoldError):
    """A step failed as nobody foresaw: says with what kind of error, and where."""


class Step(Task):  # type: ignore[misc]
    """A task that tells of a mistake no more than its kind and place."""

    def __call__(self, *values: Any, **named: Any) -> Any:
        try:
            return self.run(*values, **named)
        except PinfoldError:
            raise
        except Exception as problem:  # noqa: BLE001 raised again below, without its text
            told = kind_and_place(problem)
        raise Mistake(told)  # not within the except: what it came from would be logged with it
