"""Staging: each event is accepted or refused with a reason, durably, once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

from app import gate, staging
from app.audiences import activate, deactivate
from app.bodies import pack_chunk
from app.connections import add_connection
from app.database import self_committing
from app.deployment import Deployment
from app.errors import ConfigError, Unavailable
from app.events import Identity, Kind, MembershipEvent
from app.gate import GATE, GATES, gate_keys
from app.keyring import new_key
from app.staging import Intake, stage
from tests.integration.processes import eventually
from tests.workshop import (
    ACCOUNT,
    ADD,
    KEY,
    REMOVE,
    TOKEN,
    Workshop,
    address,
    device,
    device_event,
    email_event,
    emails,
    sha1_hex,
)


def test_good_events_are_accepted_and_bad_ones_refused_each_with_its_reason(
    workshop: Workshop,
) -> None:
    workshop.connect()
    workshop.activate()
    staged = workshop.stage(
        email_event(1),
        email_event("junk"),
        email_event(2, audience="nowhere"),
        MembershipEvent(
            "31001", ADD, (Identity(Kind.EMAIL, address(3)), Identity(Kind.IDFA, "junk"))
        ),
        device_event("00000000-0000-0000-0000-000000000000"),
        email_event("nul\x00@example.org"),
        MembershipEvent("31001", REMOVE, ()),
    )
    assert staged.accepted == 2
    assert [(r.position, r.field, r.whole) for r in staged.rejections] == [
        (1, "email", True),
        (2, "audience", True),
        (3, "idfa", False),
        (4, "idfa", True),
        (5, "email", True),
        (6, "email, idfa, gaid", True),
    ]
    assert "not activated" in staged.rejections[1].reason
    assert "zeros" in staged.rejections[3].reason
    assert "NUL" in staged.rejections[4].reason


@pytest.mark.parametrize("reference", ["a\x00b", "lone\ud800", "", "x" * 5_000])
def test_an_impossible_audience_spoils_none_of_its_neighbours(
    workshop: Workshop, reference: str
) -> None:
    workshop.connect()
    workshop.activate()
    staged = workshop.stage(email_event(1), email_event(2, audience=reference))
    assert staged.accepted == 1
    assert [(r.position, r.field) for r in staged.rejections] == [(1, "audience")]


def test_a_receipt_records_what_was_accepted_and_what_was_not(workshop: Workshop) -> None:
    workshop.connect()
    first = workshop.activate()
    second = workshop.activate("31002", "Other")
    workshop.stage(
        email_event(1),
        email_event(2),
        device_event(1, audience="31002"),
        email_event("junk"),
        key="message 1",
    )
    (row,) = workshop.rows("SELECT * FROM receipt")
    assert (row.source, row.dedupe_key, row.accepted) == ("test", "message 1", 3)
    assert sum(row.rejected.values()) == 1
    counts = dict(
        zip(
            row.audience_ids,
            zip(row.message_counts, row.email_counts, row.maid_counts, strict=True),
            strict=True,
        )
    )
    assert counts == {first: (2, 2, 0), second: (1, 0, 1)}


def test_the_same_key_a_second_time_changes_nothing(workshop: Workshop) -> None:
    workshop.connect()
    workshop.activate()
    workshop.stage(email_event(1), key="m")
    again = workshop.stage(email_event(1), key="m")
    assert again.duplicate
    assert again.accepted == 0
    assert workshop.value("SELECT count(*) FROM staged_chunk") == 1
    assert workshop.value("SELECT count(*) FROM receipt") == 1
    workshop.assert_books_balance()


def test_the_same_key_from_another_source_is_another_call(workshop: Workshop) -> None:
    workshop.connect()
    workshop.activate()
    workshop.stage(email_event(1), key="m")
    other = stage(Intake(workshop.deployment, "other"), [email_event(1)], dedupe_key="m")
    assert (other.accepted, other.duplicate) == (1, False)


def test_the_same_key_at_the_same_time_is_staged_once(workshop: Workshop) -> None:
    workshop.connect()
    workshop.activate()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: workshop.stage(email_event(1), key="m"), range(4)))
    assert sorted(answer.accepted for answer in answers) == [0, 0, 0, 1]
    assert workshop.value("SELECT sum(message_count) FROM staged_chunk") == 1


def test_calls_without_a_key_are_all_different(workshop: Workshop) -> None:
    workshop.connect()
    workshop.activate()
    for _ in range(2):
        assert workshop.stage(email_event(1)).accepted == 1


def test_a_removal_that_was_uploaded_is_not_undone_by_an_add_delivered_again(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    workshop.stage(email_event(1), key="the add")
    workshop.flush(audience_id)
    workshop.deliver_all()
    workshop.upload(audience_id, email_event(1, REMOVE))
    workshop.stage(email_event(1), key="the add")
    assert workshop.flush(audience_id) is None
    workshop.deliver_all()
    assert workshop.members() == set()


def test_nothing_lands_behind_a_deactivation(workshop: Workshop) -> None:
    workshop.connect()
    first = workshop.activate()
    workshop.activate("31002", "Other")
    intake = Intake(workshop.deployment, "test")
    stage(intake, [email_event(0), email_event(0, audience="31002")])  # both are known now
    deactivate(workshop.deployment, first)
    staged = stage(intake, [email_event(1), email_event(2, audience="31002"), email_event("junk")])
    assert staged.accepted == 1
    assert [(r.position, r.whole) for r in staged.rejections] == [(0, True), (2, True)]
    assert "deactivated" in staged.rejections[0].reason
    waiting = workshop.value(
        "SELECT sum(message_count) FROM staged_chunk WHERE audience_id = :a", a=first
    )
    assert waiting == 1
    workshop.assert_books_balance()


def test_a_deactivation_waits_for_an_intake_that_is_half_committed(workshop: Workshop) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    with ThreadPoolExecutor(1) as pool, workshop.transaction() as intake:
        intake.exec_driver_sql(
            "SELECT pg_advisory_xact_lock_shared(%s, %s)", (GATE, audience_id % GATES)
        )
        ending = pool.submit(deactivate, workshop.deployment, audience_id)
        assert eventually(lambda: waits_for_the_gate(workshop))
        assert not ending.done()
        intake.commit()
        ending.result(timeout=10)
    assert workshop.value("SELECT state FROM audience") == "deactivated"


def waits_for_the_gate(workshop: Workshop) -> bool:
    query = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return bool(workshop.value(query))


def test_a_half_committed_intake_makes_the_cut_wait_and_order_holds(
    workshop: Workshop,
) -> None:
    """An older id that is committed late must not end up in a later upload than a newer one."""
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(7, ADD))
    workshop.execute("CREATE TABLE kept AS SELECT * FROM staged_chunk")
    workshop.execute("DELETE FROM staged_chunk")
    with ThreadPoolExecutor(1) as pool, workshop.transaction() as slow:
        slow.exec_driver_sql(
            "SELECT pg_advisory_xact_lock_shared(%s, %s)", (GATE, audience_id % GATES)
        )
        slow.exec_driver_sql("INSERT INTO staged_chunk OVERRIDING SYSTEM VALUE TABLE kept")
        workshop.stage(email_event(7, REMOVE))  # passes: the gate is shared among intakes
        cutting = pool.submit(workshop.flush, audience_id)
        assert eventually(lambda: cutting.done() or waits_for_the_gate(workshop))
        assert not cutting.done()
        slow.commit()
        cut = cutting.result(timeout=10)
    assert cut is not None
    assert cut.messages == 2
    assert workshop.batches(audience_id) == [("REMOVE", 1, "waiting")]


def test_a_cut_never_passes_an_intake_in_the_midst_of_its_call(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id of its chunk is drawn: cut without it, the addition would undo a later removal."""
    monkeypatch.setattr("app.gate.CLOSE_TIMEOUT_MS", 50)
    audience_id = workshop.ready(forward_device_id=False)
    for upstream_id in ("31002", "31003"):
        workshop.activate(upstream_id, upstream_id)
    stopped, go_on = Event(), Event()
    packed: list[Any] = []

    def stop_at_third(*given: Any) -> bytes:
        packed.append(given)
        if len(packed) == 3:
            stopped.set()
            go_on.wait(60)
        return pack_chunk(*given)

    slow = emails(range(1_000)), emails(range(1_000), audience="31002")  # larger than any buffer
    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(staging, "pack_chunk", stop_at_third)
        call = pool.submit(workshop.stage, *slow[0], *slow[1], email_event(1, audience="31003"))
        try:
            assert stopped.wait(60)
            assert eventually(lambda: workshop.value("SELECT is_called FROM staged_chunk_id_seq"))
            workshop.stage(email_event(7, REMOVE))
            assert workshop.flush(audience_id) is None
        finally:
            go_on.set()
        assert call.result(60).accepted == 2_001
    cut = workshop.flush(audience_id)
    assert cut is not None
    assert cut.messages == 1_001
    workshop.deliver_all()
    assert workshop.members() == {sha1_hex(address(n)) for n in range(1_000) if n != 7}


