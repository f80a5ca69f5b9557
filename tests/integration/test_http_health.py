"""`/healthz`, `/readyz`, `/metrics`, and what the service says of itself."""

import asyncio
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from app.api.health import Measured
from app.books import check_books_once
from app.deployment import Deployment
from tests.acceptance.fleet import database_through
from tests.acceptance.turnstile import Turnstile
from tests.integration.processes import eventually
from tests.service import Service, running_service
from tests.staged import staged_messages
from tests.workshop import KEY, Workshop, address, device, short_settings

NAME = "Sealed buyers"
FORMATS = ("events", "mparticle", "segment", "rudderstack")
PERSON = {"audience": "31001", "operation": "add", "email": address(7), "idfa": device(7)}


@pytest.fixture
def turnstile(workshop: Workshop) -> Iterator[tuple[Turnstile, Service]]:
    """A way to the database that can be shut, and a service behind it."""
    workshop.connect()
    workshop.activate()
    url = workshop.deployment.settings.require_database_url()
    _, target = database_through(0, url)
    with Turnstile(target) as way:
        through, _ = database_through(way.port, url)
        settings = workshop.deployment.settings.model_copy(update={"database_url": through})
        with running_service(Deployment(settings, connections=4)) as service:
            yield way, service


def gauge(service: Service, name: str) -> float | None:
    found = re.findall(rf"^pinfold_{name} (\S+)$", service.get("/metrics").text, re.MULTILINE)
    return float(found[0]) if found else None


def counts(service: Service, metric: str, **labels: str) -> float:
    """The sum of a counter's series with some labels."""
    total = 0.0
    for line in service.get("/metrics").text.splitlines():
        match = re.fullmatch(rf"pinfold_{metric}{{(.*)}} (\S+)", line)
        if match:
            given = dict(re.findall(r'(\w+)="([^"]*)"', match[1]))
            if labels.items() <= given.items():
                total += float(match[2])
    return total


# Health.


def test_a_process_that_lives_says_so_without_a_token(service: Service) -> None:
    answer = service.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_service_that_can_accept_events_is_ready(service: Service) -> None:
    answer = service.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_without_its_database_a_service_lives_and_is_not_ready(
    turnstile: tuple[Turnstile, Service],
) -> None:
    way, service = turnstile
    assert service.get("/readyz").status_code == 200
    way.away()
    assert service.get("/healthz").status_code == 200
    assert eventually(lambda: service.get("/readyz").status_code == 503)
    assert "Postgres" in service.get("/readyz").json()["detail"]


def test_a_service_is_ready_again_once_its_database_is_back(
    workshop: Workshop, service: Service
) -> None:
    assert service.get("/readyz").status_code == 200
    with workshop.transaction() as tx:
        tx.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert eventually(lambda: service.get("/readyz").status_code == 200)


@pytest.mark.parametrize("revision", ["0001", None])
def test_before_the_migrations_are_run_a_service_is_not_ready(
    workshop: Workshop, service: Service, revision: str | None
) -> None:
    if revision is None:
        workshop.execute("DROP TABLE alembic_version")
    else:
        workshop.execute("UPDATE alembic_version SET version_num = :r", r=revision)
    answer = service.get("/readyz")
    assert answer.status_code == 503
    assert "pinfold migrate" in answer.json()["detail"]


def test_with_keys_that_do_not_fit_a_service_is_not_ready(
    workshop: Workshop, service: Service
) -> None:
    assert service.get("/readyz").status_code == 200  # the keys are registered now
    url = workshop.deployment.settings.require_database_url()
    other = short_settings(url, workshop.simulator.base_url, keys="aabb" + KEY[4:])
    with running_service(Deployment(other)) as strange:
        answer = strange.get("/readyz")
    assert answer.status_code == 503
    assert KEY not in answer.text


# Metrics.


def test_the_gauges_say_how_everything_stands(workshop: Workshop, service: Service) -> None:
    token = service.token("administer")
    assert gauge(service, "waiting_messages") == 0
    service.post("/v1/events", token, json=[PERSON] * 3)
    assert gauge(service, "waiting_messages") == 3
    assert gauge(service, "active_audiences") == 1
    workshop.execute("UPDATE connection SET held_reason = 'token', held_at = now()")
    assert gauge(service, "held_connections") == 1
    workshop.execute("UPDATE connection SET held_reason = NULL, held_at = NULL")
    workshop.flush(workshop.value("SELECT id FROM audience"))
    assert (gauge(service, "waiting_messages"), gauge(service, "lane_records")) == (0, 2)
    workshop.deliver_all()
    assert gauge(service, "lane_records") == 0
    assert (gauge(service, "charged_records") or 0) >= 2


