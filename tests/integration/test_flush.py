"""Flush: a prefix of the chunks becomes one upload, by exactly one worker, or nothing changes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5

import pytest
import sqlalchemy as sa

from app import connections, flush
from app.audiences import deactivate, request_flush
from app.bodies import unpack_digests
from app.connections import change_settings
from app.errors import LeaseLost, PinfoldError
from app.events import Identity, Kind, MembershipEvent
from app.flush import flush_once
from app.gate import close_gate
from app.keyring import batch_purpose
from app.lease import Claim, write_under
from app.resuming import retry
from app.tables import audience
from tests.integration.processes import eventually
from tests.workshop import (
    ADD,
    REMOVE,
    Workshop,
    address,
    device,
    device_event,
    email_event,
    emails,
    sha1_hex,
)


def digests_in_lane(workshop: Workshop, audience_id: int, list_type: str = "EMAIL") -> list[str]:
    """The digests that wait in a lane, in order, with + or - before each."""
    list_id = workshop.list_id(audience_id, list_type)
    rows = workshop.rows(
        "SELECT operation, payload FROM batch WHERE customer_list_id = :l AND state = 'waiting'"
        " ORDER BY upload_id, operation DESC, id",
        l=list_id,
    )
    ring = workshop.deployment.keyring
    return [
        ("+" if row.operation == "ADD" else "-") + digest.hex()
        for row in rows
        for digest in unpack_digests(ring.open(bytes(row.payload), batch_purpose(list_id)))
    ]


def chunks(workshop: Workshop) -> list[int]:
    return [row.id for row in workshop.rows("SELECT id FROM staged_chunk ORDER BY id")]


def test_what_is_staged_becomes_batches_and_the_chunks_are_gone(workshop: Workshop) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(1), email_event(2, REMOVE), device_event(1))
    cut = workshop.flush(audience_id)
    assert cut is not None
    assert (cut.reason, cut.messages, cut.batches, cut.more) == ("asked", 3, 3, False)
    assert digests_in_lane(workshop, audience_id) == [
        "-" + sha1_hex(address(2)),
        "+" + sha1_hex(address(1)),
    ]
    assert digests_in_lane(workshop, audience_id, "MAID") == ["+" + sha1_hex(device(1))]
    assert chunks(workshop) == []
    workshop.assert_books_balance()


def test_two_spellings_in_different_chunks_are_one_identity_and_the_latest_wins(
    workshop: Workshop,
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event("Ana@Example.org", ADD, at=300))
    workshop.stage(email_event("ana@example.org", REMOVE, at=200))
    workshop.stage(email_event(sha1_hex("ana@example.org"), REMOVE, at=100))
    workshop.flush(audience_id)
    assert digests_in_lane(workshop, audience_id) == ["+" + sha1_hex("ana@example.org")]
    assert workshop.book(audience_id).folded == 2
    workshop.assert_books_balance()


def test_an_id_that_came_as_idfa_and_as_gaid_is_one_identity(workshop: Workshop) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(device_event(1), device_event(1, REMOVE, kind=Kind.GAID))
    workshop.flush(audience_id)
    assert digests_in_lane(workshop, audience_id, "MAID") == ["-" + sha1_hex(device(1))]


def test_nothing_is_flushed_before_it_is_due(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with(flush_messages=3)
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(*emails(range(2)))
    assert flush_once(workshop.deployment, audience_id) is None
    workshop.stage(email_event(2))
    cut = flush_once(workshop.deployment, audience_id)
    assert cut is not None
    assert cut.reason == "count"


def test_of_concurrent_flushes_exactly_one_cuts(workshop: Workshop) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(*emails(range(50)))
    request_flush(workshop.deployment, audience_id)
    with ThreadPoolExecutor(4) as pool:
        cuts = list(pool.map(lambda _: flush_once(workshop.deployment, audience_id), range(4)))
    assert sum(cut is not None for cut in cuts) == 1
    assert workshop.value("SELECT count(*) FROM upload") == 1
    assert len(digests_in_lane(workshop, audience_id)) == 50


def test_a_late_worker_that_lost_its_lease_changes_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(*emails(range(5)))
    slow = flush.read_and_fold  # the late worker freezes here
    others = []

    def freeze(*given):  # type: ignore[no-untyped-def]
        folded = slow(*given)
        monkeypatch.setattr(flush, "read_and_fold", slow)
        workshop.end_leases()
        others.append(flush_once(workshop.deployment, audience_id))
        return folded

    monkeypatch.setattr(flush, "read_and_fold", freeze)
    assert workshop.flush(audience_id) is None
    assert others[0] is not None
    assert workshop.value("SELECT count(*) FROM upload") == 1
    assert len(digests_in_lane(workshop, audience_id)) == 5
    workshop.assert_books_balance()


def test_a_worker_whose_audience_was_taken_over_but_not_yet_cut_changes_nothing(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(*emails(range(5)))
    slow = flush.read_and_fold

    def taken_over(*given):  # type: ignore[no-untyped-def]
        workshop.execute("UPDATE audience SET epoch = epoch + 1")
        return slow(*given)

    monkeypatch.setattr(flush, "read_and_fold", taken_over)
    assert workshop.flush(audience_id) is None
    assert workshop.value("SELECT count(*) FROM upload") == 0
    assert len(chunks(workshop)) == 1


def test_a_chunk_that_arrives_with_a_smaller_id_during_the_cut_stays(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the ids that were read are deleted, never all up to the highest."""
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(1))
    workshop.stage(email_event(2))
    smallest, _ = chunks(workshop)
    workshop.execute("CREATE TABLE late AS SELECT * FROM staged_chunk WHERE id = :i", i=smallest)
    workshop.execute("DELETE FROM staged_chunk WHERE id = :i", i=smallest)
    slow = flush.read_and_fold

    def late_arrival(*given):  # type: ignore[no-untyped-def]
        workshop.execute(
            "INSERT INTO staged_chunk OVERRIDING SYSTEM VALUE SELECT * FROM late ORDER BY id"
        )
        return slow(*given)

    monkeypatch.setattr(flush, "read_and_fold", late_arrival)
    cut = workshop.flush(audience_id)
    assert cut is not None
    assert cut.messages == 1
    assert chunks(workshop) == [smallest]
    workshop.assert_books_balance()