def test_many_intakes_at_once_lose_and_double_nothing(workshop: Workshop) -> None:
    audience_id = workshop.ready()

    def intake(worker: int) -> int:
        firsts = range(worker * 100, worker * 100 + 50, 10)
        calls = [emails(range(first, first + 10)) for first in firsts]
        return sum(workshop.stage(*events).accepted for events in calls)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(intake, worker) for worker in range(4)]
        while not all(task.done() for task in running):
            workshop.flush(audience_id)
            workshop.deliver_all()
        accepted = sum(task.result() for task in running)
    workshop.flush(audience_id)
    workshop.deliver_all()
    assert accepted == 200
    expected = {sha1_hex(address(w * 100 + n)) for w in range(4) for n in range(50)}
    assert workshop.members() == expected
    workshop.assert_books_balance()


def test_nothing_that_rests_in_the_database_names_a_person(workshop: Workshop) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    person, phone = "canary.person@example.org", device(777)
    digest = sha1_hex(person)
    workshop.stage(email_event(person), device_event(phone), email_event(digest))
    workshop.flush(audience_id)
    workshop.stage(email_event(person), device_event(phone), email_event(digest))
    seen = ""
    for (table,) in workshop.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        for (text,) in workshop.rows(f"SELECT t::text FROM {table} AS t"):
            seen += text.lower()
    for secret in (person, phone, digest, sha1_hex(phone), TOKEN):
        assert secret not in seen
        assert secret.encode().hex() not in seen
    assert bytes.fromhex(digest).hex() not in seen


