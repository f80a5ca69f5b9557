"""Limits before work: what a sender may make the service hold, and for how long."""

import gzip
import logging
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.integration.processes import eventually
from tests.service import Service
from tests.service_process import ServiceProcess, service_process
from tests.slow_sender import Sender
from tests.staged import receipts, staged_messages
from tests.workshop import Workshop, address

FORMATS = ("events", "mparticle", "segment", "rudderstack")
MIB = 1 << 20
LIMIT = 8 * MIB
BOUND = 150 * MIB
"""What one request may take for a while, of whatever kind."""
EVENT = {"audience": "31001", "operation": "add", "email": address(1)}


@pytest.fixture(params=["v1", *FORMATS])
def way_in(request: pytest.FixtureRequest, service: Service) -> tuple[str, str]:
    """Each address that takes a body, with what opens it."""
    if request.param == "v1":
        return "/v1/events", service.token()
    return f"/in/{request.param}", service.source(request.param, request.param)


def zeros(size: int) -> bytes:
    """So many zeros, packed without ever holding them."""
    packing, megabyte = zlib.compressobj(1, wbits=31), bytes(MIB)
    return b"".join([packing.compress(megabyte) for _ in range(size // MIB)] + [packing.flush()])


def forever(piece: bytes, size: int) -> Iterator[bytes]:
    return (piece for _ in range(size // len(piece)))


# Length.


def test_a_body_that_is_declared_too_long_is_refused_before_it_is_sent(
    service: Service, way_in: tuple[str, str]
) -> None:
    with Sender(service, *way_in, Content_Length=str(LIMIT + 1)) as sender:
        assert sender.answer().status == 413


def test_a_body_without_a_length_is_refused_once_it_is_too_long(
    workshop: Workshop, service: Service, way_in: tuple[str, str]
) -> None:
    with Sender(service, *way_in, Transfer_Encoding="chunked") as sender:
        sender.send_chunks(forever(b" " * (64 << 10), 1 << 30))
        assert sender.sent < 2 * LIMIT
        assert sender.answer().status == 413
    assert receipts(workshop) == 0


def test_a_body_exactly_as_long_as_the_limit_is_taken(service: Service) -> None:
    body = orjson.dumps(EVENT).ljust(LIMIT)
    token = service.token()
    assert service.post("/v1/events", token, data=body).status_code == 200
    assert service.post("/v1/events", token, data=gzip.compress(body, 1)).status_code == 200


def test_a_refusal_for_length_ends_the_connection(service: Service) -> None:
    with Sender(service, "/v1/events", service.token(), Content_Length=str(LIMIT + 1)) as sender:
        answer = sender.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert "8,388,608" in answer.body


def test_a_registration_without_a_secret_may_be_short_only(service: Service) -> None:
    service.source("mparticle", "mparticle")
    with Sender(service, "/in/mparticle", None, Transfer_Encoding="chunked") as sender:
        sender.send_chunks(forever(b" " * 4_096, 1 << 30))
        assert sender.sent < LIMIT
        assert sender.answer().status in (401, 413)


def test_activating_takes_a_short_body_only_whoever_sends_it(service: Service) -> None:
    headers = {"Content_Type": "application/json", "Transfer_Encoding": "chunked"}
    for token in (None, service.token("administer")):
        with Sender(service, "/v1/audiences", token, **headers) as sender:
            sender.send_chunks(forever(b" " * (64 << 10), 1 << 30))
            assert sender.sent < LIMIT
            assert sender.answer().status in (401, 413)


# Packing.


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {}])
def test_a_body_that_unpacks_beyond_the_limit_is_refused(
    workshop: Workshop, service: Service, way_in: tuple[str, str], headers: dict[str, str]
) -> None:
    answer = service.post(*way_in, data=zeros(16 * MIB), headers=headers)
    assert answer.status_code == 413
    assert receipts(workshop) == 0


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x"])
def test_another_packing_than_gzip_is_answered_415(
    service: Service, way_in: tuple[str, str], encoding: str
) -> None:
    answer = service.post(*way_in, data=b"{}", headers={"Content-Encoding": encoding})
    assert answer.status_code == 415
    assert answer.headers["Accept-Encoding"] == "gzip"


# Nesting, objects, events, texts.


@pytest.mark.parametrize("opening", [b"[", b'{"type":', b" " * 40 + b"["])
def test_nesting_without_measure_is_refused(
    workshop: Workshop, service: Service, way_in: tuple[str, str], opening: bytes
) -> None:
    closing = b"}" if b"{" in opening else b"]"
    answer = service.post(*way_in, data=opening * 100_000 + b"1" + closing * 100_000)
    assert answer.status_code in (400, 413)
    assert receipts(workshop) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"{}," * 500_000 + b"{}]",
        b"[]\n" * 500_000,
        b'{"type":"x","y":[' + b"[]," * 500_000 + b"1]}",
    ],
    ids=["array", "lines", "one message"],
)
def test_objects_without_measure_are_refused(
    workshop: Workshop, service: Service, way_in: tuple[str, str], body: bytes
) -> None:
    assert service.post(*way_in, data=body).status_code == 413
    assert receipts(workshop) == 0


def test_more_events_than_one_call_may_hold_are_refused_whole(
    workshop: Workshop, open_with: Callable[..., Workshop], serve: Callable[..., Service]
) -> None:
    workshop.connect()
    workshop.activate()
    service = serve(open_with(events_per_call=3))
    token = service.token()
    lines = b"\n".join([orjson.dumps(EVENT)] * 4)
    for body in (orjson.dumps([EVENT] * 4), lines, gzip.compress(lines), b"[1,2,3,4]"):
        answer = service.post("/v1/events", token, data=body)
        assert answer.status_code == 413
        assert "3 may come at once" in answer.json()["detail"]
    for name in ("events", "segment", "rudderstack"):
        secret = service.source(name, name)
        for body in ([EVENT] * 4, {"batch": [EVENT] * 4}):
            assert service.post(f"/in/{name}", secret, json=body).status_code == 413
    assert receipts(workshop) == 0
    assert service.post("/v1/events", token, json=[EVENT] * 3).status_code == 200


def test_as_many_events_as_one_call_may_hold_are_taken(
    workshop: Workshop, service: Service
) -> None:
    events = [EVENT | {"email": address(number)} for number in range(10_000)]
    answer = service.post("/v1/events", service.token(), json=events)
    assert answer.json()["accepted"] == 10_000
    assert staged_messages(workshop) == 10_000


def test_long_texts_are_refused_and_cost_no_neighbour(workshop: Workshop, service: Service) -> None:
    long = "x" * MIB
    body = [EVENT, EVENT | {"audience": long}, EVENT | {"email": f"{long}@example.org"}]
    answer = service.post("/v1/events", service.token(), json=body)
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (1, 2)
    assert len(answer.content) < 2_000


# Time.


@pytest.fixture
def impatient(open_with: Callable[..., Workshop], serve: Callable[..., Service]) -> Service:
    workshop = open_with(body_timeout=0.4)
    workshop.connect()
    workshop.activate()
    return serve(workshop)


def test_a_sender_that_stops_in_mid_body_is_answered_408(impatient: Service) -> None:
    with Sender(impatient, "/v1/events", impatient.token(), Content_Length="100") as sender:
        sender.send(b"{")
        answer = sender.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")


def test_a_sender_of_a_byte_now_and_then_is_answered_408(impatient: Service) -> None:
    with Sender(impatient, "/v1/events", impatient.token(), Content_Length="100000") as sender:
        while not sender.is_answered(0.02):
            assert sender.send(b" ")
        assert sender.sent < 1_000
        assert sender.answer().status == 408


def test_a_slow_wish_for_an_audience_is_answered_408_too(impatient: Service) -> None:
    headers = {"Content_Type": "application/json", "Content_Length": "100"}
    with Sender(impatient, "/v1/audiences", impatient.token("administer"), **headers) as sender:
        sender.send(b"{")
        assert sender.answer().status == 408


@pytest.mark.parametrize("path", ["/v1/events", "/v1/audiences", "/in/shop", "/in/nowhere"])
def test_a_stranger_is_answered_before_its_body_is_read(service: Service, path: str) -> None:
    service.source("shop", "segment")
    headers = {"Content_Type": "application/json", "Content_Length": "1000"}
    with Sender(service, path, "unknown", **headers) as sender:
        assert sender.answer().status == 401


def test_slow_senders_hold_nobody_up(service: Service) -> None:
    token = service.token()
    slow = [Sender(service, "/v1/events", token, Content_Length="100") for _ in range(50)]
    try:
        for sender in slow:
            sender.send(b"{")
        assert service.post("/v1/events", token, json=EVENT).status_code == 200
        assert not any(sender.is_answered() for sender in slow)
    finally:
        for sender in slow:
            sender.hang_up()


# Hanging up.


def requests_answered(service: Service, status: str) -> float:
    found = re.findall(
        rf'^pinfold_http_requests_total{{.*status="{status}"}} (\S+)$',
        service.get("/metrics").text,
        re.MULTILINE,
    )
    return sum(map(float, found))


def test_a_sender_that_hangs_up_in_mid_body_does_no_harm(
    workshop: Workshop, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    token, before = service.token(), requests_answered(service, "500")
    logging.getLogger("uvicorn").addHandler(caplog.handler)
    try:
        for _ in range(5):
            sender = Sender(service, "/v1/events", token, Content_Length="1000")
            sender.send(orjson.dumps(EVENT))
            sender.hang_up()
        assert service.post("/v1/events", token, json=EVENT).status_code == 200
        assert eventually(lambda: staged_messages(workshop) == 1, 5)
    finally:
        logging.getLogger("uvicorn").removeHandler(caplog.handler)
    assert receipts(workshop) == 1
    assert requests_answered(service, "500") == before
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_sender_that_hangs_up_before_its_answer_leaves_its_neighbours_alone(
    workshop: Workshop, service: Service
) -> None:
    token, body = service.token(), orjson.dumps(EVENT)

    def hang_up(_: int) -> None:
        sender = Sender(service, "/v1/events", token, Content_Length=str(len(body)))
        sender.send(body)
        sender.hang_up()

    with ThreadPoolExecutor(4) as pool:
        gone = pool.map(hang_up, range(20))
        answers = [service.post("/v1/events", token, json=EVENT) for _ in range(10)]
        list(gone)
    assert {answer.status_code for answer in answers} == {200}
    assert staged_messages(workshop) >= 10


# Backlog.


@pytest.fixture
def full(
    workshop: Workshop,
    open_with: Callable[..., Workshop],
    serve: Callable[..., Service],
    monkeypatch: pytest.MonkeyPatch,
) -> Service:
    """A service before a staging that holds as much as it may; it looks at every call."""
    monkeypatch.setattr("app.api.ways.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("app.api.ways.LOOK_SHARE", 0.0)
    workshop.connect()
    workshop.activate()
    service = serve(open_with(backlog_limit=3))
    answer = service.post("/v1/events", service.token(name="before"), json=[EVENT] * 3)
    assert answer.status_code == 200
    return service


@pytest.mark.parametrize("name", ["v1", *FORMATS])
def test_a_full_staging_says_later_before_the_body_is_sent(
    workshop: Workshop, full: Service, name: str
) -> None:
    path = "/v1/events" if name == "v1" else f"/in/{name}"
    way = path, full.token() if name == "v1" else full.source(name, name)
    with Sender(full, *way, Content_Length="1000") as sender:
        answer = sender.answer()
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert staged_messages(workshop) == 3


def test_a_full_staging_takes_more_once_it_was_flushed(workshop: Workshop, full: Service) -> None:
    token = full.token()
    assert full.post("/v1/events", token, json=EVENT).status_code == 503
    workshop.flush(workshop.value("SELECT id FROM audience"))
    assert full.post("/v1/events", token, json=EVENT).status_code == 200


def test_a_full_staging_tells_strangers_nothing(full: Service) -> None:
    full.source("shop", "events")
    assert full.post("/v1/events", "unknown", json=EVENT).status_code == 401
    assert full.post("/in/shop", "unknown", json=EVENT).status_code == 401


# Memory, of `pinfold api` in a process of its own.


@pytest.fixture
def apart(workshop: Workshop, tmp_path: Path) -> Iterator[ServiceProcess]:
    workshop.connect()
    workshop.activate()
    with service_process(workshop, tmp_path / "api.log") as running:
        token = running.token(name="warm")
        for _ in range(3):  # what the first calls import and keep is not of one request
            assert running.post("/v1/events", token, json=[EVENT] * 1_000).status_code == 200
        yield running


def let_in(service: ServiceProcess, path: str, secret: str) -> tuple[str, str]:
    """An address and what opens it, once the process knows that."""
    assert eventually(lambda: service.post(path, secret, data=b"").status_code == 400)
    return path, secret


@cache
def bomb() -> bytes:
    return zeros(1 << 30)


def assert_bounded(service: ServiceProcess, call: Callable[[], Any]) -> None:
    before = service.forget_peak()
    call()
    taken = service.peak() - before
    assert taken < BOUND, f"{taken / MIB:.0f} MiB were taken"
    assert service.get("/healthz").status_code == 200


def test_a_gibibyte_that_is_sent_takes_no_memory(apart: ServiceProcess) -> None:
    way = let_in(apart, "/v1/events", apart.token())

    def send_all() -> None:
        with Sender(apart, *way, Transfer_Encoding="chunked") as sender:
            sender.send_chunks(forever(b" " * (64 << 10), 1 << 30), heeding=False)

    assert_bounded(apart, send_all)


def test_a_gibibyte_of_several_senders_at_once_takes_no_memory(apart: ServiceProcess) -> None:
    ways = [let_in(apart, f"/in/{name}", apart.source(name, name)) for name in FORMATS]

    def send_all(way: tuple[str, str]) -> int:
        with Sender(apart, *way, Transfer_Encoding="chunked") as sender:
            sender.send_chunks(forever(b" " * (64 << 10), 1 << 30))
            return sender.answer().status

    statuses: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        assert_bounded(apart, lambda: statuses.extend(pool.map(send_all, ways)))
    assert statuses == [413] * 4


def test_a_gibibyte_of_zeros_packed_takes_no_memory(apart: ServiceProcess) -> None:
    way, packed = let_in(apart, "/v1/events", apart.token()), bomb()

    def send_bomb() -> None:
        assert apart.post(*way, data=packed).status_code == 413

    assert_bounded(apart, send_bomb)


NOTHING = b"1," * 3_900_000 + b"1]"
"""What fills an array with many things that are none."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("events", b'{"audience":"31001","operation":"add","email":["a@b.cd",' + NOTHING + b"}"),
        ("events", b"[" + NOTHING),
        (
            "events",
            b"["
            + b",".join(
                [
                    b'{"audience":"31001","operation":"add","email":["a@b.cd",'
                    + b",".join([b'"a"'] * 990)
                    + b"]}"
                ]
                * 2_000
            )
            + b"]",
        ),
        (
            "mparticle",
            b'{"type":"audience_membership_change_request","user_profiles":[' + NOTHING + b"}",
        ),
        ("segment", b"[" + NOTHING),
        (
            "rudderstack",
            b'{"type":"audiencelist","context":{"externalId":{"type":"P-31001"}},'
            b'"properties":{"listData":{"add":[' + NOTHING + b"}}}",
        ),
    ],
    ids=["own parts", "own array", "own junk", "mparticle", "segment", "rudderstack"],
)
def test_faults_without_measure_take_bounded_memory(
    apart: ServiceProcess, name: str, body: bytes
) -> None:
    way = let_in(apart, f"/in/{name}", apart.source(name, name))
    assert len(body) <= LIMIT
    before = apart.forget_peak()
    answer = apart.post(*way, data=body)
    taken = apart.peak() - before
    assert answer.status_code in (200, 400, 413, 422)
    assert len(answer.content) < 8 * MIB
    assert taken < 3 * BOUND, f"{taken / MIB:.0f} MiB were taken"


def says_something_within(connection: socket.socket, seconds: float) -> bytes | None:
    """What the service sends next, empty when it closes; None when it does neither in time."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1 << 16)
    except TimeoutError:
        return None


@pytest.mark.parametrize(
    "said", [b"", b"POST /v1/events HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"]
)
def test_a_connection_that_brings_no_request_is_closed(
    service: Service, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr("workers.prompt.REQUEST_S", 0.2)
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(said)
        assert says_something_within(connection, 5) == b""


def test_the_head_of_a_second_request_has_no_more_time_than_that_of_the_first(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.prompt.REQUEST_S", 0.2)
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answered = b""
        while b"ok" not in answered:
            answered += says_something_within(connection, 5) or b"never: ok"
        assert b"200" in answered
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        assert says_something_within(connection, 5) == b""
