"""Canaries of a whole run are found nowhere: not at rest, not in logs, not in what is shown."""

from __future__ import annotations

import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from pathlib import Path

import orjson
import pytest

from app.migrate import upgrade
from app.sandbox.embedded_postgres import EmbeddedPostgres
from app.sandbox.embedded_valkey import EmbeddedValkey
from app.sandbox.pinterest import PinterestSimulator
from app.sandbox.stack import free_port
from tests.acceptance.fleet import AD_ACCOUNT, Fleet, happens, make_fleet
from tests.acceptance.flower_pages import all_pages
from tests.acceptance.publishing import publish

TOKEN = "pina_canary5d1f0c7e9b"
AUDIENCE = "Findable by design"
"""A negative control: a name that does rest in the clear, so that the search can find."""

ADDRESSES = [f"canary{number}.quokkawallaby@example.org" for number in range(5)]
DEVICES = [f"3f1c9a52-7d40-4b8e-9a61-0c5d2e7f8a{number:02d}" for number in range(5)]
POISON = "canary.poison.quokkawallaby@example.org"
JUNK = [
    "canary.junk.quokkawallaby at home",
    "canary.nul.quokkawallaby\x00@example.org",
    "@canary.nobody.quokkawallaby",
    "7D40CANARY-quokkawallaby",
]
SHA256_ONLY = sha256(b"canary.hashed.quokkawallaby@example.org").hexdigest()
FROM_QUEUE = [f"canary{number}.numbatbilby@example.org" for number in range(5)]
"""These stand in the broker's files by the upstream's own doing, and must nowhere else."""
FROM_QUEUE_BROKEN = "canary.broken.numbatbilby@example.org"


@dataclass
class Place:
    """Where canaries must not be: a directory, or texts."""

    name: str
    contents: dict[str, bytes] = field(default_factory=dict)

    def read(self, directory: Path) -> Place:
        for path in directory.rglob("*"):
            if path.is_file() and not path.is_socket():
                self.contents[str(path)] = path.read_bytes()
        return self

    def holding(self, needles: Iterable[bytes]) -> list[tuple[str, bytes]]:
        return [
            (where, needle)
            for where, text in self.contents.items()
            for needle in needles
            if needle in text
        ]


def shapes(value: str) -> set[bytes]:
    """A value as it could be found, beside itself: its digests in hex and in raw bytes."""
    found = set()
    for spelling in {value.strip().lower(), value.strip().upper(), value}:
        digest = sha1(spelling.encode())
        found |= {digest.digest(), digest.hexdigest().encode(), digest.hexdigest().upper().encode()}
    return found


def packed(word: bytes) -> set[bytes]:
    """A word as base64 shows it, wherever in a text it stands."""
    found = set()
    for before, hidden in ((0, 0), (1, 2), (2, 3)):
        shown = b64encode(bytes(before) + word)
        whole = len(shown) if (before + len(word)) % 3 == 0 else len(shown) - 4
        found.add(shown[hidden:whole])
    return found


def spellings(*words: str) -> set[bytes]:
    """Words that stand in every canary of a kind: plain, upper case, and in base64."""
    cased = {each.encode() for word in words for each in (word, word.lower(), word.upper())}
    return cased | {shown for word in cased for shown in packed(word)}


OURS = spellings("quokkawallaby", DEVICES[0][:-2], TOKEN, SHA256_ONLY) | {
    bytes.fromhex(SHA256_ONLY),
    *(shape for value in (*ADDRESSES, *DEVICES, *JUNK, POISON) for shape in shapes(value)),
}
UPSTREAMS = spellings("numbatbilby").union(*map(shapes, [*FROM_QUEUE, FROM_QUEUE_BROKEN]))