def test_a_large_call_makes_several_chunks_within_one_transaction(workshop: Workshop) -> None:
    workshop.connect()
    workshop.activate()
    assert workshop.stage(*emails(range(10_001))).accepted == 10_001
    sizes = [row.message_count for row in workshop.rows("SELECT * FROM staged_chunk ORDER BY id")]
    assert sizes == [10_000, 1]
    assert workshop.value("SELECT count(DISTINCT xmin::text) FROM staged_chunk") == 1


def test_a_message_with_very_many_identities_spoils_none_of_its_neighbours(
    workshop: Workshop,
) -> None:
    """Whether such a message is taken or refused: the one beside it is staged."""
    audience_id = workshop.ready()
    crowd = tuple(Identity(Kind.EMAIL, address(number)) for number in range(70_000))
    staged = workshop.stage(email_event("a@example.org"), MembershipEvent("31001", ADD, crowd))
    assert staged.accepted + len([r for r in staged.rejections if r.whole]) == 2
    workshop.flush(audience_id)
    workshop.deliver_all()
    assert sha1_hex("a@example.org") in workshop.members()
    workshop.assert_books_balance()


def test_a_call_of_a_thousand_audiences_holds_each_gate_once(workshop: Workshop) -> None:
    assert gate_keys(range(1, 1_000)) == list(range(64))
    assert gate_keys([300, 44, 5, 5]) == [5, 44]


def test_an_id_that_two_connections_know_needs_the_connection_named(workshop: Workshop) -> None:
    workshop.connect()
    workshop.activate()
    other = add_connection(workshop.deployment, "other", ACCOUNT, TOKEN)
    activate(workshop.deployment, "VIP", "31001", "other")
    staged = workshop.stage(email_event(1))
    assert staged.accepted == 0
    assert "name the connection" in staged.rejections[0].reason
    named = stage(Intake(workshop.deployment, "test", other), [email_event(1)])
    assert named.accepted == 1


