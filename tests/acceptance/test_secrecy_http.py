"""Canaries and secrets that came over HTTP are found nowhere, whatever was wrong with the call."""

from __future__ import annotations

import gzip
import hmac
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.acceptance.fleet import happens
from tests.acceptance.sealed_site import AUDIENCE, NAME, Caller, Site, sealed_site
from tests.canaries import ADDRESSES, DEVICE, DEVICES, WORD, shapes, spellings
from tests.upstream import membership

TOKEN = f"pina_{WORD}0a1b2c3d"
GUESSED = f"pinfold_{WORD}0a1b2c3d"
"""A secret that is none; whoever shows it may have only mistyped a good one."""
JUNK: tuple[Any, ...] = (
    f"junk.{WORD} at home",
    f"nul.{WORD}\x00@example.org",
    {"value": f"nested.{WORD}@example.org"},
    [[f"listed.{WORD}@example.org"]],
    f"0000{WORD}",
    f"{WORD}@example.org,{WORD}@example.com",
    f"{WORD}@" + "x" * 400,
)
OURS = spellings(WORD, DEVICE).union(*map(shapes, [*ADDRESSES, *DEVICES]))
FORMATS = ("events", "mparticle", "segment", "rudderstack")

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with sealed_site(tmp_path, TOKEN, PINFOLD_BODY_LIMIT="65536") as made:
        yield made


def own(address: object, device: object, **more: Any) -> dict[str, Any]:
    event = {"audience": AUDIENCE, "operation": "add", "email": address, "idfa": device}
    return event | more


def mparticle(address: object, device: object, **more: Any) -> dict[str, Any]:
    person = {
        "user_identities": [{"type": "email", "encoding": "raw", "value": address}],
        "device_identities": [{"type": "ios_advertising_id", "encoding": "raw", "value": device}],
        "audiences": [{"audience_id": int(AUDIENCE), "audience_name": "VIP", "action": "add"}],
    }
    return membership(person, **more)


def segment(address: object, device: object, **more: Any) -> dict[str, Any]:
    message = {
        "type": "identify",
        "traits": {"email": address, AUDIENCE: True},
        "context": {
            "device": {"type": "ios", "advertisingId": device},
            "personas": {"computation_class": "audience", "computation_key": AUDIENCE},
        },
    }
    return message | more


def rudderstack(address: object, device: object, **more: Any) -> dict[str, Any]:
    message = {
        "type": "audienceList",
        "context": {"externalId": [{"type": f"PINTEREST_AUDIENCE-{AUDIENCE}"}]},
        "properties": {"listData": {"add": [{"EMAIL": address, "IDFA": device}]}},
    }
    return message | more


MAKERS = dict(zip(FORMATS, (own, mparticle, segment, rudderstack), strict=True))


def bad_messages(name: str) -> Iterator[Any]:
    """What is wrong in every sort of way, with a canary where it is wrong."""
    make = MAKERS[name]
    for junk in JUNK:
        yield make(junk, DEVICES[0])
        yield make(ADDRESSES[0], junk)
    good = (ADDRESSES[1], DEVICES[1])
    for value in (ADDRESSES[2], {ADDRESSES[2]: [ADDRESSES[2]]}):
        for field in (
            *("audience", "operation", "occurred_at", "type", "timestamp", "timestamp_ms", "id"),
            *("account", "user_profiles", "context", "traits", "properties", "event", "messageId"),
            *("userId", "originalTimestamp", ADDRESSES[3]),
        ):
            yield make(*good, **{field: value})
    yield from (ADDRESSES[0], [ADDRESSES[0]], {ADDRESSES[0]: 1}, None, 7)


def broken_bodies() -> Iterator[tuple[bytes, dict[str, str]]]:
    """What cannot be read at all, and what is said of it."""
    address = ADDRESSES[0].encode()
    for body in (
        b'{"email": "' + address + b'"',
        b'{"email": "' + address + b'"} trailing ' + address,
        address,
        b'"' + address + b'"',
        b'{"email": "' + address + b'\xff"}',
        b"[" * 5_000 + address,
        b'{"audience": "31001", "email": "' + address * 3_000 + b'"}',
    ):
        yield body, {}
        yield body, {"Content-Encoding": "gzip"}
        yield gzip.compress(body), {"Content-Encoding": "gzip"}
    yield address, {"Content-Type": f"text/{WORD}"}
    yield address, {"Content-Encoding": WORD}
    yield b"{}", {"Idempotency-Key": ADDRESSES[0] * 20}
    yield b"{}", {"X-Signature": WORD, "Cookie": f"session={ADDRESSES[0]}"}