def test_the_books_in_sum_are_gauges_of_each_connection(
    workshop: Workshop, service: Service
) -> None:
    assert gauge(service, "unbalanced_lists") is None
    service.post("/v1/events", service.token(), json=[PERSON] * 3)
    check_books_once(workshop.deployment)
    assert gauge(service, "unbalanced_lists") == 0
    for item, count in (("received", 6), ("waiting", 6), ("sent", 0)):
        assert counts(service, "books", connection="main", item=item) == count


def test_what_was_answered_is_counted_by_route_and_status(service: Service) -> None:
    route = {"route": "/v1/events"}
    good = counts(service, "http_requests_total", **route, status="200")
    bad = counts(service, "http_requests_total", **route, status="401")
    seconds = counts(service, "http_request_seconds_count", **route)
    token = service.token()
    for _ in range(3):
        service.post("/v1/events", token, json=PERSON)
    service.post("/v1/events", "unknown", json=PERSON)
    assert counts(service, "http_requests_total", **route, status="200") == good + 3
    assert counts(service, "http_requests_total", **route, status="401") == bad + 1
    assert counts(service, "http_request_seconds_count", **route) == seconds + 4


def test_events_are_counted_by_what_became_of_them(service: Service) -> None:
    secret = service.source("counted", "segment")
    entered = {
        "type": "track",
        "event": "Audience Entered",
        "messageId": "m-1",
        "context": {
            "traits": {"email": address(1)},
            "personas": {"computation_class": "audience", "computation_key": "31001"},
        },
        "properties": {"31001": True},
    }
    doubtful = entered | {"event": "Audience Exited", "messageId": "m-2"}
    body = [entered, entered, doubtful, {"type": "page"}, {"type": "track"}]
    assert service.post("/in/counted", secret, json=body).status_code == 200
    assert {
        outcome: counts(service, "http_events_total", source="source counted", outcome=outcome)
        for outcome in ("accepted", "duplicates", "ignored", "noted", "rejected")
    } == {"accepted": 2, "duplicates": 1, "ignored": 1, "noted": 1, "rejected": 1}


def test_the_metrics_name_no_audience_no_person_and_no_path(
    workshop: Workshop, service: Service
) -> None:
    workshop.activate("upstream-99", NAME)
    token, secret = service.token("administer"), service.source("shop", "events")
    service.post("/v1/events", token, json=PERSON)
    service.post("/in/shop", secret, json=PERSON)
    service.get(f"/nowhere/{address(7)}")
    service.get(f"/v1/audiences?upstream_id={address(7)}", token)
    service.post("/in/person7@example.org", secret, json=PERSON)
    text = service.get("/metrics").text
    for unwanted in ("31001", "upstream-99", NAME, "VIP", address(7), device(7), token, secret):
        assert unwanted not in text
    assert 'route="/in/{name}"' in text
    assert 'route="other"' in text


def test_addresses_that_do_not_exist_make_no_series_of_their_own(service: Service) -> None:
    for number in range(3):
        service.get(f"/nowhere/{number}")
        service.call("BREW", f"/nowhere/{number}")
    routes = set(re.findall(r'http_requests_total{route="([^"]*)"', service.get("/metrics").text))
    assert not any("nowhere" in route for route in routes)


def test_without_the_database_the_counts_are_still_there(
    turnstile: tuple[Turnstile, Service],
) -> None:
    way, service = turnstile
    way.away()
    assert eventually(lambda: service.get("/readyz").status_code == 503)
    answer = service.get("/metrics")
    assert answer.status_code == 200
    assert "pinfold_http_requests_total" in answer.text
    assert "pinfold_waiting_messages" not in answer.text


# The page and the document.


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, _tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attributes if name in ("src", "href") and value]