def test_a_cut_never_passes_over_a_chunk_that_somebody_has_locked(workshop: Workshop) -> None:
    """Left for a later upload, the older operation would be the last."""
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(1, ADD))
    workshop.stage(email_event(1, REMOVE))
    oldest, _ = chunks(workshop)
    with ThreadPoolExecutor(1) as pool:
        with workshop.transaction() as other:
            locked = sa.text("SELECT id FROM staged_chunk WHERE id = :id FOR UPDATE")
            other.execute(locked, {"id": oldest})
            cutting = pool.submit(workshop.flush, audience_id)
            assert eventually(lambda: cutting.done() or workshop.is_blocked())
        cut = cutting.result()
    assert cut is not None
    assert cut.messages == 2
    assert digests_in_lane(workshop, audience_id) == ["-" + sha1_hex(address(1))]


def test_when_a_chunk_of_the_cut_is_gone_nothing_is_written(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(1))
    workshop.stage(email_event(2))
    slow = flush.read_and_fold

    def stolen(*given):  # type: ignore[no-untyped-def]
        folded = slow(*given)
        workshop.execute("DELETE FROM staged_chunk WHERE id = (SELECT min(id) FROM staged_chunk)")
        return folded

    monkeypatch.setattr(flush, "read_and_fold", stolen)
    assert workshop.flush(audience_id) is None
    assert workshop.value("SELECT count(*) FROM upload") == 0
    assert workshop.value("SELECT count(*) FROM batch") == 0
    assert len(chunks(workshop)) == 1


def test_a_failure_in_the_last_transaction_leaves_everything_as_it_was(workshop: Workshop) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(*emails(range(5)))
    workshop.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE 'the disk is gone'; END $$;"
        "CREATE TRIGGER failing BEFORE DELETE ON staged_chunk"
        " FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    with pytest.raises(sa.exc.DBAPIError):
        workshop.flush(audience_id)
    assert workshop.value("SELECT count(*) FROM upload") == 0
    assert len(chunks(workshop)) == 1
    row = workshop.rows("SELECT * FROM audience")[0]
    assert row.lease_until is None
    assert row.not_before is not None
    assert row.flush_requested_at is not None
    assert row.last_upload_at is None


def test_what_a_bounded_window_leaves_behind_follows_at_once(
    open_with: Callable[..., Workshop],
) -> None:
    workshop = open_with(window_messages=4)
    audience_id = workshop.ready()
    for first in range(0, 10, 2):
        workshop.stage(*emails(range(first, first + 2)))
    ids = chunks(workshop)
    cut = workshop.flush(audience_id)
    assert cut is not None
    assert (cut.messages, cut.more) == (4, True)
    assert workshop.value("SELECT drain_to FROM audience") == ids[-1]
    workshop.stage(email_event(99))  # later than the drain: waits for its own time
    reasons = []
    for _ in range(5):
        workshop.deliver_all()
        cut = flush_once(workshop.deployment, audience_id)
        reasons.append(cut and (cut.reason, cut.messages))
    assert reasons[0] == ("drain", 4)
    assert [reason for reason in reasons if reason] == [("drain", 4), ("drain", 3)]
    workshop.assert_books_balance()
    assert len(workshop.members()) == 11


