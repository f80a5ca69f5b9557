"""The disk under Postgres is full, and then has room again: row 34 of the fault matrix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from app.deployment import Deployment
from app.errors import Unavailable
from app.flush import FAILURES_BEFORE_NARROWING
from app.migrate import upgrade
from app.sandbox.embedded_postgres import EmbeddedPostgres
from app.sandbox.pinterest import PinterestSimulator
from tests.faults.small_disk import SmallDisk, small_disk
from tests.service import Service, running_service
from tests.workshop import Workshop, address, emails, open_workshop, sha1_hex

NO_ROOM = """
    CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER no_room BEFORE INSERT ON {table} EXECUTE FUNCTION no_room()
"""
MEGABYTES = 160
PEOPLE_IN_A_CALL = 2_000
CALLS_AT_MOST = 2_000
REFUSALS = 3


@contextmanager
def serving(server: EmbeddedPostgres, simulator: PinterestSimulator) -> Iterator[Service]:
    with (
        open_workshop(server.url(), simulator, records_per_request=50_000) as workshop,
        running_service(Deployment(workshop.deployment.settings, connections=2), None) as service,
    ):
        yield service


def call(number: int) -> list[dict[str, str]]:
    people = range(number * PEOPLE_IN_A_CALL, (number + 1) * PEOPLE_IN_A_CALL)
    return [{"audience": "31001", "operation": "add", "email": address(n)} for n in people]


def post(service: Service, secret: str, number: int) -> requests.Response:
    headers = {"Idempotency-Key": f"call {number}"}
    return service.post("/v1/events", secret, json=call(number), headers=headers)


def post_until_refused(service: Service, secret: str, disk: SmallDisk) -> int:
    """Call until the full disk has been felt; the number of the last call, which was refused."""
    refused = 0
    for number in range(1, CALLS_AT_MOST):
        answer = post(service, secret, number)
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 503:
            assert "Retry-After" in answer.headers
            refused += 1
            while refused < REFUSALS:
                assert post(service, secret, number).status_code == 503
                refused += 1
            return number
        disk.fill()
    raise AssertionError("the disk was never full")


@pytest.mark.tmpfs
def test_a_full_disk_is_answered_with_later_and_costs_nothing_that_was_accepted(
    simulator: PinterestSimulator,
) -> None:
    simulator.behaviour.writes_per_minute = None
    with small_disk(MEGABYTES) as disk:
        server = EmbeddedPostgres(disk.root / "state")
        server.start()
        try:
            upgrade(server.url())
            with serving(server, simulator) as service:
                assert_it_recovers(Workshop(service.deployment, simulator), service, server, disk)
        finally:
            server.stop()


def flush_in_vain(workshop: Workshop, audience_id: int) -> None:
    """More often than it takes until a chunk that fails by itself is set aside."""
    for _ in range(2 * FAILURES_BEFORE_NARROWING + 2):
        with suppress(Unavailable):
            workshop.end_leases()
            workshop.end_pauses()
        with suppress(Unavailable):
            workshop.flush(audience_id)


def assert_it_recovers(
    workshop: Workshop, service: Service, server: EmbeddedPostgres, disk: SmallDisk
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    secret = service.token()
    assert post(service, secret, 0).status_code == 200
    disk.fill()
    last = post_until_refused(service, secret, disk)
    flush_in_vain(workshop, audience_id)
    disk.free()
    if server.died():  # it found no room for its log; whoever runs it starts it again
        server.start()
    assert post(service, secret, last).status_code == 200
    assert workshop.value("SELECT count(*) FROM held_chunk") == 0, "the disk's fault, not theirs"
    while workshop.value("SELECT count(*) FROM staged_chunk"):
        workshop.end_leases()
        workshop.end_pauses()
        assert workshop.flush(audience_id) is not None
        workshop.deliver_all()
    accepted = (last + 1) * PEOPLE_IN_A_CALL
    assert workshop.value("SELECT sum(accepted) FROM receipt") == accepted
    assert workshop.members() == {sha1_hex(address(n)) for n in range(accepted)}
    workshop.assert_books_balance()
    workshop.assert_charges_cover_what_was_sent()


def test_a_call_for_which_postgres_has_no_room_is_answered_with_later(
    workshop: Workshop, service: Service
) -> None:
    secret = service.token()
    workshop.execute(NO_ROOM.format(table="receipt"))
    answer = post(service, secret, 0)
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    workshop.execute("DROP TRIGGER no_room ON receipt")
    assert post(service, secret, 0).json()["accepted"] == PEOPLE_IN_A_CALL


def test_a_flush_for_which_postgres_has_no_room_is_no_fault_of_its_chunks(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready(forward_device_id=False)
    workshop.stage(*emails(range(5)))
    workshop.execute(NO_ROOM.format(table="upload"))
    for _ in range(2 * FAILURES_BEFORE_NARROWING + 2):
        with pytest.raises(Unavailable, match="no room"):
            workshop.flush(audience_id)
        workshop.end_pauses()
    workshop.execute("DROP TRIGGER no_room ON upload")
    assert workshop.flush(audience_id) is not None
    workshop.deliver_all()
    assert len(workshop.members()) == 5
    workshop.assert_books_balance()
