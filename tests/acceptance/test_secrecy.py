"""Canaries of a whole run are found nowhere: not at rest, not in logs, not in what is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha1, sha256
from pathlib import Path

import orjson
import pytest

from app.database import transaction
from app.sandbox.children import Child
from app.sandbox.stack import free_port
from tests.acceptance.fleet import AD_ACCOUNT, Fleet, happens, kill, read_log
from tests.acceptance.flower_pages import all_pages, task_table
from tests.acceptance.publishing import publish
from tests.acceptance.sealed_site import AUDIENCE, NAME, Site, sealed_site
from tests.canaries import ADDRESSES, DEVICE, DEVICES, PUBLISHED, WORD, shapes, spellings

TOKEN = f"pina_{WORD}5d1f0c7e9b"
POISON = f"canary.poison.{WORD}@example.org"
JUNK = [
    f"canary.junk.{WORD} at home",
    f"canary.nul.{WORD}\x00@example.org",
    f"@canary.nobody.{WORD}",
    f"7D40CANARY-{WORD}",
]
SHA256_ONLY = sha256(f"canary.hashed.{WORD}@example.org".encode()).hexdigest()
FROM_QUEUE = [f"canary{number}.{PUBLISHED}@example.org" for number in range(5)]
FROM_QUEUE_BROKEN = f"canary.broken.{PUBLISHED}@example.org"
OURS = spellings(WORD, DEVICE, SHA256_ONLY) | {
    bytes.fromhex(SHA256_ONLY),
    *(shape for value in (*ADDRESSES, *DEVICES, *JUNK, POISON) for shape in shapes(value)),
}
UPSTREAMS = spellings(PUBLISHED).union(*map(shapes, [*FROM_QUEUE, FROM_QUEUE_BROKEN]))
RECEIVED_FROM_QUEUE = "SELECT count(*) FROM receipt WHERE source = 'queue'"
IN_FLIGHT = "SELECT count(*) FROM attempt WHERE state = 'in_flight'"

PATIENCE_S = 180.0
LOOKING_AROUND = (
    *("status", "status --json", "books", "books --json", "doctor", "doctor --json", "errors"),
    *("connection list --json", "connection show main", "connection settings main", "source list"),
    *("audience show 31001", "token list", "keys list", "keys list --json", "retry", "flush 31001"),
    *("audience pause 31001", "audience resume 31001", "migrate"),
)

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with sealed_site(tmp_path, TOKEN) as made:
        yield made


def events() -> bytes:
    """A file of good events, of bad ones of every sort, and of what is no event."""
    good = [
        {"audience": AUDIENCE, "operation": "add", "email": address, "idfa": device.upper()}
        for address, device in zip(ADDRESSES, DEVICES, strict=True)
    ]
    good.append({"audience": AUDIENCE, "operation": "add", "email": SHA256_ONLY})
    good.append({"audience": AUDIENCE, "operation": "add", "email": POISON})
    bad = [{"audience": AUDIENCE, "operation": "add", "email": junk, "gaid": junk} for junk in JUNK]
    strays = [
        {"audience": ADDRESSES[0], "operation": "add", "email": ADDRESSES[0]},
        {"audience": AUDIENCE, "operation": ADDRESSES[1], "email": ADDRESSES[1]},
        {"audience": AUDIENCE, "operation": "add", "occurred_at": ADDRESSES[2], "idfa": DEVICES[2]},
    ]
    broken = b'{"email": "' + ADDRESSES[3].encode() + b'", '
    return b"\n".join([*map(orjson.dumps, [*good, *bad, *strays]), broken]) + b"\n"


def connect(site: Site) -> None:
    """A connection and an audience, by commands."""
    token_file = site.give("token.txt", TOKEN)
    account = ("--ad-account", AD_ACCOUNT, "--token-file", token_file)
    site.pinfold("connection", "add", "main", *account)
    site.pinfold("audience", "activate", NAME, "--id", AUDIENCE, "--no-wait")


def publish_canaries(fleet: Fleet) -> None:
    for address in FROM_QUEUE:
        event = {"audience": AUDIENCE, "operation": "add", "email": address}
        publish(fleet.environment["PINFOLD_BROKER_URL"], event, message_id=f"of {address}")
    broken = f'{{"email": "{FROM_QUEUE_BROKEN}"'.encode()
    publish(fleet.environment["PINFOLD_BROKER_URL"], broken)


def misbehave(fleet: Fleet) -> None:
    """Let Pinterest fail in many ways, repeating what it was sent."""
    poison = sha1(POISON.encode()).hexdigest()
    echo = f"cannot take {POISON}, {ADDRESSES[4]} or {poison} or {DEVICES[4]} from {TOKEN}"
    faults = fleet.simulator.faults
    for fault in ("server_error", "transient_400", "rate_limited", "drop_after"):
        faults.script(fault, operation="patch", message=f"{echo}. Retry after 1 seconds.", reset=1)
    faults.script("garbage", operation="any read", body=f"<<< {echo} >>>")
    faults.script("refuse_records", times=None, records=[poison], message=echo)
    faults.script("bad_request", operation="create_audience", message=echo)


def test_canaries_of_a_run_with_every_trouble_at_pinterest_are_found_nowhere(site: Site) -> None:
    fleet = site.fleet
    misbehave(fleet)
    connect(site)
    site.pinfold("stage", site.give("events.ndjson", events()))
    port = free_port(0)
    kept = f"--db={fleet.directory / 'flower.db'}"
    fleet.flower(port, "--persistent=True", kept, level="DEBUG")
    worker = fleet.worker(level="DEBUG")
    fleet.beat(level="DEBUG")
    fleet.intake()
    publish_canaries(fleet)
    happens(lambda: fleet.count(RECEIVED_FROM_QUEUE) > 0)
    fleet.simulator.faults.script("slow", operation="patch", seconds=1.5)
    happens(lambda: fleet.count(IN_FLIGHT) > 0)
    kill(worker)
    fleet.worker("second", level="DEBUG")
    assert fleet.drained(PATIENCE_S)
    assert fleet.count("SELECT count(*) FROM batch WHERE state = 'quarantined'") == 1
    delivered = fleet.members(f"{NAME}-EMAIL")
    assert {sha1(address.encode()).hexdigest() for address in ADDRESSES + FROM_QUEUE} <= delivered
    fleet.simulator.set_token_state(TOKEN, "revoked")
    site.pinfold("stage", str(fleet.directory / "events.ndjson"), "--again")
    happens(
        lambda: fleet.count("SELECT count(*) FROM connection WHERE held_reason IS NOT NULL") == 1
    )
    site.pinfold_all(LOOKING_AROUND)
    site.show("Flower", all_pages(f"http://127.0.0.1:{port}"))
    site.assert_nowhere(OURS, in_broker=UPSTREAMS)
    assert b"pinfold.deliver" in b"".join(
        path.read_bytes() for path in fleet.directory.glob("flower.db*")
    )


@contextmanager
def refusing(fleet: Fleet, table: str, condition: str) -> Iterator[None]:
    """Let Postgres refuse every row of a table, naming it whole in its error."""
    change(fleet, f"ALTER TABLE {table} ADD CONSTRAINT refusal CHECK ({condition}) NOT VALID")
    try:
        yield
    finally:
        change(fleet, f"ALTER TABLE {table} DROP CONSTRAINT refusal")


def change(fleet: Fleet, statement: str) -> None:
    with transaction(fleet.deployment.engine) as tx:
        tx.exec_driver_sql(statement)


def log_as_out_of_the_box(fleet: Fleet) -> None:
    """A Postgres of one's own logs errors with their statements and details, unless told not to."""
    for setting in (
        "log_min_messages = warning",
        "log_min_error_statement = error",
        "log_error_verbosity = 'default'",
    ):
        change(fleet, f"ALTER DATABASE pinfold SET {setting}")
    fleet.deployment.engine.dispose()


