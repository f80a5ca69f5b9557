"""Callers of the HTTP service that never pause: single events, arrays, mParticle's messages.

Each has people of its own and reckons who of them must be a member in the end. Half of the calls
carry a key (`Idempotency-Key`, or the id of mParticle's message), half carry none.
"""

from __future__ import annotations

import http.client
import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha1
from typing import NamedTuple, Self

import orjson

from app.deployment import Deployment
from app.sandbox.sample_traffic import Reckoning
from tests.service import Service

AUDIENCE = "31001"
CALLERS = 16
PEOPLE = {"one": 1, "several": 20, "mparticle": 5}
"""In a call of each kind."""
KEYED, UNKEYED = "keyed", "unkeyed"
PATIENCE_S = 120.0
"""For one call to be answered with 200, however often it has to be sent."""
PAUSE_S = 0.05
"""Of a caller who was not answered, before the call is sent again."""
START_MS = 1_760_000_000_000


class Call(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes
    label: str
    """Of the way in, as its receipts name it."""
    events: int


class Doors(NamedTuple):
    """The secrets of a token and a source for calls with keys, and of others for those without."""

    secrets: dict[str, str]

    @classmethod
    def made_in(cls, deployment: Deployment) -> Self:
        service = Service(deployment, 0)
        secrets = {f"token {name}": service.token(name=name) for name in (KEYED, UNKEYED)}
        for name in (KEYED, UNKEYED):
            secrets[f"source {name}"] = service.source(name, "mparticle")
        service.close()
        return cls(secrets)


class Caller:
    """One of those who call, in a thread of its own, over a connection it keeps."""

    def __init__(self, number: int, port: int, doors: Doors) -> None:
        self.number, self._doors = number, doors
        self.reckoning = Reckoning()
        self.accepted: Counter[str] = Counter()
        """Events that were answered with 200, by way in."""
        self.calls: Counter[str] = Counter()
        """Calls that were, by way in."""
        self.statuses: Counter[int] = Counter()
        self.unanswered = 0
        self.unsure: Counter[str] = Counter()
        """Events that may have been taken although they were not answered with 200, by way in."""
        self.gives_up = False
        self._people: dict[str, list[int]] = {kind: [] for kind in PEOPLE}
        self._next_person = itertools.count()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def run(self, ended: threading.Event, *, insisting: bool) -> None:
        """Call until told to end; a call that was not answered with 200 is sent again, or is the
        last one for somebody who does not insist."""
        calls = self.calls_to_make()
        try:
            while not ended.is_set() and self.is_taken(next(calls), insisting=insisting):
                pass
        finally:
            self._connection.close()

    def call_once(self) -> int | None:
        """Post a single event with a key; the status of the answer."""
        try:
            return self.post(next(self.calls_to_make()))
        finally:
            self._connection.close()

    def hang_up(self) -> None:
        self._connection.close()

    def post(self, call: Call) -> int | None:
        """The status of the answer, None where there was none."""
        try:
            self._connection.request("POST", call.path, call.body, call.headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as problem:
            self.unanswered += 1
            if not isinstance(problem, ConnectionRefusedError):
                self.unsure[call.label] += call.events
            self._connection.close()
            return None
        self.statuses[answer.status] += 1
        if answer.status == 200:
            self.calls[call.label] += 1
            self.accepted[call.label] += orjson.loads(body).get("accepted", call.events)
        else:
            self.unsure[call.label] += call.events
        return answer.status

    def is_taken(self, call: Call, *, insisting: bool) -> bool:
        """Whether it was answered with 200, in the end where this caller insists."""
        deadline = time.monotonic() + PATIENCE_S
        while (status := self.post(call)) != 200:
            assert status in (None, 503), f"{call.label}: answered with {status}"
            if not insisting or self.gives_up:
                return False
            assert time.monotonic() < deadline, f"{call.label}: never answered with 200"
            if status is None:
                time.sleep(PAUSE_S)
        return True

    def calls_to_make(self) -> Iterator[Call]:
        """Without end; each is to be taken before the next."""
        kinds = itertools.cycle(itertools.product(PEOPLE, (KEYED, UNKEYED)))
        for turn, (kind, key) in enumerate(kinds):
            people, entered = self._change(kind, turn)
            make = self._firehose if kind == "mparticle" else self._own
            yield make(people, turn, entered, key)

    def _change(self, kind: str, turn: int) -> tuple[list[int], bool]:
        """Who of this kind of call enters or leaves next: two calls enter, one leaves again."""
        entered = turn // (2 * len(PEOPLE)) % 3 != 2
        if entered:
            self._people[kind] = list(itertools.islice(self._next_person, PEOPLE[kind]))
        for person in self._people[kind]:
            field, value = self._identity(person)
            place = (AUDIENCE, "EMAIL" if field == "email" else "MAID")
            self.reckoning.note(place, sha1(value.lower().encode()).hexdigest(), turn, entered)
        return self._people[kind], entered

    def _identity(self, person: int) -> tuple[str, str]:
        if person % 2:
            return "idfa", str(uuid.UUID(int=(self.number + 1) << 64 | person)).upper()
        return "email", f"caller{self.number}.person{person}@example.org"

    def _own(self, people: list[int], turn: int, entered: bool, key: str) -> Call:
        events = [
            {
                "audience": AUDIENCE,
                "operation": "add" if entered else "remove",
                "occurred_at": START_MS + turn,
                field: value,
            }
            for field, value in map(self._identity, people)
        ]
        body = orjson.dumps(events if len(events) > 1 else events[0])
        more = {"Idempotency-Key": self._key(turn)} if key == KEYED else {}
        return self._call("/v1/events", f"token {key}", "Bearer", body, len(events), more)

    def _firehose(self, people: list[int], turn: int, entered: bool, key: str) -> Call:
        audience = {"audience_id": int(AUDIENCE), "action": "add" if entered else "delete"}
        message = {
            "type": "audience_membership_change_request",
            "timestamp_ms": START_MS + turn,
            "user_profiles": [
                _profile(*self._identity(person)) | {"audiences": [audience]} for person in people
            ],
        }
        if key == KEYED:
            message["id"] = self._key(turn)
        body = orjson.dumps(message)
        return self._call(f"/in/{key}", f"source {key}", "Token", body, len(people), {})

    def _call(
        self, path: str, label: str, scheme: str, body: bytes, events: int, more: dict[str, str]
    ) -> Call:
        headers = {
            "Authorization": f"{scheme} {self._doors.secrets[label]}",
            "Content-Type": "application/json",
        }
        return Call(path, headers | more, body, label, events)

    def _key(self, turn: int) -> str:
        return f"caller {self.number}, turn {turn}"


def _profile(field: str, value: str) -> dict[str, object]:
    if field == "email":
        return {"user_identities": [{"type": "email", "encoding": "raw", "value": value}]}
    identity = {"type": "ios_advertising_id", "encoding": "raw", "value": value}
    return {"device_identities": [identity]}


class Load:
    """Sixteen callers at once; those that are still calling at the end of the block give up."""

    def __init__(self, port: int, doors: Doors, *, insisting: bool) -> None:
        self.callers = [Caller(number, port, doors) for number in range(CALLERS)]
        self._insisting = insisting
        self._ended = threading.Event()
        self._threads = ThreadPoolExecutor(CALLERS)
        self._running: list[Future[None]] = []

    def __enter__(self) -> Self:
        for caller in self.callers:
            run = self._threads.submit(caller.run, self._ended, insisting=self._insisting)
            self._running.append(run)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for caller in self.callers:
            caller.gives_up = True
        self._threads.shutdown()

    def end(self) -> None:
        """Let everybody finish the call they are at; raises what went wrong with any of them."""
        self._ended.set()
        for run in self._running:
            run.result()

    def is_over(self) -> bool:
        """Whether nobody calls any more."""
        return all(run.done() for run in self._running)

    def check(self) -> None:
        """Raise what went wrong so far."""
        for run in self._running:
            if run.done():
                run.result()

    def answered(self, status: int) -> int:
        return sum(caller.statuses[status] for caller in self.callers)

    def statuses(self) -> set[int]:
        return {status for caller in self.callers for status in caller.statuses}

    def accepted(self) -> Counter[str]:
        return sum((caller.accepted for caller in self.callers), Counter[str]())

    def unsure(self) -> Counter[str]:
        """Of the calls without a key: those with one are not taken twice."""
        events = sum((caller.unsure for caller in self.callers), Counter[str]())
        return Counter({label: events[label] for label in events if label.endswith(UNKEYED)})

    def calls(self) -> Counter[str]:
        return sum((caller.calls for caller in self.callers), Counter[str]())

    def members(self, list_type: str) -> set[str]:
        place = (AUDIENCE, list_type)
        return set().union(*(caller.reckoning.members(place) for caller in self.callers))
