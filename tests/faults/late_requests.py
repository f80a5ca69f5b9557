"""The way from the workers to Pinterest: who sent what, and requests that arrive late.

A request that is late goes nowhere at first. Its worker is told that the time for an answer is
over; Pinterest gets it, and applies it, when the test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from app.sandbox.pinterest import PinterestSimulator
from tests.faults.mortal_workers import Step, WorkersClock, this_step

Call = Callable[[], requests.Response]


@dataclass
class LateRequest:
    attempt: Any
    request: requests.PreparedRequest
    sent_at: float


class Way:
    """The way that the requests of all workers go."""

    def __init__(self, simulator: PinterestSimulator, clock: WorkersClock) -> None:
        self.simulator, self.clock = simulator, clock
        self.attempt_of: dict[int, Any] = {}
        """The attempt behind each request, by its place in Pinterest's history."""
        self.late: list[LateRequest] = []

    @staticmethod
    @contextmanager
    def carrying(way: Callable[[], Way]) -> Iterator[None]:
        """Let all requests of workers go a way, which may be another one each time."""
        send = HTTPAdapter.send

        def carried(adapter: HTTPAdapter, request: Any, *args: Any, **more: Any) -> Any:
            step = this_step()
            if step is None:
                return send(adapter, request, *args, **more)
            return way()._carry(step, request, lambda: send(adapter, request, *args, **more))

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(HTTPAdapter, "send", carried)
            yield

    def let_arrive(self, late: LateRequest) -> None:
        """Pinterest gets a late request now. Nobody waits for the answer."""
        self.late.remove(late)
        with requests.Session() as session:
            session.trust_env = False
            self._noted(late.attempt, lambda: session.send(late.request, timeout=60))

    def _carry(self, step: Step, request: requests.PreparedRequest, call: Call) -> Any:
        step.come_by("request", "before")
        try:
            if request.method != "GET" and step.late_after is not None:
                step.late_after -= 1
                if step.late_after < 0:
                    step.late_after = None
                    self.late.append(LateRequest(step.attempt, request, self.clock.monotonic()))
                    raise requests.ReadTimeout
            return self._noted(step.attempt, call)
        finally:
            step.answered = True
            step.come_by("request", "after")

    def _noted(self, attempt: Any, call: Call) -> requests.Response:
        known = len(self.simulator.books.requests())
        try:
            return call()
        finally:
            for entry in self.simulator.books.requests()[known:]:
                self.attempt_of[entry.sequence] = attempt