def has_failed(fleet: Fleet, task: str) -> bool:
    return bool(
        re.search(rf"Task {task}\S* raised unexpected", read_log(fleet.directory / "worker.log"))
    )


def tried_or_ended(fleet: Fleet, consumer: Child) -> bool:
    return fleet.count(RECEIVED_FROM_QUEUE) > 0 or consumer.died()


def test_canaries_of_a_run_with_every_trouble_in_postgres_are_found_nowhere(site: Site) -> None:
    fleet = site.fleet
    log_as_out_of_the_box(fleet)
    connect(site)
    token = site.secret("token", "add", "shop", "--permission", "write")
    file = site.give("events.ndjson", events())
    caller = site.api()
    event = {"audience": AUDIENCE, "operation": "add", "email": ADDRESSES[0]}
    keyed = {"headers": {"Idempotency-Key": f"key-{WORD}"}}
    for table, condition in (
        ("receipt", "accepted < 0"),
        ("staged_chunk", "(100000 * message_count)::smallint > 0"),
        ("message_key", "key IS NULL"),
    ):
        with refusing(fleet, table, condition):
            assert caller.post("/v1/events", token, json=event, **keyed).status_code == 500
            site.pinfold("stage", file)
            consumer = fleet.intake(f"intake{table}")
            publish_canaries(fleet)
            happens(partial(tried_or_ended, fleet, consumer))
            consumer.stop()
    assert caller.post("/v1/events", token, json=event, **keyed).status_code == 200
    assert caller.post("/v1/events", token, json=event | {"gaid": None}, **keyed).status_code == 409
    site.pinfold("stage", file)
    port = free_port(0)
    flower = f"http://127.0.0.1:{port}"
    fleet.flower(port, level="DEBUG")
    fleet.worker(level="DEBUG")
    with refusing(fleet, "batch", "record_count < 0"):
        fleet.beat()  # not before, or all could be cut already
        happens(partial(has_failed, fleet, "pinfold.flush"))
    assert "Mistake('CheckViolation at " in read_log(fleet.directory / "worker.log")
    with refusing(fleet, "attempt", "state = 'in_flight'"):
        happens(partial(has_failed, fleet, "pinfold.deliver"))
    happens(lambda: any(row["state"] == "FAILURE" for row in task_table(flower)))
    site.show("Flower", all_pages(flower))
    assert fleet.drained()
    fleet.intake()
    site.assert_nowhere(OURS, in_broker=UPSTREAMS)
    assert "Failing row contains" in read_log(site.state / "postgres.log")