@pytest.fixture
def state() -> Iterator[Path]:
    """Open to pass through: as root, Postgres runs as `nobody`."""
    with tempfile.TemporaryDirectory(prefix="pinfold-secrecy-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def fleet(state: Path, tmp_path: Path) -> Iterator[Fleet]:
    """An installation whose Postgres and broker saw nothing but this run."""
    postgres, valkey = EmbeddedPostgres(state), EmbeddedValkey(state)
    try:
        postgres.start()
        valkey.start()
        upgrade(postgres.url())
        with PinterestSimulator(tokens=[TOKEN], ad_accounts=[AD_ACCOUNT]) as simulator:
            made = make_fleet(
                tmp_path, postgres.url(), valkey.url(), simulator, PINFOLD_LOG_LEVEL="DEBUG"
            )
            try:
                yield made
            finally:
                made.stop()
    finally:
        valkey.stop()
        postgres.stop()


def events_file(fleet: Fleet) -> Path:
    good = [
        {"audience": "31001", "operation": "add", "email": address, "idfa": device.upper()}
        for address, device in zip(ADDRESSES, DEVICES, strict=True)
    ]
    good.append({"audience": "31001", "operation": "add", "email": SHA256_ONLY})
    good.append({"audience": "31001", "operation": "add", "email": POISON})
    bad = [{"audience": "31001", "operation": "add", "email": junk, "gaid": junk} for junk in JUNK]
    strays = [
        {"audience": ADDRESSES[0], "operation": "add", "email": ADDRESSES[0]},
        {"audience": "31001", "operation": ADDRESSES[1], "email": ADDRESSES[1]},
        {"audience": "31001", "operation": "add", "occurred_at": ADDRESSES[2], "idfa": DEVICES[2]},
    ]
    path = fleet.directory / "events.ndjson"
    broken = b'{"email": "' + ADDRESSES[3].encode() + b'", '
    lines = [*map(orjson.dumps, [*good, *bad, *strays]), broken]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def misbehave(fleet: Fleet) -> None:
    """Let Pinterest fail in many ways, repeating what it was sent."""
    poison = sha1(POISON.encode()).hexdigest()
    echo = f"cannot take {POISON}, {ADDRESSES[4]} or {poison} or {DEVICES[4]} from {TOKEN}"
    faults = fleet.simulator.faults
    for fault in ("server_error", "transient_400", "rate_limited", "drop_after"):
        faults.script(fault, operation="patch", message=f"{echo}. Retry after 1 seconds.", reset=1)
    faults.script("refuse_records", times=None, records=[poison], message=echo)
    faults.script("bad_request", operation="create_audience", message=echo)


def test_canaries_are_found_nowhere(fleet: Fleet, state: Path) -> None:
    misbehave(fleet)
    token_file = fleet.directory / "token.txt"
    token_file.write_text(TOKEN)
    said = [
        fleet.pinfold(
            "connection", "add", "main", "--ad-account", AD_ACCOUNT, "--token-file", str(token_file)
        ),
        fleet.pinfold("audience", "activate", AUDIENCE, "--id", "31001", "--no-wait"),
        fleet.pinfold("stage", str(events_file(fleet))),
    ]
    port = free_port(0)
    flower = f"http://127.0.0.1:{port}"
    fleet.flower(port)
    fleet.worker(level="DEBUG")
    fleet.beat()
    fleet.intake()
    for address in FROM_QUEUE:
        publish(
            fleet.environment["PINFOLD_BROKER_URL"],
            {"audience": "31001", "operation": "add", "email": address},
        )
    publish(fleet.environment["PINFOLD_BROKER_URL"], f'{{"email": "{FROM_QUEUE_BROKEN}"'.encode())
    happens(lambda: fleet.count("SELECT count(*) FROM receipt WHERE source = 'queue'") > 0)
    assert fleet.drained()
    quarantined = fleet.count("SELECT count(*) FROM batch WHERE state = 'quarantined'")
    assert quarantined == 1, "the faults did not play"
    delivered = fleet.members(f"{AUDIENCE}-EMAIL")
    assert {sha1(address.encode()).hexdigest() for address in ADDRESSES + FROM_QUEUE} <= delivered
    fleet.simulator.set_token_state(TOKEN, "revoked")
    said += [fleet.pinfold("stage", str(fleet.directory / "events.ndjson"), "--again")]
    happens(
        lambda: fleet.count("SELECT count(*) FROM connection WHERE held_reason IS NOT NULL") == 1
    )
    said += [
        fleet.pinfold(*command)
        for command in (
            ("status",),
            ("status", "--json"),
            ("books",),
            ("books", "--json"),
            ("doctor",),
            ("doctor", "--json"),
            ("connection", "list", "--json"),
            ("connection", "settings", "main"),
            ("retry",),
        )
    ]
    shown = Place("what people see", {"Flower": all_pages(flower)})
    for done in said:
        shown.contents[" ".join(done.args)] = (done.stdout + done.stderr).encode()
        assert "Traceback" not in done.stderr
    assert AUDIENCE.encode() in b"".join(shown.contents.values())
    fleet.stop()
    fleet.ask("SELECT pg_switch_wal()")
    (fleet.directory / "events.ndjson").unlink()
    token_file.unlink()
    logs = Place("logs and reject file").read(fleet.directory)
    assert any("rejects" in path for path in logs.contents)
    assert any("worker.log" in path for path in logs.contents)
    postgres = Place("Postgres with its WAL").read((state / "postgres").resolve())
    assert any("pg_wal" in path for path, _ in postgres.holding([AUDIENCE.encode()]))
    broker = Place("broker").read(state / "valkey")
    servers = Place("servers' logs", {str(log): log.read_bytes() for log in state.glob("*.log")})
    for place in (shown, logs, postgres, servers):
        assert place.holding(OURS | UPSTREAMS) == [], place.name
    assert broker.holding(OURS) == []
    assert broker.holding(UPSTREAMS), "the search looked past the broker's files"