def test_a_bounded_window_takes_the_oldest_chunks(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with(window_messages=1)
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(1, ADD))
    workshop.stage(email_event(1, REMOVE))
    workshop.flush(audience_id)
    assert digests_in_lane(workshop, audience_id) == ["+" + sha1_hex(address(1))]


def test_a_window_is_bounded_by_identities_too(open_with: Callable[..., Workshop]) -> None:
    workshop = open_with(window_identities=5)
    workshop.connect()
    audience_id = workshop.activate()
    for first in range(3):
        people = tuple(Identity(Kind.EMAIL, address(first * 3 + n)) for n in range(3))
        workshop.stage(MembershipEvent("31001", ADD, people))
    cut = workshop.flush(audience_id)
    assert cut is not None
    assert cut.messages == 1


@pytest.mark.parametrize(
    ("switch", "list_type"), [("forward_email", "EMAIL"), ("forward_device_id", "MAID")]
)
def test_a_kind_that_is_switched_off_is_booked_and_not_cut(
    workshop: Workshop, switch: str, list_type: str
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(1), email_event(2), device_event(1), device_event(2))
    change_settings(workshop.deployment, "main", **{switch: False})
    cut = workshop.flush(audience_id)
    assert cut is not None
    assert digests_in_lane(workshop, audience_id, list_type) == []
    assert workshop.book(audience_id, list_type).not_forwarded == 2
    other = "MAID" if list_type == "EMAIL" else "EMAIL"
    assert len(digests_in_lane(workshop, audience_id, other)) == 2
    workshop.assert_books_balance()


