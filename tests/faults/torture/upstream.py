"""Upstream systems: threads that tell of changes, each in its own way, until told to stop.

Whoever is not answered says the same again under the same key, until it is.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import requests

from app.errors import Unavailable
from app.formats import own
from app.staging import Intake, stage
from tests.faults.torture.conditions import AUDIENCES
from tests.faults.torture.dice import dice
from tests.faults.torture.ground import Ground
from tests.faults.torture.people import (
    OVER_HTTP,
    SHARED,
    Change,
    Diary,
    Moments,
    Person,
    changes,
    people_of,
)

DIRECT_CALLERS, HTTP_CALLERS = 3, 2
REST_S = 0.25
PEOPLE_AT_ONCE = 6
PATIENCE_S = 20.0


class Upstream(threading.Thread):
    """One caller with dice of its own."""

    def __init__(self, ground: Ground, diary: Diary, moments: Moments, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.ground, self.diary, self.moments = ground, diary, moments
        self.chance = dice(ground.seed, "upstream", name)
        self.stopping = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.wait(self.chance.random() * 2 * REST_S):
            number += 1
            try:
                self.tell(f"{self.name}-{number}")
            except Exception as problem:  # noqa: BLE001 the judge is told of it
                self.diary.complaints.append(f"{self.name} met {type(problem).__name__}: {problem}")

    def tell(self, key: str) -> None:
        raise NotImplementedError

    def insisting(self) -> Iterator[None]:
        """Once at least, and again after a pause until told to stop."""
        yield
        while not self.stopping.wait(0.1 + self.chance.random() / 3):
            yield


def _choose(
    chance: random.Random, people: dict[str, list[Person]], moments: Moments
) -> tuple[tuple[Change, ...], list[dict[str, Any]]]:
    """Some people of one audience or two, and what is to be told of them."""
    told: list[tuple[Change, dict[str, Any]]] = []
    for audience in chance.sample(sorted(people), chance.choice((1, 1, 1, 2))):
        count = min(len(people[audience]), 1 + chance.randrange(PEOPLE_AT_ONCE))
        told += changes(audience, chance.sample(people[audience], count), chance, moments)
    return tuple(change for change, _ in told), [message for _, message in told]


class DirectCaller(Upstream):
    """Calls ``stage`` itself. Several tell of the same people at the same time."""

    def tell(self, key: str) -> None:
        people = {audience: people_of(audience, SHARED) for audience in AUDIENCES}
        told, messages = _choose(self.chance, people, self.moments)
        self.diary.calls[key] = told
        events = [event for message in messages for event in own.read(message).events]
        for _ in self.insisting():
            with suppress(Unavailable):
                staged = stage(self._intake, events, dedupe_key=key)
                if not staged.duplicate and staged.accepted != len(events):
                    self.diary.complaints.append(f"{key}: {staged.rejections[0]}")
                self.diary.accepted.add(key)
                return

    @property
    def _intake(self) -> Intake:
        return Intake(self.ground.deployment, "direct")


class HttpCaller(Upstream):
    """Posts to the service; each has people of its own."""

    def tell(self, key: str) -> None:
        place = int(self.name.rsplit("-", 1)[1])
        people = {
            audience: people_of(audience, OVER_HTTP)[place::HTTP_CALLERS] for audience in AUDIENCES
        }
        told, messages = _choose(self.chance, people, self.moments)
        self.diary.calls[key] = told
        headers = {"Authorization": f"Bearer {self._secret}", "Idempotency-Key": key}
        for _ in self.insisting():
            with suppress(requests.RequestException):
                answer = requests.post(
                    f"http://127.0.0.1:{self.ground.api_port}/v1/events",
                    data=orjson.dumps(messages),
                    headers=headers,
                    timeout=PATIENCE_S,
                )
                if answer.status_code == 200:
                    self.diary.accepted.add(key)
                    return
                if answer.status_code != 503:
                    self.diary.complaints.append(f"{key}: HTTP {answer.status_code}")

    @property
    def _secret(self) -> str:
        return (self.ground.place / "secret").read_text()


def all_callers(ground: Ground, diary: Diary, moments: Moments) -> list[Upstream]:
    """Those who call, not yet started."""
    return [
        *(DirectCaller(ground, diary, moments, f"direct-{n}") for n in range(DIRECT_CALLERS)),
        *(HttpCaller(ground, diary, moments, f"http-{n}") for n in range(HTTP_CALLERS)),
    ]