def test_a_paused_audience_takes_events(workshop: Workshop) -> None:
    workshop.connect()
    workshop.activate()
    workshop.execute("UPDATE audience SET state = 'paused'")
    assert workshop.stage(email_event(1)).accepted == 1


def test_a_wrong_key_is_refused_before_anything_is_written(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with()
    workshop.connect()
    workshop.activate()
    stranger = open_with(keys=new_key())
    with pytest.raises(ConfigError, match="wrong key"):
        stranger.stage(email_event(1))
    assert workshop.value("SELECT count(*) FROM staged_chunk") == 0
    assert workshop.value("SELECT count(*) FROM encryption_key") == 1


def test_a_ring_with_the_old_and_a_new_key_is_taken_and_the_old_alone_no_longer(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with()
    audience_id = workshop.ready()
    workshop.stage(email_event(1))
    rotated = open_with(keys=f"{new_key()},{KEY}")
    rotated.stage(email_event(2))
    rotated.flush(audience_id)
    rotated.deliver_all()
    assert rotated.members() == {sha1_hex(address(1)), sha1_hex(address(2))}
    with pytest.raises(ConfigError, match="wrong key"):
        _ = open_with().deployment.keyring


def test_a_database_that_is_away_is_said_so_without_its_password(workshop: Workshop) -> None:
    away = workshop.deployment.settings.model_copy(
        update={"database_url": "postgresql://u:s3cr3t@127.0.0.1:1/none"}
    )
    with pytest.raises(Unavailable) as caught:
        stage(Intake(Deployment(away), "test"), [email_event(1)])
    assert "s3cr3t" not in str(caught.value)
    assert not isinstance(caught.value, psycopg2.Error)


def test_an_error_of_the_database_shows_no_value(workshop: Workshop) -> None:
    failing = sa.text("SELECT 1 / 0, CAST(:who AS text)")
    with pytest.raises(sa.exc.DBAPIError) as caught, workshop.transaction() as tx:
        tx.execute(failing, {"who": "canary@example.org"})
    assert "division by zero" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_process_stopped_in_the_midst_of_a_call_does_not_hold_up_the_cut(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    audience_id = workshop.ready()
    workshop.stage(email_event(1))
    stopped, go_on = Event(), Event()

    def pack_slowly(*_: object) -> bytes:
        stopped.set()
        go_on.wait(60)
        return b""

    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(staging, "pack_chunk", pack_slowly)
        patch.setattr(gate, "STUCK_S", 0.0)
        call = pool.submit(workshop.stage, email_event(2))
        try:
            assert stopped.wait(60)
            assert workshop.flush(audience_id) is None  # the gate is busy
            workshop.end_pauses()
            assert workshop.flush(audience_id) is not None
        finally:
            go_on.set()
        with pytest.raises(Unavailable):
            call.result()
    assert workshop.value("SELECT count(*) FROM staged_chunk") == 0


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("canary@example.org")])
def test_what_goes_wrong_in_making_a_row_is_raised_as_it_is_and_stages_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    workshop.connect()
    workshop.activate()

    def fail(*_: object) -> bytes:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(staging, "pack_chunk", fail)
        with pytest.raises(type(failure)):
            workshop.stage(email_event(1))
    assert workshop.value("SELECT count(*) FROM receipt") == 0
    assert workshop.stage(email_event(1)).accepted == 1


@pytest.mark.parametrize("sequence", ["receipt_id_seq", "staged_chunk_id_seq"])
def test_ids_that_lag_behind_fail_the_call_and_are_never_taken_for_a_duplicate(
    workshop: Workshop, sequence: str
) -> None:
    workshop.connect()
    workshop.activate()
    workshop.stage(email_event(1))
    workshop.execute(f"ALTER SEQUENCE {sequence} RESTART")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        workshop.stage(email_event(2))
    assert workshop.stage(email_event(2)).accepted == 1


def test_the_protocol_does_not_rest_on_the_databases_default_isolation(
    workshop: Workshop,
) -> None:
    name = workshop.value("SELECT current_database()")
    workshop.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    workshop.deployment.engine.dispose()
    assert workshop.value("SHOW transaction_isolation") == "read committed"
    with self_committing(workshop.deployment.engine) as cursor:
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone() == ("read committed",)