def doors(site: Site) -> dict[str, str]:
    """The secret of each address, a source of each format with a name of the format."""
    found = {"/v1/events": site.secret("token", "add", "shop", "--permission", "administer")}
    for name in FORMATS:
        found[f"/in/{name}"] = site.secret("source", "add", name, "--format", name)
    return found


def maker_of(path: str) -> str:
    return path.rpartition("/")[2]


def call_badly(caller: Caller, path: str, secret: str) -> None:
    for message in bad_messages(maker_of(path)):
        caller.post(path, secret, json=message)
    caller.post(path, secret, json=[*bad_messages(maker_of(path))][:50])
    for body, headers in broken_bodies():
        caller.post(path, secret, data=body, headers=headers)


def call_as_a_stranger(caller: Caller, path: str) -> None:
    body = MAKERS[maker_of(path)](ADDRESSES[4], DEVICES[4])
    for headers in (
        {},
        {"Authorization": f"Bearer {GUESSED}"},
        {"Authorization": GUESSED},
        {"Authorization": f"Basic {GUESSED}"},
        {"Authorization": f"Token {GUESSED}", "X-Signature": GUESSED},
    ):
        assert caller.post(path, headers=headers, json=body).status_code == 401


def call_elsewhere(caller: Caller, token: str) -> None:
    """Addresses that do not exist, and administration with fields that do not."""
    for path in (f"/in/{GUESSED}", f"/v1/{ADDRESSES[0]}", f"/v1/audiences/{ADDRESSES[0]}"):
        caller.post(path, token, json=own(ADDRESSES[0], DEVICES[0]))
        caller.get(f"{path}?email={ADDRESSES[0]}&secret={GUESSED}", GUESSED)
    for wrong in (
        {"name": "A", "id": {"email": ADDRESSES[0]}},
        {"name": [ADDRESSES[0]], "id": "1"},
        {"name": "A", "id": "1", "connection": ADDRESSES[0]},
        {"name": "A", "id": "1", ADDRESSES[0]: ADDRESSES[0]},
        ADDRESSES[0],
    ):
        assert caller.post("/v1/audiences", token, json=wrong).status_code >= 400


def sign(key: str, body: bytes) -> dict[str, str]:
    return {"X-Signature": hmac.digest(key.encode(), body, "sha1").hex()}


def test_what_comes_over_http_is_found_nowhere(site: Site) -> None:
    fleet = site.fleet
    token_file = site.give("token.txt", TOKEN)
    account = ("--ad-account", "549770000001", "--token-file", token_file)
    site.pinfold("connection", "add", "main", *account)
    site.pinfold("audience", "activate", NAME, "--id", AUDIENCE, "--no-wait")
    secrets = doors(site)
    caller = site.api()
    registration = {"type": "module_registration_request", "id": "1", "note": ADDRESSES[0]}
    assert caller.post("/in/mparticle", GUESSED, json=registration).status_code == 200
    for path, secret in secrets.items():
        call_as_a_stranger(caller, path)
        call_badly(caller, path, secret)
        good = MAKERS[maker_of(path)](ADDRESSES[0], DEVICES[0])
        assert caller.post(path, secret, json=good).status_code == 200
    key = site.secret("source", "add-secret", "segment", "--signing")
    signed = orjson.dumps(segment(ADDRESSES[1], DEVICES[1]))
    happens(lambda: caller.post("/in/segment", data=signed, headers=sign(key, signed)).ok)
    call_badly(caller, "/in/segment", secrets["/in/segment"])
    call_elsewhere(caller, secrets["/v1/events"])
    for page in ("/openapi.json", "/docs", "/redoc", "/metrics", "/healthz", "/readyz"):
        caller.get(page)
    site.pinfold("source", "list")
    site.pinfold("token", "list")
    fleet.worker(level="DEBUG")
    fleet.beat(level="DEBUG")
    assert fleet.drained()
    digests = {sha1(address.encode()).hexdigest() for address in ADDRESSES[:2]}
    assert digests <= fleet.members(f"{NAME}-EMAIL")
    site.assert_nowhere(OURS)
