"""The HTTP service under a fuzzer: never a 5xx, no event lost or invented, its document is true.

PINFOLD_TEST_SEED repeats a run; each run prints its own.
"""

import gzip
import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.api.service import THREADS
from app.deployment import Deployment
from app.formats.reading import Dialect
from app.sandbox.embedded_postgres import PostgresServer
from tests.service import Service, running_service
from tests.staged import staged_messages
from tests.upstream import MAKERS
from tests.workshop import Workshop, short_settings

SEED = int(os.environ.get("PINFOLD_TEST_SEED", random.SystemRandom().randrange(2**32)))
FORMATS = tuple(MAKERS)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES = 40
"""Of each operation, and each way in, in each mode."""
BODIES = 1_000
seeded = hypothesis.seed(SEED)


class Fuzzed(Service):
    """A service with an audience 31001, a source of each format, and a token for everything."""

    def __init__(self, service: Service, workshop: Workshop) -> None:
        super().__init__(service.deployment, service.port)
        self.workshop = workshop
        dialect = Dialect(audience="31001", audience_key="vip")
        self.administering = self.token("administer")
        self.secrets = {
            name: self.source(name, name, activate_unknown=name != "events", dialect=dialect)
            for name in FORMATS
        }
        self.session = requests.Session()
        self.session.trust_env = False


@pytest.fixture(scope="module")
def fuzzed(postgres: PostgresServer, migrated_template: str) -> Iterator[Fuzzed]:
    name = f"pinfold_fuzz_{SEED}"
    postgres.create_database(name, migrated_template)
    deployment = Deployment(short_settings(postgres.url(name), "http://127.0.0.1:9"))
    workshop = Workshop(deployment, None)  # type: ignore[arg-type]  # nothing is sent to Pinterest
    workshop.connect()
    workshop.activate()
    serving = Deployment(deployment.settings, connections=THREADS)
    with running_service(serving) as service:
        running = Fuzzed(service, workshop)
        print(f"PINFOLD_TEST_SEED={SEED}")
        yield running
        running.session.close()
        running.close()
    deployment.engine.dispose()
    postgres.drop_database(name)


# By its own document.


def operations_of(fuzzed: Fuzzed) -> Iterator[tuple[APIOperation[Any, Any, Any, Any], str, Any]]:
    """Every operation of the document, with what lets in and what its path is made of."""
    schema = schemathesis.openapi.from_url(f"{fuzzed.url}/openapi.json")
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.startswith("/in/{name}/"):
            yield operation, fuzzed.secrets["segment"], {"name": "segment"}
        elif operation.path.startswith("/in/"):
            for name, secret in fuzzed.secrets.items():
                yield operation, secret, {"name": name}
        elif "{audience_id}" in operation.path:
            yield operation, fuzzed.administering, None
            yield operation, fuzzed.administering, {"audience_id": 1}
        else:
            yield operation, fuzzed.administering, None


def try_out(
    call: Callable[..., None],
    cases: st.SearchStrategy[schemathesis.Case],
    headers: dict[str, str],
    mode: GenerationMode,
    examples: int,
) -> None:
    """Call an operation with so many cases."""
    trying = settings(max_examples=examples, database=None)(
        given(case=cases, headers=st.just(headers))(call)
    )
    try:
        seeded(trying)()
    except hypothesis.errors.Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # there is nothing to call it wrongly with


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_whatever_is_called_is_answered_as_the_document_says(
    fuzzed: Fuzzed, mode: GenerationMode
) -> None:
    called = set()
    for operation, secret, place in operations_of(fuzzed):
        headers = {"Authorization": f"Bearer {secret}"}

        def call(case: schemathesis.Case, headers: dict[str, str]) -> None:
            case.call_and_validate(session=fuzzed.session, headers=headers, checks=CHECKS)

        cases = operation.as_strategy(generation_mode=mode, path_parameters=place)
        try_out(call, cases, headers, mode, EXAMPLES)
        called.add(f"{operation.method.upper()} {operation.path}")
    assert {"POST /v1/events", "POST /in/{name}", "POST /v1/audiences"} <= called


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_strangers_get_in_nowhere_whatever_they_call(fuzzed: Fuzzed, mode: GenerationMode) -> None:
    before = staged_messages(fuzzed.workshop)
    for operation, _, place in operations_of(fuzzed):
        if not operation.path.startswith(("/v1/", "/in/")):
            continue

        def call(case: schemathesis.Case, headers: dict[str, str]) -> None:
            response = case.call(session=fuzzed.session, headers=headers)
            assert 400 <= response.status_code < 500, case.as_curl_command()

        cases = operation.as_strategy(generation_mode=mode, path_parameters=place)
        try_out(call, cases, {"Authorization": "Bearer nobody"}, mode, EXAMPLES // 3)
    assert staged_messages(fuzzed.workshop) == before


# By any bytes, and by messages that are nearly right.

TEXT = st.text(max_size=12) | st.sampled_from(
    ["add", "remove", "true", "31001", "vip", "\x00", "\ud800", "a@b.cd", "2026-02-03T08:15:30Z"]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from([2**63, -1])
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NUMBERS = st.integers(0, 20)


@st.composite
def spoilt(draw: st.DrawFn, message: Any) -> Any:
    """A message with something else at one place in it, or without something, or with more."""
    if isinstance(message, dict) and message and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(message)))
        if not draw(st.integers(0, 5)):
            return {name: value for name, value in message.items() if name != key}
        return message | {key: draw(spoilt(message[key]))}
    if isinstance(message, list) and message and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(message) - 1))
        changed = draw(spoilt(message[place]))
        return [*message[:place], changed, *message[place + draw(st.integers(0, 1)) :]]
    return draw(JUNK)


