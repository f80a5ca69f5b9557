"""The benchmarks measure the same work on both sides: every yardstick gives the result of ours."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from hashlib import sha1
from io import BytesIO
from itertools import accumulate, chain, product
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.bodies import hex_records, unpack_chunk
from app.copying import copy_rows
from app.database import transaction
from app.due import audiences_due
from app.events import Kind, ListType, Operation
from app.keyring import KeyRing, batch_purpose
from app.pinterest.client import PinterestClient
from app.pinterest.outcomes import Answer
from app.pinterest.wire import Patience
from app.sandbox.embedded_postgres import PostgresServer
from app.sandbox.pinterest import PinterestSimulator
from app.staging import Intake, stage
from tests.benchmarks import __main__ as command
from tests.benchmarks import (
    end_to_end,
    floors,
    flushing,
    footprint,
    harness,
    hashing,
    memory,
    staging,
)
from tests.benchmarks.due_check import Waiting
from tests.benchmarks.events import Sample
from tests.benchmarks.harness import QUICK, Pace, Row, Sizes, at_least, at_most
from tests.benchmarks.installation import Ground, Place, activate_all, plain_engine
from tests.benchmarks.textbook import (
    COPY_ROWS,
    Delete,
    Request,
    add_objects,
    count_waiting,
    delete_in_bulk,
    delete_one_by_one,
    row_text,
)
from tests.benchmarks.tidy import insert_rows

COUNT = 3_000
Outcome = dict[tuple[str, str], str]
"""The operation that decided, for each list and digest."""


@pytest.fixture
def ground(postgres: PostgresServer, migrated_template: str) -> Ground:
    return Ground(postgres, migrated_template)


@pytest.fixture
def place(ground: Ground) -> Iterator[Place]:
    with ground.place(flush_messages=1, window_messages=1_000, records_per_request=70) as place:
        yield place


# The events.


def test_the_same_sample_has_the_same_events() -> None:
    calls = list(Sample(500, 7).calls(200))
    assert [len(call) for call in calls] == [200, 200, 100]
    assert list(chain(*calls)) == Sample(500, 7).events(0, 500)


def test_the_events_have_the_mix_they_claim() -> None:
    events = Sample(20_000, 10).events(0, 20_000)
    kinds = Counter(event.identities[0].kind for event in events)
    assert kinds[Kind.EMAIL] == pytest.approx(12_000, rel=0.03)
    assert kinds[Kind.IDFA] == pytest.approx(4_000, rel=0.05)
    assert kinds[Kind.GAID] == pytest.approx(4_000, rel=0.05)
    adds = sum(event.operation is Operation.ADD for event in events)
    assert adds == pytest.approx(16_000, rel=0.03)
    values = [event.identities[0].value for event in events]
    people = len({value.strip().lower() for value in values})
    assert people == pytest.approx(18_000, rel=0.03)
    addresses = [value for value in values if "@" in value]
    assert {len(address.strip()) for address in addresses} == set(range(24, 33))
    titled = sum(address.strip().istitle() for address in addresses)
    assert titled == pytest.approx(len(addresses) / 10, rel=0.2)
    assert any(address != address.strip() for address in addresses)
    assert all(event.identities[0].value.isupper() for event in events if _is(event, Kind.IDFA))
    assert all(event.identities[0].value.islower() for event in events if _is(event, Kind.GAID))


def test_the_events_occurred_one_after_another() -> None:
    times = [event.occurred_at_us or 0 for event in Sample(1_000, 1).events(0, 1_000)]
    assert times == sorted(set(times))


def _is(event: Any, kind: Kind) -> bool:
    return bool(event.identities[0].kind is kind)


# The yardsticks.


def test_copied_rows_objects_and_inserted_rows_are_the_same_rows(place: Place) -> None:
    sample = Sample(COUNT, 5)
    events = sample.events(0, COUNT)
    ids = activate_all(place, 5)
    engine = plain_engine(place)
    with Session(engine) as session:
        add_objects(session, events, ids)
    objects = _taken_rows(place)
    with engine.connect() as connection:
        insert_rows(connection, events, ids)
    inserted = _taken_rows(place)
    engine.dispose()
    with place.session.cursor() as cursor:
        cursor.copy_expert(COPY_ROWS, BytesIO(row_text(events, ids)))
    assert objects == inserted == _taken_rows(place)
    assert len(objects) == COUNT


def _taken_rows(place: Place) -> list[Any]:
    """The rows in their order, which are then gone."""
    with place.session.cursor() as cursor:
        cursor.execute(
            "SELECT audience_id, occurred_at, operation, kind, value FROM event_row ORDER BY id"
        )
        rows = list(cursor.fetchall())
    place.run("TRUNCATE event_row")
    return rows


def test_a_call_of_the_tidy_version_is_a_few_statements(place: Place) -> None:
    ids = activate_all(place, 5)
    engine = plain_engine(place)
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *each: statements.append(each[2]))
    with engine.connect() as connection:
        insert_rows(connection, Sample(COUNT, 5).events(0, COUNT), ids)
    engine.dispose()
    assert len(statements) == COUNT // 1_000


# The floors.


def test_the_floor_of_staging_copies_the_very_rows_that_staging_sends(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[bytes]] = []

    def noted(
        cursor: Any, table: sa.Table, columns: tuple[str, ...], rows: Any, first: bytes
    ) -> None:
        sent.append([*rows])
        copy_rows(cursor, table, columns, sent[-1], first=first)

    monkeypatch.setattr("app.staging.copy_rows", noted)
    calls = _staged_calls(place)
    assert len(sent) == len(calls) == COUNT // 1_000
    for rows, call in zip(sent, calls, strict=True):
        assert len(rows) == 7
        assert call == COPY_HEADER + b"".join(rows) + COPY_END
    staged = _chunks(place)
    assert staged
    assert floors.copy_in(place, calls) > 0
    assert _chunks(place) == staged


def _staged_calls(place: Place) -> list[bytes]:
    activate_all(place, 7)
    intake = Intake(place.deployment, "benchmark")
    for events in Sample(COUNT, 7).calls(1_000):
        stage(intake, events)
    return floors.staged_calls(place)


COPY_HEADER, COPY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def _chunks(place: Place) -> list[Any]:
    with place.session.cursor() as cursor:
        cursor.execute(
            "SELECT audience_id, message_count, email_count, maid_count, body FROM staged_chunk"
            " ORDER BY id"
        )
        return [(*counts, bytes(body)) for *counts, body in cursor.fetchall()]


def test_each_call_is_synced_to_the_disk_on_its_own(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _staged_calls(place)
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(os.lseek(file, 0, os.SEEK_CUR)))
    assert floors.write_synced(place, calls) > 0
    assert synced == [*accumulate(map(len, calls))]


def test_the_floors_of_a_flush_are_made_of_its_own_bytes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = flushing.Flushing(place, Sample(COUNT, 1), per_chunk=50)
    flush.ours()
    assert len(flush.batch_bytes) == place.ask("SELECT count(*) FROM batch")
    digests = len({value.strip().lower() for value in flush.sample.values})
    assert sum(flush.batch_bytes) >= 20 * digests
    opened: list[bytes] = []
    original = KeyRing.open

    def noted(ring: KeyRing, sealed: bytes, purpose: str) -> bytes:
        opened.append(original(ring, sealed, purpose))
        return opened[-1]

    monkeypatch.setattr(KeyRing, "open", noted)
    for floor in (flush.opened, flush.copied_out, flush.moved):
        pace = floor()
        assert pace.events == COUNT
        assert pace.seconds > 0
    lines = [unpack_chunk(body).text.decode().split("\n") for body in opened]
    assert [*chain(*lines)] == [value.strip() for value in flush.sample.values]
    flush.close()


# Flushing and sending.


def test_every_way_of_flushing_gives_the_same_digests(place: Place) -> None:
    flush = flushing.Flushing(place, Sample(COUNT, 1), per_chunk=50)
    ours, objects, tuples = Outcome(), Outcome(), Outcome()
    flush.ours(lambda: _take_lanes(place, ours))
    flush.objects(COUNT, lambda _, request: _apply(objects, request))
    flush.tuples(lambda _, request: _apply(tuples, request))
    flush.close()
    naive = Outcome()
    for request in hashing.loop(flush.sample.events(0, COUNT)):
        _apply(naive, request)
    assert ours == objects == tuples == naive
    assert len(naive) == len({value.strip().lower() for value in flush.sample.values})
    assert place.ask("SELECT count(*) FROM upload") == 3
    assert place.ask("SELECT count(*) FROM staged_chunk") == 0
    assert place.ask("SELECT count(*) FROM event_row") == 0


def _apply(outcome: Outcome, request: Request) -> None:
    outcome |= {(request.list_type, digest): request.operation for digest in request.digests}


def _take_lanes(place: Place, outcome: Outcome) -> None:
    """Apply what waits in the lanes, in their order, and empty them."""
    with place.session.cursor() as cursor:
        cursor.execute(
            "SELECT list_type, operation, customer_list.id, payload FROM batch"
            " JOIN customer_list ON customer_list.id = customer_list_id WHERE state = 'waiting'"
            " ORDER BY upload_id, operation DESC, batch.id"
        )
        for list_type, operation, list_id, sealed in cursor.fetchall():
            payload = place.deployment.keyring.open(bytes(sealed), batch_purpose(list_id))
            digests = hex_records(payload).decode().split(",")
            _apply(outcome, Request(list_type, operation, digests))
    place.run(flushing.EMPTY_LANES)


def test_hashing_in_halves_gives_what_the_loop_gives() -> None:
    events = Sample(COUNT, 1).events(0, COUNT)
    ours, naive = Outcome(), Outcome()
    for list_type, body in hashing.batch(hashing.draft(events)):
        _apply(ours, _said(list_type, body))
    for request in hashing.loop(events):
        said = _said(request.list_type, hashing.body_by_the_book(request))
        assert said == request
        _apply(naive, said)
    assert ours == naive


def test_hashing_is_judged_by_how_many_times_sha1_alone_it_takes_and_its_halves_are_times(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "EVENTS", 500)
    rows = {row.what.strip(): row for row in hashing.measure(ground, Sizes(rounds=1))}
    assert [what for what, row in rows.items() if row.must] == ["as many times SHA-1 alone"]
    halves = [rows["of that at intake"], rows["of that in flush and delivery"]]
    assert {row.unit for row in halves} == {"us"}
    assert all(row.figures == row.rounds["ours us"] for row in halves)
    quick = hashing.measure(ground, QUICK)
    assert not any(row.must for row in quick)


def _said(list_type: str, body: bytes) -> Request:
    said = json.loads(body)
    assert said.keys() == {"operation_type", "records"}
    return Request(list_type, said["operation_type"], said["records"].split(","))


def test_what_is_hashed_and_batched_is_what_the_client_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = PinterestClient("http://127.0.0.1", "1", "token", Patience(1, 1, 1))
    sent: list[bytes | None] = []

    def noted(_method: str, _path: str, *, body: bytes | None = None) -> Answer:
        sent.append(body)
        return Answer(200, left=True)

    monkeypatch.setattr(client.wire, "call", noted)
    bodies = [body for _, body in hashing.batch(hashing.draft(Sample(COUNT, 1).events(0, COUNT)))]
    for body in bodies:
        request = _said("", body)
        client.change_list("1", request.operation, ",".join(request.digests).encode())
    client.close()
    assert bodies == sent


@pytest.mark.parametrize("delete", [delete_in_bulk, delete_one_by_one])
def test_all_versions_leave_the_same_members_at_pinterest(
    delete: Delete, ground: Ground, simulator: PinterestSimulator
) -> None:
    simulator.behaviour.writes_per_minute = None
    settings = end_to_end.SETTINGS | {"records_per_request": 50}
    with ground.place(pinterest_url=simulator.base_url, **settings) as place:
        sample = Sample(COUNT, 4)
        versions = end_to_end.EndToEnd(place, sample)
        first_records = {each["id"]: _members(simulator, each["id"]) for each in _lists(simulator)}
        versions.ours()
        versions.textbook(sample, delete)
        versions.tidy(sample)
        versions.check_counts()
        versions.close()

        def members(list_id: str) -> set[str]:
            return _members(simulator, list_id) - first_records[list_id]

        assert len(_lists(simulator)) == 3 * 2 * len(versions.audience_ids)
        textbook, tidy = (each.list_ids for each in versions.yardsticks)
        for audience_id, list_type in product(versions.audience_ids.values(), ListType):
            own = place.ask(
                "SELECT pinterest_list_id FROM customer_list"
                " WHERE audience_id = %s AND list_type = %s",
                audience_id,
                list_type,
            )
            ours = members(own)
            assert ours
            assert ours == members(textbook[audience_id, list_type])
            assert ours == members(tidy[audience_id, list_type])


def _lists(simulator: PinterestSimulator) -> list[dict[str, Any]]:
    return simulator.books.lists()


def _members(simulator: PinterestSimulator, list_id: str) -> set[str]:
    return simulator.books.membership(list_id)


def test_the_due_check_sees_what_counting_rows_sees(ground: Ground) -> None:
    with ground.place(flush_messages=600) as place:
        waiting = Waiting(place, events=26_000, audiences=50)
        waiting.fill_audiences()
        waiting.fill_chunks(body_bytes=20)
        waiting.fill_rows()
        engine = plain_engine(place)
        with Session(engine) as session:
            counts = count_waiting(session)
        engine.dispose()
        with transaction(place.deployment.engine) as tx:
            due = audiences_due(tx, place.deployment.settings)
        assert waiting.flushes_ms() > 0
        assert waiting.check_ms() > 0
        assert waiting.count_ms() > 0
        waiting.close()
    assert sum(counts.values()) == 26_000
    assert set(due) == {audience for audience, count in counts.items() if count >= 600}
    assert 0 < len(due) < 50


# The measuring.


def test_staging_measures_time_disk_and_log_of_both_sides(place: Place) -> None:
    footprint.leave_alone(place)
    measured = staging.Staging(place, Sample(COUNT, 10))
    ways = (measured.ours, measured.copied_rows, measured.objects, measured.inserts)
    for each in [way(1_000) for way in ways]:
        assert each.pace.events == COUNT
        assert each.pace.seconds > 0
        assert 30 < each.disk_bytes < 300
        assert 30 < each.wal_bytes < 600
    assert place.ask("SELECT sum(accepted) FROM receipt") == COUNT
    assert place.ask("SELECT count(*) FROM staged_chunk") == 0
    for floor in (measured.copied_own(1_000), measured.synced_own(1_000)):
        assert floor.events == COUNT
        assert floor.seconds > 0
    measured.close()
    assert place.ask("SELECT count(*) FROM event_row") == 0


def test_what_disk_and_log_are_told_of_is_the_median_of_each_side_and_every_round_is_kept() -> None:
    pace = Pace(1, 1.0)
    ours, theirs = (
        [footprint.Staged(pace, disk, 1.0) for disk in rounds]
        for rounds in ((30.0, 90.0, 60.0), (100.0, 300.0, 120.0))
    )
    row = footprint.smaller("disk", ours, theirs, "disk_bytes", 1 / 2)
    assert row.figures == [0.3, 0.3, 0.5]
    assert (row.ours, row.yardstick) == ("60.00 B", "120.00 B")
    assert row.rounds == {"ours B": [30.0, 90.0, 60.0], "yardstick B": [100.0, 300.0, 120.0]}


def test_memory_is_measured_in_a_process_that_flushes_everything(place: Place) -> None:
    flush = flushing.Flushing(place, Sample(COUNT, 1))
    assert 0 < memory.extra_mb(flush) < 200
    flush.close()
    assert place.ask("SELECT count(*) FROM staged_chunk") == 0


def test_only_the_steps_are_timed_and_not_the_building_of_their_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(harness, "perf_counter", lambda: now[0])

    def calls() -> Iterator[float]:
        for length in (1.0, 2.0):
            now[0] += 100
            yield length

    assert harness.timed(calls(), lambda length: now.__setitem__(0, now[0] + length)) == 3


def test_the_cases_take_turns_and_each_begins_a_round() -> None:
    order: list[str] = []
    cases = {name: lambda name=name: order.append(name) for name in "abc"}
    harness.interleave(2, cases)
    assert order == ["a", "b", "c", "b", "c", "a"]


def test_a_ratio_is_taken_inside_a_round_and_its_median_is_judged() -> None:
    ours = [Pace(10, 1.0), Pace(10, 2.0), Pace(10, 1.0)]
    theirs = [Pace(5, 1.0), Pace(5, 2.0), Pace(5, 10.0)]
    row = harness.compared("it", ours, theirs, ours, at_least(2))
    assert row.figures == [2, 2, 20]
    assert row.is_met
    assert not harness.compared("it", ours, theirs, ours, at_least(2.1)).is_met
    assert not Row("it", [1.0, 3.0, 2.5], "MB", at_most(2)).is_met
    assert Row("it", [1.0], "x").is_met is None


def test_sha1_alone_hashes_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []

    def noted(value: bytes) -> Any:
        hashed.append(value)
        return sha1(value)

    monkeypatch.setattr(harness, "sha1", noted)
    assert harness.sha1_alone(["a", "b"]).events == 2
    assert hashed == [b"a", b"b"]


@pytest.mark.parametrize(("bound", "status"), [(1.0, 0), (3.0, 1)])
def test_the_command_prints_the_table_and_its_status_says_whether_all_is_met(
    bound: float,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    seen: list[Sizes] = []

    def group(_: Ground, sizes: Sizes) -> list[Row]:
        seen.append(sizes)
        return [Row("speed", [1.0, 2.0, 9.0], "x", at_least(bound))]

    monkeypatch.setattr(command, "GROUPS", {"group": group})
    report = tmp_path / "report.json"
    assert command.main(["group", "--rounds", "7", "--quick", "--json", str(report)]) == status
    assert seen[0].rounds == 7
    line = capsys.readouterr().out.splitlines()[1]
    assert "speed" in line
    assert "2.00x (1.00-9.00)" in line
    assert line.endswith("NOT MET" if status else "met")
    (row,) = json.loads(report.read_text())["rows"]
    assert (row["median"], row["met"]) == (2.0, not status)


def test_an_unknown_group_is_refused_with_the_names_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command.main(["speed"])
    assert "end-to-end" in capsys.readouterr().err
