"""Pinterest out of reach, late, or refusing for hours: rows 18, 19, 21, 22 of the fault matrix."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.sandbox.stack import free_port
from tests.faults.hands_of_time import outlast
from tests.workshop import REMOVE, Workshop, digests, email_event, emails

HOUR = 3_600.0


@pytest.fixture
def self_signed(tmp_path: Path) -> Path:
    """A certificate that nobody vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextmanager
def impostor(certificate: Path) -> Iterator[tuple[int, list[bytes]]]:
    """A server that shows a certificate; its port, and what it was told before it was refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    heard: list[bytes] = []
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                with suppress(OSError):  # nobody came, or whoever came went away
                    visitor, _ = server.accept()
                    visitor.settimeout(5)
                    with visitor, context.wrap_socket(visitor, server_side=True) as trusted:
                        heard.append(trusted.recv(4_096))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], heard
        finally:
            ended.set()
            thread.join()


@pytest.fixture(params=["nobody listens", "no such name", "wrong certificate"])
def unreachable(request: pytest.FixtureRequest, self_signed: Path) -> Iterator[str]:
    """The address of a Pinterest that no request can leave for."""
    if request.param == "nobody listens":
        yield f"http://127.0.0.1:{free_port(0)}/v5"
    elif request.param == "no such name":
        yield "https://no-such-host.invalid/v5"
    else:
        with impostor(self_signed) as (port, heard):
            yield f"https://localhost:{port}/v5"
        assert not any(heard), "a request went to somebody who is not Pinterest"


@pytest.fixture
def workshop(open_with: Callable[..., Workshop]) -> Workshop:
    """Its worker notes when the next slot is, where others would sit and wait for it."""
    return open_with(patience=0.05, writes_per_minute=400)


def test_what_could_not_leave_is_given_back_to_the_record(
    workshop: Workshop, open_with: Callable[..., Workshop], unreachable: str
) -> None:
    audience_id = workshop.ready()
    workshop.stage(*emails(range(5)))
    assert workshop.flush(audience_id) is not None
    charged = workshop.list_row(audience_id).charged
    cut_off = open_with(pinterest_url=unreachable)
    for _ in range(3):
        assert cut_off.deliver(audience_id) is not None
        cut_off.end_pauses()
    assert workshop.attempts(audience_id)[-3:] == [("ADD", 5, "refused")] * 3
    row = workshop.list_row(audience_id)
    assert (row.charged, row.unknown_at, row.held_reason) == (charged, None, None)
    workshop.deliver_all()
    assert workshop.members() == digests(range(5))
    assert workshop.list_row(audience_id).charged == charged + 5
    workshop.assert_books_balance()


def test_what_pinterest_applies_after_our_timeout_never_undoes_a_later_upload(
    workshop: Workshop, open_with: Callable[..., Workshop]
) -> None:
    applied_after = 2.0
    hasty = open_with(
        connect_timeout=0.5,
        read_timeout=0.8,
        call_deadline=1,
        dead_man=3,  # far beyond: where it strikes, it ends this process and all of its tests
        lease=3.5,
        quarantine=2 * applied_after,
        backoff_first=0.1,
    )
    audience_id = workshop.ready(forward_device_id=False)
    workshop.simulator.faults.script("late", operation="patch", seconds=applied_after)
    hasty.upload(audience_id, email_event(1), email_event(2))
    deliver_in_time(hasty, audience_id)  # the same upload goes again, and is answered
    hasty.stage(email_event(1, REMOVE))
    assert hasty.flush(audience_id) is not None
    deliver_in_time(hasty, audience_id)
    list_id = workshop.simulator.books.list_named("VIP-EMAIL")["id"]
    writes = [w for w in workshop.simulator.books.writes(list_id) if w.operation == "patch"]
    sent = [write.operation_type for write in writes]
    assert sent == sorted(sent)
    assert sent[:2] == ["ADD", "ADD"]
    late, removal = writes[0].applied_at, writes[sent.index("REMOVE")].applied_at
    assert late is not None
    assert removal is not None
    assert late < removal
    assert workshop.members() == digests(range(2, 3))
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


def deliver_in_time(workshop: Workshop, audience_id: int) -> None:
    """Deliver whenever something may go, until nothing waits."""
    deadline = time.monotonic() + 60
    while workshop.book(audience_id).waiting:
        workshop.deliver_all()
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("header", "most"),
    [
        pytest.param({"reset": 30}, 121, id="a sensible wait"),
        pytest.param({"reset": None}, 20, id="no wait named"),
        pytest.param({"reset": None, "retry_after": "soon"}, 20, id="garbage"),
        pytest.param({"reset": None, "retry_after": "9" * 30}, 2, id="for ever"),
        pytest.param({"reset": 0}, 240, id="at once"),
    ],
)
def test_an_hour_of_nothing_but_429_is_no_busy_hour(
    workshop: Workshop, header: dict[str, object], most: int
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    charged = workshop.list_row(audience_id).charged
    workshop.simulator.faults.script("rate_limited", times=None, operation="patch", **header)  # type: ignore[arg-type]
    workshop.stage(*emails(range(5)))
    assert workshop.flush(audience_id) is not None
    outlast(workshop, HOUR, over=lambda: len(workshop.patches()) > most)
    assert 1 <= len(workshop.patches()) <= most
    assert workshop.list_row(audience_id).charged == charged
    workshop.simulator.faults.clear()
    outlast(workshop, 2 * HOUR)
    assert workshop.members() == digests(range(5))
    assert workshop.list_row(audience_id).charged == charged + 5
    workshop.assert_books_balance()


@pytest.mark.parametrize(
    ("away", "most"),
    [
        pytest.param("any", 2, id="nothing works"),
        pytest.param("patch", 60, id="reads work"),
    ],
)
def test_a_day_of_5xx_gives_nothing_up_and_eats_little_of_the_cap(
    workshop: Workshop, away: str, most: int
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    charged = workshop.list_row(audience_id).charged
    workshop.simulator.faults.script("server_error", times=None, operation=away)
    workshop.stage(*emails(range(5)))
    assert workshop.flush(audience_id) is not None
    outlast(workshop, 24 * HOUR, over=lambda: len(workshop.patches()) > most)
    row = workshop.list_row(audience_id)
    assert 1 <= len(workshop.patches()) <= most
    assert row.charged == charged + 5 * len(workshop.patches())
    assert row.held_reason is None
    assert workshop.book(audience_id).waiting == 5
    assert len(workshop.simulator.books.requests()) < 100
    workshop.simulator.faults.clear()
    outlast(workshop, 2 * HOUR)
    assert workshop.members() == digests(range(5))
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()