@st.composite
def messages(draw: st.DrawFn) -> Any:
    make = MAKERS[draw(st.sampled_from(FORMATS))]
    message = make(draw(NUMBERS), draw(st.sampled_from([31001, 31001, "31001", 77, 2**40])))
    if draw(st.booleans()):
        number = draw(NUMBERS)
        message |= {"id": f"m-{number}", "messageId": f"m-{number}"}
    return draw(st.just(message) | spoilt(message))


def packed(value: Any) -> bytes:
    return json.dumps(value).encode()  # NaN and halves of surrogate pairs as well


ENCODED = st.one_of(
    st.binary(max_size=100),
    JUNK.map(packed),
    messages().map(packed),
    st.lists(messages(), max_size=5).map(packed),
    st.lists(messages(), max_size=5).map(lambda many: packed({"batch": many})),
    st.lists(messages(), max_size=5).map(lambda many: b"\n".join(map(packed, many))),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bytes that are no message, a message, or many; whole, cut off, or packed."""
    body = draw(ENCODED)
    if not draw(st.integers(0, 6)):
        body = body[: draw(st.integers(0, len(body)))]
    if not draw(st.integers(0, 4)):
        body = gzip.compress(body)
    return body


def accepted_in_receipts(workshop: Workshop) -> int:
    return int(workshop.value("SELECT coalesce(sum(accepted), 0) FROM receipt"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v1", *FORMATS])
def test_of_any_bytes_exactly_what_is_answered_as_accepted_is_staged(
    fuzzed: Fuzzed, name: str
) -> None:
    path = "/v1/events?connection=main" if name == "v1" else f"/in/{name}"
    secret = fuzzed.administering if name == "v1" else fuzzed.secrets[name]
    seen: set[int] = set()
    fuzzed.workshop.activate()  # what was tried out before may have ended it
    before_all = staged_messages(fuzzed.workshop)

    @seeded
    @settings(max_examples=BODIES, database=None)
    @given(bodies())
    def deliver(body: bytes) -> None:
        before = staged_messages(fuzzed.workshop), accepted_in_receipts(fuzzed.workshop)
        answer = fuzzed.post(path, secret, data=body)
        seen.add(answer.status_code)
        assert answer.status_code < 500
        staged = staged_messages(fuzzed.workshop) - before[0]
        told = answer.json()
        if "accepted" in told:
            assert staged == told["accepted"]
            assert told["rejected"] == sum(each["rejected"] for each in told["errors"])
            assert (answer.status_code == 422) == (
                told["rejected"] > 0 and not told["accepted"] + told["duplicates"]
            )
        elif answer.status_code >= 400:
            assert staged == 0
        assert staged == accepted_in_receipts(fuzzed.workshop) - before[1]

    deliver()
    assert seen >= {200, 400}
    assert (
        staged_messages(fuzzed.workshop) - before_all > BODIES // 100
    )  # 20 were seen; chance decides