def test_an_audience_activated_while_a_kind_is_switched_on_gets_its_list_with_the_flush(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.connect(forward_device_id=False)
    workshop.activate("31000", "Early")
    ensure_lists = connections.ensure_lists
    late: list[int] = []

    def meanwhile(tx: sa.Connection, audience_id: int) -> list[int]:
        late.append(workshop.activate())  # sees the old switch, and is not seen itself
        return ensure_lists(tx, audience_id)

    monkeypatch.setattr(connections, "ensure_lists", meanwhile)
    change_settings(workshop.deployment, "main", forward_device_id=True)
    (audience_id,) = late
    workshop.upload(audience_id, email_event(1), device_event(1))
    assert workshop.members("VIP-MAID") == {sha1_hex(device(1))}
    assert workshop.members() == {sha1_hex(address(1))}
    workshop.assert_books_balance()


@pytest.mark.parametrize("forwarded", [True, False])
def test_digests_that_are_not_sha1_go_only_while_the_switch_is_on(
    workshop: Workshop, forwarded: bool
) -> None:
    workshop.connect(forward_other_digests=forwarded)
    audience_id = workshop.activate()
    other, known = md5(b"x").hexdigest(), sha1_hex("x@example.org")
    workshop.stage(email_event(other.upper()), email_event(known), email_event(1))
    workshop.flush(audience_id)
    expected = {"+" + known, "+" + sha1_hex(address(1))} | ({"+" + other} if forwarded else set())
    assert set(digests_in_lane(workshop, audience_id)) == expected
    assert workshop.book(audience_id).not_forwarded == (0 if forwarded else 1)
    workshop.assert_books_balance()


def test_a_deactivated_audience_is_booked_without_being_read(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.stage(email_event(1), device_event(1))
    workshop.execute("UPDATE staged_chunk SET body = 'unreadable'")
    deactivate(workshop.deployment, audience_id)
    cut = flush_once(workshop.deployment, audience_id)
    assert cut is not None
    assert (cut.reason, cut.batches) == ("deactivated", 0)
    assert workshop.book(audience_id).not_forwarded == 1
    assert workshop.book(audience_id, "MAID").not_forwarded == 1
    workshop.assert_books_balance()


def test_a_deactivation_during_the_cut_wins(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(1))
    slow = flush.read_and_fold

    def meanwhile(*given):  # type: ignore[no-untyped-def]
        folded = slow(*given)
        deactivate(workshop.deployment, audience_id)
        return folded

    monkeypatch.setattr(flush, "read_and_fold", meanwhile)
    assert workshop.flush(audience_id) is None
    assert workshop.value("SELECT count(*) FROM batch") == 0
    workshop.end_leases()
    monkeypatch.setattr(flush, "read_and_fold", slow)
    cut = flush_once(workshop.deployment, audience_id)
    assert cut is not None
    assert cut.reason == "deactivated"


def test_a_request_that_comes_during_a_cut_is_not_forgotten(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(1))
    slow = flush.read_and_fold

    def meanwhile(*given):  # type: ignore[no-untyped-def]
        request_flush(workshop.deployment, audience_id)
        return slow(*given)

    monkeypatch.setattr(flush, "read_and_fold", meanwhile)
    assert workshop.flush(audience_id) is not None
    assert workshop.value("SELECT flush_requested_at FROM audience") is not None


def test_a_gate_that_intake_holds_delays_the_cut_and_counts_as_no_failure(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gate.CLOSE_TIMEOUT_MS", 50)
    workshop.connect()
    audience_id = workshop.activate()
    workshop.stage(email_event(1))
    with workshop.transaction() as intake:
        close_gate(intake, audience_id)
        assert workshop.flush(audience_id) is None
    assert workshop.value("SELECT flush_failures FROM audience") == 0
    assert flush_once(workshop.deployment, audience_id) is not None


def spoil(workshop: Workshop, chunk_ids: list[int]) -> None:
    """Change the sealed bodies of chunks; their key is still the right one."""
    workshop.execute(
        "UPDATE staged_chunk SET body = set_byte(body, 30, 255 - get_byte(body, 30))"
        " WHERE id = ANY(:ids)",
        ids=chunk_ids,
    )


def flush_through(workshop: Workshop, audience_id: int, rounds: int = 100) -> None:
    """Flush and deliver again and again, as the due check would, failures and all."""
    for _ in range(rounds):
        if not chunks(workshop):
            return
        workshop.end_pauses()
        request_flush(workshop.deployment, audience_id)
        try:
            flush_once(workshop.deployment, audience_id)
        except PinfoldError:
            continue
        workshop.deliver_all()


def test_a_poison_chunk_is_set_aside_after_five_failures_and_the_rest_goes_on(
    workshop: Workshop,
) -> None:
    audience_id = workshop.ready()
    for number in range(3):
        workshop.stage(email_event(number))
    poison = chunks(workshop)[1]
    spoil(workshop, [poison])
    flush_through(workshop, audience_id)
    (held,) = workshop.rows("SELECT id, held_reason FROM held_chunk")
    assert (held.id, held.held_reason) == (poison, "UnreadableBody")
    assert workshop.members() == {sha1_hex(address(0)), sha1_hex(address(2))}
    workshop.assert_books_balance()
    assert workshop.book(audience_id).waiting == 1


@pytest.mark.parametrize("count", [4, 8])
def test_a_row_of_poison_chunks_takes_no_good_one_with_it(workshop: Workshop, count: int) -> None:
    audience_id = workshop.ready()
    for number in range(count + 3):
        workshop.stage(email_event(number))
    poison = chunks(workshop)[:count]
    spoil(workshop, poison)
    flush_through(workshop, audience_id)
    held = [row.id for row in workshop.rows("SELECT id FROM held_chunk ORDER BY id")]
    assert held == poison
    assert len(workshop.members()) == 3


def test_retry_brings_a_chunk_that_was_set_aside_back(workshop: Workshop) -> None:
    audience_id = workshop.ready()
    workshop.stage(email_event(1))
    spoil(workshop, chunks(workshop))
    flush_through(workshop, audience_id)
    assert workshop.value("SELECT count(*) FROM held_chunk") == 1
    assert retry(workshop.deployment)["chunks"] == 1
    assert workshop.value("SELECT count(*) FROM held_chunk") == 0
    spoil(workshop, chunks(workshop))  # well again
    flush_through(workshop, audience_id)
    assert workshop.members() == {sha1_hex(address(1))}
    workshop.assert_books_balance()


def test_a_write_under_an_older_epoch_is_void(workshop: Workshop) -> None:
    workshop.connect()
    audience_id = workshop.activate()
    with workshop.transaction() as tx:
        row = tx.execute(sa.select(audience).where(audience.c.id == audience_id)).one()
    stale = Claim(audience_id, row.epoch - 1)
    with pytest.raises(LeaseLost), workshop.transaction() as tx:
        write_under(tx, audience, stale, drain_to=1)
    assert workshop.value("SELECT drain_to FROM audience") is None