def test_the_page_needs_nothing_from_outside(service: Service) -> None:
    page = service.get("/docs")
    assert page.status_code == 200
    parser = _Addresses()
    parser.feed(page.text)
    assert any(address.endswith(".js") for address in parser.found)
    for found in [*parser.found, *re.findall(r"url\(([^)]+)\)", page.text)]:
        assert urlsplit(found).netloc in ("", f"127.0.0.1:{service.port}")
        assert service.get(urlsplit(found).path).status_code == 200
    assert not re.findall(r"https?://(?!127\.0\.0\.1)", page.text)


def test_the_page_shows_the_document_that_is_there(service: Service) -> None:
    assert "/openapi.json" in service.get("/docs").text
    assert service.get("/openapi.json").json()["info"]["title"] == "Pinfold"


@pytest.fixture
def document(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/openapi.json").json()
    return found


def examples_of(content: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Every example of a media type by its name, wherever a document may hold one."""
    schema = content.get("schema", {})
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    unnamed = [*([content["example"]] if "example" in content else []), *schema.get("examples", [])]
    named = {name: each["value"] for name, each in content.get("examples", {}).items()}
    return named | {str(number): each for number, each in enumerate(unnamed)}


class Example(NamedTuple):
    method: str
    path: str
    media: str
    name: str
    body: Any


def all_examples(document: dict[str, Any]) -> list[Example]:
    return [
        Example(method, path, media, name, body)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for media, content in operation.get("requestBody", {}).get("content", {}).items()
        for name, body in examples_of(content, document).items()
    ]


def test_every_example_of_the_document_is_accepted_as_it_stands(
    workshop: Workshop, service: Service, document: dict[str, Any]
) -> None:
    workshop.execute("UPDATE audience SET name = 'Lapsed buyers'")
    secrets = {name: service.source(name, name, activate_unknown=True) for name in FORMATS}
    token = service.token("administer")
    sent = set()
    for method, path, media, name, example in all_examples(document):
        source = "segment" if path.startswith("/in/{name}/") else name.lower()
        source = source if source in FORMATS else "events"
        answer = service.call(
            method.upper(),
            path.replace("{name}", source),
            secrets[source] if path.startswith("/in/") else token,
            headers={"Content-Type": media},
            **({"data": example} if isinstance(example, str) else {"json": example}),
        )
        assert answer.status_code in (200, 202), (path, name, answer.text)
        assert answer.json().get("rejected", 0) == 0
        sent.add((path, name))
    assert {("/v1/audiences", "0"), ("/v1/events", "one"), ("/in/{name}", "mParticle")} <= sent
    assert len(sent) >= 7
    assert staged_messages(workshop) >= 7


@pytest.mark.parametrize(
    "path",
    [
        "/v1/events",
        "/v1/audiences",
        "/in/{name}",
        "/in/{name}/audiences",
        "/in/{name}/audiences/get",
    ],
)
def test_each_call_that_takes_a_body_shows_one(document: dict[str, Any], path: str) -> None:
    content = document["paths"][path]["post"]["requestBody"]["content"]
    assert all(examples_of(each, document) for each in content.values())


def test_the_document_says_how_a_caller_is_let_in(document: dict[str, Any]) -> None:
    """Without it the page has no place to put a token, so nothing on it can be tried."""
    assert document["components"].get("securitySchemes")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == path.startswith(("/v1/", "/in/")), path


def test_an_address_that_does_not_exist_is_answered_404(service: Service) -> None:
    answer = service.get("/nowhere")
    assert (answer.status_code, answer.json().keys()) == (404, {"detail"})


async def _what_a_call_is_told_that_outlasts_its_service() -> list[Any]:
    """As the server does it: calls that are not over within its grace are cancelled."""
    told: list[Any] = []

    async def answer_never(*_: Any) -> None:
        await asyncio.Event().wait()

    async def listen() -> Any:
        await asyncio.Event().wait()

    async def tell(message: Any) -> None:
        told.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/v1/events", "headers": []}
    call = asyncio.ensure_future(Measured(answer_never)(scope, listen, tell))
    await asyncio.sleep(0)
    call.cancel()
    await call
    return told


def test_a_call_that_outlasts_its_service_is_told_to_come_again() -> None:
    head, body = asyncio.run(_what_a_call_is_told_that_outlasts_its_service())
    assert head["status"] == 503
    assert any(name == b"retry-after" for name, _ in head["headers"])
    assert b"send it again" in body["body"]
