"""The benchmark of HTTP intake measures what it says: the same events, by way of the service."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from app.formats import mparticle
from app.formats.own import read_events
from app.sandbox.embedded_postgres import PostgresServer
from tests.benchmarks import harness, http_bodies, http_intake
from tests.benchmarks.events import Sample
from tests.benchmarks.harness import Pace
from tests.benchmarks.http_bodies import Requests
from tests.benchmarks.http_clients import send_all
from tests.benchmarks.http_intake import Taken, percentile
from tests.benchmarks.installation import Ground, activate_all

COUNT = 3_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def ground(postgres: PostgresServer, migrated_template: str) -> Ground:
    return Ground(postgres, migrated_template)


def test_every_shape_of_body_says_the_same_events() -> None:
    events = Sample(COUNT, 10).events(0, COUNT)
    single = [orjson.loads(http_bodies.one_object([event])) for event in events]
    by_line = [orjson.loads(line) for line in http_bodies.lines(events).splitlines()]
    for messages in (single, by_line, orjson.loads(http_bodies.array(events))):
        read = read_events(messages)
        assert [*read.events] == events
        assert read.faults == []


def test_the_firehose_says_the_same_events_in_the_terms_of_mparticle() -> None:
    events = Sample(100, 10).events(0, 100)
    reading = mparticle.read(orjson.loads(http_bodies.firehose(7, events)))
    assert not reading.faults + reading.noted + reading.ignored
    assert reading.events == [
        event._replace(
            audience=http_bodies.firehose_id(event.audience),
            occurred_at_us=events[0].occurred_at_us,
        )
        for event in events
    ]


def test_each_message_of_the_firehose_has_an_id_of_its_own() -> None:
    events = Sample(1, 1).events(0, 1)
    ids = {orjson.loads(http_bodies.firehose(number, events))["id"] for number in range(100)}
    assert len(ids) == 100


@contextmanager
def answering(delay_s: float = 0.0) -> Iterator[tuple[int, list[bytes]]]:
    """Something that answers each request on each connection, late if wanted; what it was sent."""
    listening = socket.create_server(("127.0.0.1", 0))
    bodies: list[bytes] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while head := stream.readline():
                length = 0
                while head.strip():
                    if head.lower().startswith(b"content-length"):
                        length = int(head.partition(b":")[2])
                    head = stream.readline()
                bodies.append(stream.read(length))
                time.sleep(delay_s)
                connection.sendall(ANSWER[:20])  # in two pieces, as it may arrive
                connection.sendall(ANSWER[20:])

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listening.getsockname()[1], bodies
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join()
        for thread in threads:
            thread.join()


def views(requests: Requests) -> list[memoryview]:
    everything, at, found = memoryview(requests.file.read_bytes()), 0, []
    for length in requests.lengths:
        found.append(everything[at : at + length])
        at += length
    return found


def test_the_clients_send_every_request_whole_and_time_every_answer(tmp_path: Path) -> None:
    bodies = [b"%d" % number * 300_000 for number in range(10)]  # more than a socket takes at once
    requests = Requests(tmp_path / "requests", "/", "Bearer secret", bodies, 10)
    with answering() as (port, arrived):
        sent = send_all(port, views(requests), 4, None)
    assert sorted(arrived) == sorted(bodies)
    assert sent.statuses == {"200": 10}
    assert len(sent.latencies) == 10
    assert 0 < max(sent.latencies) <= sent.seconds


def test_paced_requests_count_from_when_they_were_due(tmp_path: Path) -> None:
    requests = Requests(tmp_path / "requests", "/", "Token secret", [b"{}"] * 10, 10)
    with answering(delay_s=0.05) as (port, _):
        in_time = send_all(port, views(requests), 10, 50)
        too_slow = send_all(port, views(requests), 1, 200)
    assert in_time.seconds > 9 / 50
    assert max(in_time.latencies) < 0.15
    # the last one was due after 45 ms and had to wait for nine others
    assert too_slow.latencies[-1] > 10 * 0.05 - 9 / 200
    assert too_slow.latencies == sorted(too_slow.latencies)


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7


def test_the_service_and_the_yardstick_stage_every_event(ground: Ground, tmp_path: Path) -> None:
    with ground.place() as place:
        own = http_intake.own_requests(place, Sample(COUNT, http_intake.AUDIENCES), tmp_path)
        firehose = http_intake.mparticle_requests(place, 1, tmp_path)
        with http_intake.running_service(place) as service:
            taken = [service.take(requests) for requests in own.values()]
            paced = service.take(firehose, http_intake.PER_SECOND)
            again = service.take(firehose)
    assert [each.pace.events for each in taken] == [COUNT // 100, COUNT // 5, COUNT, COUNT]
    assert all(0 < each.p50_ms <= each.p99_ms for each in taken)
    assert paced.cpu_us > 0  # a second long, where ten milliseconds are counted
    assert paced.pace.events == again.pace.events == 5_000
    assert paced.pace.seconds > 0.9


def test_the_yardstick_shares_the_calls_among_its_processes(ground: Ground) -> None:
    count = 2 * http_intake.LARGE
    with ground.place() as place:
        activate_all(place, http_intake.AUDIENCES)
        with http_intake.Direct(place, count) as direct:
            assert direct.take(2).pace.events == count
            assert direct.take(1).pace.events == count // 2


def test_what_is_lost_on_the_way_is_noticed(ground: Ground) -> None:
    with ground.place() as place, pytest.raises(AssertionError, match="0 of 7"):
        http_intake.check_all_are_there(place, 7)


def test_the_rows_judge_the_share_of_stage_and_the_time_mparticle_allows() -> None:
    fast, slow = Taken(Pace(10, 1.0), 5, 90), Taken(Pace(10, 3.0), 50, 110, cpu_us=1.5)
    taken = {"10,000 events a call": [slow], "stage, 1 process": [fast]}
    taken |= {"stage, 2 processes": [slow], "mParticle": [slow]}
    sizes = harness.Sizes()
    own = ["10,000 events a call"]
    rows = {row.what: row for row in http_intake._rows(taken, [Pace(1, 1.0)], own, sizes)}
    share = rows["http, 10,000 events a call / stage in 1 process"]
    assert share.figures == [pytest.approx(1 / 3)]
    assert share.is_met is False
    assert rows["http, 10,000 events a call / stage in 2 processes"].is_met is None
    assert rows["  answers to mParticle, p99"].is_met is False
    assert rows["  answers to 10,000 events a call, p99"].is_met is None
    assert rows["  CPU of the service for an event, 10,000 events a call"].figures == [1.5]
    unjudged = http_intake._rows(taken, [Pace(1, 1.0)], own, replace(sizes, judged=False))
    assert {row.is_met for row in unjudged} == {None}
