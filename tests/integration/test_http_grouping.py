"""Small calls share commits: each is answered after its own, and none pays for another."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any

import orjson
import pytest
import requests

from app.api import grouping
from app.errors import Unavailable
from app.gate import close_gate
from app.remembering import Message, stage_messages
from app.staging import Intake
from tests.integration.processes import eventually
from tests.service import Service
from tests.slow_sender import Sender
from tests.staged import receipts, staged_changes, staged_messages
from tests.workshop import Workshop, address, email_event

CLIENTS = 16
PATIENCE_S = 10.0


def event(number: int, audience: str = "31001") -> dict[str, Any]:
    return {"audience": audience, "operation": "add", "email": address(number)}


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every call that was read and waits for its commit."""
    arrived: list[int] = []
    stage = grouping.Grouping.stage

    async def counting(self: grouping.Grouping, messages: Sequence[Any], *more: Any) -> Any:
        arrived.append(len(messages))
        return await stage(self, messages, *more)

    monkeypatch.setattr(grouping.Grouping, "stage", counting)
    return arrived


@contextmanager
def closed(workshop: Workshop, upstream_id: str = "31001") -> Iterator[None]:
    """Hold the gate of an audience: nothing of it is committed until the block ends."""
    audience_id = workshop.value(
        "SELECT id FROM audience WHERE upstream_id = :name", name=upstream_id
    )
    with workshop.transaction() as tx:
        close_gate(tx, audience_id)
        yield


def blocked(workshop: Workshop) -> int:
    """Sessions that wait for a gate."""
    return int(
        workshop.value(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
        )
    )


def together(
    workshop: Workshop,
    arrivals: list[int],
    calls: Sequence[Callable[[], requests.Response]],
) -> list[requests.Response]:
    """Make calls of which none can be committed before all of them have arrived."""
    arrivals.clear()
    with ThreadPoolExecutor(len(calls)) as pool:
        with closed(workshop):
            answers = [pool.submit(call) for call in calls]
            assert eventually(lambda: len(arrivals) == len(calls), PATIENCE_S)
            assert eventually(lambda: blocked(workshop) > 0, PATIENCE_S)
            assert not any(map(Future.done, answers))
            assert staged_messages(workshop) == 0
        return [answer.result(PATIENCE_S) for answer in answers]


def single_events(service: Service, token: str) -> list[Callable[[], requests.Response]]:
    return [
        partial(service.post, "/v1/events", token, json=event(number)) for number in range(CLIENTS)
    ]


def test_events_that_arrive_together_share_commits(
    workshop: Workshop, service: Service, arrivals: list[int]
) -> None:
    answers = together(workshop, arrivals, single_events(service, service.token()))
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["accepted"] for answer in answers] == [1] * CLIENTS
    assert staged_messages(workshop) == CLIENTS
    assert receipts(workshop) <= 2 * grouping.AT_ONCE


class AtOnce(ThreadPoolExecutor):
    """Does each task as it is submitted, so that what the event loop meets is always the same."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(task(*args, **more))
        return done


def test_a_call_that_arrives_as_all_commits_end_is_committed_all_the_same(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.connect()
    workshop.activate()
    monkeypatch.setattr(grouping, "CALL_MESSAGES", 1)  # no two calls in one commit

    async def call(ways: grouping.Grouping, *people: int) -> None:
        for person in people:
            await ways.stage([Message([email_event(person)])], Counter())

    async def call_again_and_once() -> None:
        asyncio.get_running_loop().set_default_executor(AtOnce())
        ways = grouping.Grouping(Intake(workshop.deployment, "callers"))
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(call(ways, 1, 2), call(ways, 3))

    asyncio.run(call_again_and_once())
    assert {change.value for change in staged_changes(workshop)} == set(map(address, (1, 2, 3)))


def test_a_receipt_of_several_calls_counts_what_all_of_them_said(
    workshop: Workshop, service: Service, arrivals: list[int]
) -> None:
    token = service.token()
    bodies = [[event(number), event(number) | {"operation": "?"}] for number in range(CLIENTS)]
    calls = [partial(service.post, "/v1/events", token, json=body) for body in bodies]
    together(workshop, arrivals, calls)
    rows = workshop.rows("SELECT accepted, rejected FROM receipt")
    assert len(rows) < CLIENTS
    assert sum(row.accepted for row in rows) == CLIENTS
    assert sum(sum(row.rejected.values()) for row in rows) == CLIENTS


def test_nobody_is_answered_before_the_commit(
    workshop: Workshop, service: Service, arrivals: list[int]
) -> None:
    token = service.token()
    with ThreadPoolExecutor(1) as pool, closed(workshop):
        answer = pool.submit(service.post, "/v1/events", token, json=event(1))
        assert eventually(lambda: blocked(workshop) == 1, PATIENCE_S)
        assert not answer.done()
        assert service.get("/healthz").status_code == 200
        assert not answer.done()
        assert receipts(workshop) == 0
    assert answer.result(PATIENCE_S).status_code == 200


def test_each_call_gets_the_answer_to_its_own_events(
    workshop: Workshop, service: Service, arrivals: list[int]
) -> None:
    token = service.token()
    bodies = [
        [event(number)] * number + [event(number) | {"email": "junk"}] + [event(99)]
        for number in range(CLIENTS)
    ]
    calls = [partial(service.post, "/v1/events", token, json=body) for body in bodies]
    for number, answer in enumerate(together(workshop, arrivals, calls)):
        told = answer.json()
        assert (told["accepted"], told["rejected"]) == (number + 1, 1)
        assert [error["index"] for error in told["errors"]] == [number]


def test_a_call_that_fails_unexpectedly_fails_alone(
    workshop: Workshop, service: Service, arrivals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(intake: Any, messages: Sequence[Any], **more: Any) -> Any:
        everybody = [each.identities[0].value for one in messages for each in one.events]
        if address(13) in everybody:
            with closed(workshop):  # as late as the others: all are in before one fails
                raise RuntimeError(f"about {address(13)}")
        return stage_messages(intake, messages, **more)

    monkeypatch.setattr(grouping, "stage_messages", failing)
    answers = together(workshop, arrivals, single_events(service, service.token()))
    assert [answer.status_code for answer in answers] == [
        500 if number == 13 else 200 for number in range(CLIENTS)
    ]
    assert address(13) not in answers[13].text
    staged = {change.value for change in staged_changes(workshop)}
    assert staged == {address(number) for number in range(CLIENTS) if number != 13}


def test_where_the_database_went_away_all_of_a_commit_are_told_to_come_again(
    workshop: Workshop, service: Service, arrivals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    token, everybody_is_there, tries = service.token(), Event(), []

    def away(*_: Any, **__: Any) -> Any:
        assert everybody_is_there.wait(PATIENCE_S)
        tries.append(1)
        raise Unavailable("gone")

    with monkeypatch.context() as patched, ThreadPoolExecutor(CLIENTS) as pool:
        patched.setattr(grouping, "stage_messages", away)
        waiting = [pool.submit(call) for call in single_events(service, token)]
        assert eventually(lambda: len(arrivals) == CLIENTS, PATIENCE_S)
        everybody_is_there.set()
        answers = [each.result(PATIENCE_S) for each in waiting]
    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
    assert len(tries) <= 2 * grouping.AT_ONCE  # each may take as long as dialling in vain
    again = [call() for call in single_events(service, token)]
    assert {answer.status_code for answer in again} == {200}
    assert staged_messages(workshop) == CLIENTS


def test_a_large_call_is_a_commit_of_its_own(
    workshop: Workshop, service: Service, arrivals: list[int]
) -> None:
    token = service.token()
    large = [event(number) for number in range(10_000)]
    calls = single_events(service, token)
    calls.insert(8, lambda: service.post("/v1/events", token, json=large))
    answers = together(workshop, arrivals, calls)
    assert {answer.status_code for answer in answers} == {200}
    accepted = [row.accepted for row in workshop.rows("SELECT accepted FROM receipt")]
    assert accepted.count(10_000) == 1
    assert sum(accepted) == 10_000 + CLIENTS


def test_no_commit_holds_more_than_one_call_of_staging_should(
    workshop: Workshop, service: Service, arrivals: list[int]
) -> None:
    token = service.token()
    body = [event(number) for number in range(1_500)]
    calls = [lambda: service.post("/v1/events", token, json=body)] * CLIENTS
    together(workshop, arrivals, calls)
    accepted = [row.accepted for row in workshop.rows("SELECT accepted FROM receipt")]
    assert sum(accepted) == 1_500 * CLIENTS
    assert max(accepted) <= 10_000
    assert len(accepted) < CLIENTS


def test_one_way_in_does_not_wait_for_another(
    workshop: Workshop, service: Service, arrivals: list[int]
) -> None:
    workshop.activate("31002", "Cart")
    stuck, free = service.token(name="stuck"), service.token(name="free")
    with ThreadPoolExecutor(CLIENTS) as pool, closed(workshop):
        waiting = [
            pool.submit(service.post, "/v1/events", stuck, json=event(number))
            for number in range(CLIENTS)
        ]
        assert eventually(lambda: len(arrivals) == CLIENTS, PATIENCE_S)
        answer = service.post("/v1/events", free, json=event(1, "31002"))
        assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
        assert not any(map(Future.done, waiting))
    assert {each.result(PATIENCE_S).status_code for each in waiting} == {200}


def test_whoever_hung_up_holds_up_nobody_in_its_commit(
    workshop: Workshop, service: Service, arrivals: list[int]
) -> None:
    token = service.token()

    body = orjson.dumps(event(99))
    with ThreadPoolExecutor(CLIENTS) as pool:
        with closed(workshop):
            gone = [
                Sender(service, "/v1/events", token, Content_Length=str(len(body)))
                for _ in range(4)
            ]
            for sender in gone:
                sender.send(body)
            answers = [pool.submit(call) for call in single_events(service, token)]
            assert eventually(lambda: len(arrivals) == CLIENTS + 4, PATIENCE_S)
            for sender in gone:
                sender.hang_up()
        assert {answer.result(PATIENCE_S).status_code for answer in answers} == {200}
    wanted = {address(number) for number in range(CLIENTS)}
    assert wanted <= {change.value for change in staged_changes(workshop)}


def test_single_messages_of_a_source_share_commits_too(
    workshop: Workshop, service: Service, arrivals: list[int]
) -> None:
    secret = service.source("shop", "mparticle")

    def message(number: int) -> dict[str, Any]:
        person = {"type": "email", "encoding": "raw", "value": address(number)}
        return {
            "type": "audience_membership_change_request",
            "id": f"message-{number}",
            "user_profiles": [
                {
                    "user_identities": [person],
                    "audiences": [{"audience_id": 31001, "audience_name": "VIP", "action": "add"}],
                }
            ],
        }

    service.post("/in/shop", secret, json={"type": "audience_membership_change_request"})
    calls = [
        partial(service.post, "/in/shop", secret, json=message(number)) for number in range(CLIENTS)
    ]
    before = receipts(workshop)
    answers = together(workshop, arrivals, calls)
    assert {answer.status_code for answer in answers} == {200}
    assert staged_messages(workshop) == CLIENTS
    assert receipts(workshop) - before <= 2 * grouping.AT_ONCE
