"""Key rotation: all moves to the newest key while everything runs; no key is dropped too soon."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from app import flush as flushing
from app import keys, resealing, rotation
from app.bodies import unpack_digests
from app.errors import ConfigError, NotFound, Refused
from app.keyring import KeyRing, batch_purpose, new_key
from app.keys import drop_key, known_keys
from app.logins import Tokens, read_login, store_login
from app.processes import Presence, running
from app.resuming import retry
from app.rotation import rotate
from app.sealed import KINDS, PLACES, in_words, needed_keys
from app.sources import add_signing_key, add_source
from app.staging import Intake, stage
from app.tables import metadata
from tests.integration.processes import eventually
from tests.workshop import KEY, Workshop, digests, email_event, emails

NEW = new_key()
OLD_ID, NEW_ID = (KeyRing.parse(key).key_ids[0] for key in (KEY, NEW))
OLD_FIRST, NEW_FIRST = f"{KEY},{NEW}", f"{NEW},{KEY}"
Opening = Callable[..., Workshop]


def fill(workshop: Workshop) -> int:
    """Have something of every kind rest under the workshop's newest key; returns the audience."""
    audience_id = workshop.ready(records_per_request=5)
    connection_id = workshop.value("SELECT id FROM connection")
    with workshop.transaction() as tx:
        tokens = Tokens("pina_test", refresh="pinr_test")
        store_login(
            tx, workshop.deployment.keyring, connection_id, tokens, previous_refresh="pinr_before"
        )
    add_signing_key(workshop.deployment, add_source(workshop.deployment, "seg", "segment", None))
    workshop.stage(email_event(0))
    flushing_id = workshop.value("SELECT id FROM staged_chunk")
    with workshop.transaction() as tx:
        flushing._set_aside(tx, audience_id, flushing_id, "a test")
    workshop.stage(*emails(range(1, 20)))
    assert workshop.flush(audience_id) is not None
    workshop.execute(
        "UPDATE batch SET state = 'quarantined', settled_at = now()"
        " WHERE id = (SELECT max(id) FROM batch)"
    )
    for number in range(20, 40):
        workshop.stage(email_event(number))
    return audience_id


def restarted(open_with: Opening, keys: str = NEW_FIRST) -> Workshop:
    """All processes have ended; one with other keys starts."""
    workshop = open_with(keys=keys)
    workshop.execute("DELETE FROM process")
    return workshop


FILLED = Counter(
    {"tokens": 3, "staged chunks": 20, "chunks set aside": 1, "signing keys": 1, "batches": 4}
)


def needed(workshop: Workshop, key_id: str) -> Counter[str]:
    with workshop.transaction() as tx:
        return needed_keys(tx).get(key_id, Counter())


@contextmanager
def noted(workshop: Workshop, kind: str) -> Iterator[str]:
    with Presence(workshop.deployment, kind) as presence:
        presence.renew()
        yield presence.name


def test_every_sealed_column_of_the_tables_has_its_place() -> None:
    unsealed = {"check_value", "message_ids", "digest", "content", "answer"}
    found = {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, sa.LargeBinary) and column.name not in unsealed
    }
    assert found == {(place.table.name, place.column) for place in PLACES}
    assert resealing.PURPOSES.keys() == {place.table.name for place in PLACES}


def test_all_kinds_move_to_the_newest_key_and_open_with_it_alone(open_with: Opening) -> None:
    audience_id = fill(open_with())
    rotating = restarted(open_with)
    assert needed(rotating, OLD_ID) == FILLED
    heard: Counter[str] = Counter()
    done = rotate(rotating.deployment, lambda kind, count: heard.update({kind: count}))
    assert done.resealed == heard == FILLED
    assert not done.left
    assert needed(rotating, OLD_ID) == Counter()
    assert needed(rotating, NEW_ID) == FILLED
    drop_key(rotating.deployment, OLD_ID)

    alone = open_with(keys=NEW)
    with alone.transaction() as tx:
        connection_id = alone.value("SELECT id FROM connection")
        login = read_login(tx, alone.deployment.keyring, connection_id)
    tokens = (login.access, login.refresh, login.previous_refresh)
    assert tokens == ("pina_test", "pinr_test", "pinr_before")
    retry(alone.deployment)
    alone.deliver_all()
    assert alone.flush(audience_id) is not None
    alone.deliver_all()
    assert alone.members() == digests(range(40)) - quarantined(alone)
    alone.assert_books_balance()


def quarantined(workshop: Workshop) -> set[str]:
    """The digests of the quarantined batch, which only its key can tell."""
    ((list_id, payload),) = workshop.rows(
        "SELECT customer_list_id, payload FROM batch WHERE state = 'quarantined'"
    )
    ring = workshop.deployment.keyring
    return {
        digest.hex() for digest in unpack_digests(ring.open(bytes(payload), batch_purpose(list_id)))
    }


RENEWALS = 60


def stage_each(workshop: Workshop, numbers: range) -> None:
    for number in numbers:
        workshop.stage(email_event(number))


def renew_again_and_again(workshop: Workshop, connection_id: int) -> None:
    for number in range(RENEWALS):
        with workshop.transaction() as tx:
            tokens = Tokens("pina_test", refresh=f"pinr_{number}")
            store_login(tx, workshop.deployment.keyring, connection_id, tokens)


def rotate_again_and_again(workshop: Workshop, ended: threading.Event) -> None:
    while not ended.is_set():
        rotate(workshop.deployment)


def test_nothing_is_lost_while_staging_flushing_delivering_and_renewing_go_on(
    open_with: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many small slices, so that rotation meets the others at every point."""
    monkeypatch.setattr(resealing, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(rotation, "PAUSE_S", 0.01)
    before = open_with()
    audience_id = before.ready(records_per_request=20)
    connection_id = before.value("SELECT id FROM connection")
    stage_each(before, range(200))
    assert before.flush(audience_id) is not None
    stage_each(before, range(200, 400))
    now, not_yet_restarted = restarted(open_with), open_with(keys=OLD_FIRST)
    ended = threading.Event()
    with ThreadPoolExecutor(5) as pool:
        rotations = [pool.submit(rotate_again_and_again, now, ended) for _ in range(2)]
        work = [
            pool.submit(stage_each, not_yet_restarted, range(400, 450)),
            pool.submit(stage_each, now, range(450, 700)),
            pool.submit(renew_again_and_again, now, connection_id),
        ]
        while not all(one.done() for one in work):
            now.flush(audience_id)
            now.deliver_all()
        ended.set()
        for one in work + rotations:
            one.result(timeout=60)

    now.execute("DELETE FROM process")
    assert not rotate(now.deployment).left
    drop_key(now.deployment, OLD_ID)
    alone = open_with(keys=NEW)
    with alone.transaction() as tx:
        login = read_login(tx, alone.deployment.keyring, connection_id)
    assert login.refresh == f"pinr_{RENEWALS - 1}"
    alone.deliver_all()
    while alone.value("SELECT count(*) FROM staged_chunk"):
        alone.flush(audience_id)
        alone.deliver_all()
    assert alone.members() == digests(range(700))
    assert alone.value("SELECT count(*) FROM upload") > 2
    alone.assert_books_balance()
    alone.assert_charges_cover_what_was_sent()


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], Any]], None]:
    """Does something once, after a body of a table was read and before its new one is put there."""

    def arrange(table: str, deed: Callable[[], Any]) -> None:
        put_in_place = resealing._put_in_place
        deeds = [deed]

        def late(tx: sa.Connection, place: Any, fresh: Any) -> int:
            if place.table.name == table and deeds:
                deeds.pop()()
            return put_in_place(tx, place, fresh)

        monkeypatch.setattr(resealing, "_put_in_place", late)

    return arrange


def test_a_cut_wins_over_the_rotation_of_its_chunks(
    open_with: Opening, meanwhile: Callable[..., None]
) -> None:
    workshop = open_with()
    audience_id = workshop.ready()
    workshop.stage(*emails(range(3)))
    rotating = restarted(open_with)
    meanwhile("staged_chunk", lambda: rotating.flush(audience_id))
    assert rotate(rotating.deployment).resealed["staged chunks"] == 0
    assert rotating.value("SELECT count(*) FROM staged_chunk") == 0
    rotating.deliver_all()
    assert rotating.members() == digests(range(3))
    rotating.assert_books_balance()


def test_a_cut_deletes_chunks_that_were_sealed_anew_since_it_read_them(
    open_with: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = open_with()
    audience_id = workshop.ready()
    for number in range(3):
        workshop.stage(email_event(number))
    rotating = restarted(open_with)
    read_and_fold = flushing.read_and_fold

    def with_a_rotation_after(*arguments: Any) -> Any:
        folded = read_and_fold(*arguments)
        assert rotate(rotating.deployment).resealed["staged chunks"] == 3
        return folded

    monkeypatch.setattr(flushing, "read_and_fold", with_a_rotation_after)
    cut = rotating.flush(audience_id)
    assert cut is not None
    assert cut.messages == 3
    assert rotating.value("SELECT count(*) FROM staged_chunk") == 0
    rotating.deliver_all()
    assert rotating.members() == digests(range(3))
    rotating.assert_books_balance()


def test_a_settled_batch_gets_no_payload_back(
    open_with: Opening, meanwhile: Callable[..., None]
) -> None:
    workshop = open_with()
    audience_id = workshop.ready()
    workshop.stage(*emails(range(3)))
    workshop.flush(audience_id)
    rotating = restarted(open_with)
    meanwhile("batch", rotating.deliver_all)
    assert rotate(rotating.deployment).resealed["batches"] == 0
    assert rotating.batches(audience_id) == [("ADD", 3, "sent")]
    assert rotating.value("SELECT count(*) FROM batch WHERE payload IS NOT NULL") == 0


def test_a_token_that_was_renewed_meanwhile_stays(
    open_with: Opening, meanwhile: Callable[..., None]
) -> None:
    workshop = open_with()
    connection_id = workshop.connect()
    rotating = restarted(open_with)

    def renew() -> None:  # by a process that still seals with the old key
        with workshop.transaction() as tx:
            store_login(tx, workshop.deployment.keyring, connection_id, Tokens("pina_renewed"))

    _ = rotating.deployment.keyring
    meanwhile("login", renew)
    done = rotate(rotating.deployment)
    assert done.resealed["tokens"] == 1  # the second pass found the renewed one
    with rotating.transaction() as tx:
        login = read_login(tx, open_with(keys=NEW_FIRST).deployment.keyring, connection_id)
    assert (login.access, login.version) == ("pina_renewed", 2)
    assert needed(rotating, OLD_ID) == Counter()


def test_a_chunk_that_moves_from_place_to_place_is_found(
    open_with: Opening, meanwhile: Callable[..., None]
) -> None:
    """It goes back to the queue just when the queue was done and its own turn came."""
    workshop = open_with()
    audience_id = fill(workshop)
    rotating = restarted(open_with)
    meanwhile("held_chunk", lambda: retry(rotating.deployment, audience_id))
    done = rotate(rotating.deployment)
    assert done.resealed["staged chunks"] == 21
    assert needed(rotating, OLD_ID) == Counter()


def test_rows_that_somebody_has_locked_are_passed_over_and_visited_again(
    open_with: Opening,
) -> None:
    workshop = open_with()
    workshop.ready()
    for number in range(10):
        workshop.stage(email_event(number))
    rotating = restarted(open_with)
    others_done = threading.Event()

    def listen(kind: str, count: int) -> None:
        if (kind, count) == ("staged chunks", 0):  # a whole pass that met the locked row alone
            others_done.set()

    with ThreadPoolExecutor(1) as pool:
        with workshop.transaction() as tx:
            first = "SELECT id FROM staged_chunk ORDER BY id LIMIT 1 FOR UPDATE"
            tx.execute(sa.text(first))
            rotated = pool.submit(rotate, rotating.deployment, listen)
            assert others_done.wait(30)
            assert needed(rotating, OLD_ID) == Counter({"staged chunks": 1})
            assert not rotated.done()
        assert rotated.result(timeout=30).resealed["staged chunks"] == 10
    assert needed(rotating, OLD_ID) == Counter()


def test_it_can_be_stopped_half_way_and_goes_on_when_run_again(
    open_with: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "ROWS_AT_ONCE", 6)
    fill(open_with())
    rotating = restarted(open_with)

    def stop(kind: str, _count: int) -> None:
        if kind == "staged chunks":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(rotating.deployment, stop)
    rest = FILLED - Counter({"tokens": 3, "staged chunks": 6})
    assert needed(rotating, OLD_ID) == rest
    assert rotating.value("SELECT count(*) FROM process WHERE kind = 'rotation'") == 0
    assert rotate(rotating.deployment).resealed == rest
    again = rotate(rotating.deployment)
    assert (again.resealed.total(), again.left.total()) == (0, 0)


def test_two_rotations_at_once_share_the_work(
    open_with: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "ROWS_AT_ONCE", 3)
    audience_id = fill(open_with())
    both = [restarted(open_with), restarted(open_with)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda one: rotate(one.deployment), both))
    assert done[0].resealed + done[1].resealed == FILLED
    assert needed(both[0], OLD_ID) == Counter()
    assert both[0].flush(audience_id) is None  # the lane is not empty
    both[0].deliver_all()
    assert both[0].flush(audience_id) is not None


def test_a_second_rotation_towards_another_key_is_refused(open_with: Opening) -> None:
    fill(open_with())
    other = restarted(open_with, OLD_FIRST)
    Presence(other.deployment, rotation.KIND, "elsewhere:7").renew()
    with pytest.raises(Refused, match=f"another rotation .* {OLD_ID}"):
        rotate(open_with(keys=NEW_FIRST).deployment)


def test_large_bodies_are_replaced_a_few_at_a_time(
    open_with: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "BYTES_AT_ONCE", 200)
    workshop = open_with()
    audience_id = workshop.ready()
    for number in range(6):
        workshop.stage(*emails(range(number * 10, number * 10 + 10)))
    rotating = restarted(open_with)
    slices: list[int] = []
    rotate(rotating.deployment, lambda kind, count: slices.append(count))
    assert set(slices) == {1}
    assert rotating.flush(audience_id) is not None


def test_a_damaged_row_ends_no_rotation_and_is_named(open_with: Opening) -> None:
    fill(open_with())
    rotating = restarted(open_with)
    damaged = rotating.value("SELECT min(id) FROM staged_chunk")
    rotating.execute(
        "UPDATE staged_chunk SET body = set_byte(body, 30, get_byte(body, 30) # 1) WHERE id = :d",
        d=damaged,
    )
    done = rotate(rotating.deployment)
    assert done.left == Counter({"staged chunks": 1})
    assert [line.split(":")[0] for line in done.unopened] == [f"staged_chunk {damaged}"]
    with pytest.raises(Refused, match="1 staged chunks"):
        drop_key(rotating.deployment, OLD_ID)


# Running processes.


def test_rotation_is_refused_while_a_process_cannot_open_the_newest_key(
    open_with: Opening,
) -> None:
    workshop = open_with()
    fill(workshop)
    rotating = open_with(keys=NEW_FIRST)
    workshop.execute("UPDATE process SET name = 'crm elsewhere:7'")
    with pytest.raises(Refused, match=f"{NEW_ID}.*crm elsewhere:7"):
        rotate(rotating.deployment)
    assert needed(rotating, NEW_ID) == Counter()
    assert rotating.value("SELECT count(*) FROM process WHERE kind = 'rotation'") == 0


def test_rotation_says_who_still_seals_with_an_older_key_and_does_the_rest(
    open_with: Opening,
) -> None:
    fill(open_with(keys=OLD_FIRST))
    rotating = open_with(keys=NEW_FIRST)
    (other,) = rotating.rows("SELECT name FROM process")
    done = rotate(rotating.deployment)
    assert done.sealing_older == [other.name]
    assert needed(rotating, OLD_ID) == Counter()


def test_whoever_stages_is_among_the_running_processes(open_with: Opening) -> None:
    workshop = open_with(keys=NEW_FIRST)
    workshop.ready()
    intake = Intake(workshop.deployment, "crm")
    flushing_started = workshop.rows("SELECT name FROM process")
    assert flushing_started == []
    stage(intake, [email_event(1)])
    with workshop.transaction() as tx:
        (one,) = running(tx)
    assert (one.kind, one.key_ids) == ("crm", [NEW_ID, OLD_ID])
    intake.presence.leave()
    with workshop.transaction() as tx:
        assert running(tx) == []


def test_a_presence_is_renewed_once_a_minute_and_forgotten_after_a_few(
    open_with: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = open_with()
    presence = Presence(workshop.deployment, "worker", "here:1")
    presence.renew()
    workshop.execute("UPDATE process SET seen_at = seen_at - interval '4 minutes'")
    presence.renew()  # too soon: writes nothing
    with workshop.transaction() as tx:
        assert [one.name for one in running(tx)] == ["worker here:1"]
    presence._next_at = 0.0  # a minute later
    presence.renew()
    assert workshop.value("SELECT count(*) FROM process WHERE seen_at > now() - interval '9 s'")
    workshop.execute("UPDATE process SET seen_at = seen_at - interval '6 minutes'")
    with workshop.transaction() as tx:
        assert running(tx) == []
    assert workshop.value("SELECT count(*) FROM process") == 0


def test_a_process_seen_before_the_clock_was_set_back_counts_as_seen_now(
    open_with: Opening,
) -> None:
    """It may run, and renew its row within the minute; killed, it is gone in a few."""
    workshop = open_with()
    Presence(workshop.deployment, "worker", "here:1").renew()
    workshop.execute("UPDATE process SET seen_at = seen_at + interval '2 hours'")
    with workshop.transaction() as tx:
        (one,) = running(tx)
    assert timedelta(0) <= one.seen_ago < timedelta(minutes=1)
    workshop.execute("UPDATE process SET seen_at = seen_at - interval '6 minutes'")
    with workshop.transaction() as tx:
        assert running(tx) == []


# Dropping.


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.table.name}.{place.column}")
def test_a_key_is_not_dropped_while_a_row_needs_it(open_with: Opening, place: Any) -> None:
    workshop = open_with()
    fill(workshop)
    table, column = place.table.name, place.column
    (kept,) = workshop.rows(
        f"SELECT id, {column} AS body FROM {table} WHERE {column} IS NOT NULL LIMIT 1"
    )
    rotating = restarted(open_with)
    rotate(rotating.deployment)
    rotating.execute(
        f"UPDATE {table} SET {column} = :body WHERE id = :id", body=bytes(kept.body), id=kept.id
    )
    with pytest.raises(Refused, match=f"{OLD_ID} is still needed: 1 {place.kind} are sealed"):
        drop_key(rotating.deployment, OLD_ID)
    rotate(rotating.deployment)
    drop_key(rotating.deployment, OLD_ID)


def test_a_key_is_not_dropped_while_a_running_process_seals_with_it(open_with: Opening) -> None:
    older, rotating = open_with(keys=OLD_FIRST), open_with(keys=NEW_FIRST)
    with noted(older, "worker") as name, pytest.raises(Refused, match=f"{name} seals with it"):
        drop_key(rotating.deployment, OLD_ID)
    drop_key(rotating.deployment, OLD_ID)


def test_a_key_is_not_dropped_while_a_running_process_lacks_the_newer_one(
    open_with: Opening,
) -> None:
    third = new_key()
    third_id = KeyRing.parse(third).key_ids[0]
    with noted(open_with(keys=NEW_FIRST), "intake") as name:
        newest = open_with(keys=f"{third},{NEW},{KEY}")
        _ = newest.deployment.keyring
        with pytest.raises(Refused, match=f"{name} does not hold key {third_id}"):
            drop_key(newest.deployment, OLD_ID)
    drop_key(newest.deployment, OLD_ID)


def test_a_process_that_only_opens_with_an_old_key_keeps_nobody_from_dropping_it(
    open_with: Opening,
) -> None:
    rotating = open_with(keys=NEW_FIRST)
    with noted(rotating, "worker"):
        drop_key(rotating.deployment, OLD_ID)


def test_neither_the_newest_nor_an_unknown_nor_a_dropped_key_is_dropped(
    open_with: Opening,
) -> None:
    rotating = open_with(keys=NEW_FIRST).deployment
    _ = rotating.keyring
    with pytest.raises(Refused, match="newest"):
        drop_key(rotating, NEW_ID)
    with pytest.raises(NotFound, match="knows no key"):
        drop_key(rotating, "00000000")
    drop_key(rotating, OLD_ID)
    with pytest.raises(Refused, match="dropped already"):
        drop_key(rotating, OLD_ID)


def test_a_process_learns_that_its_key_was_dropped_before_it_seals_with_it(
    open_with: Opening,
) -> None:
    """It was frozen so long that it counted as gone."""
    frozen, rotating = open_with(keys=OLD_FIRST), open_with(keys=NEW_FIRST)
    frozen.ready()
    intake = Intake(frozen.deployment, "crm")
    intake.presence.renew()
    frozen.execute("UPDATE process SET seen_at = seen_at - interval '1 hour'")
    rotate(rotating.deployment)
    drop_key(rotating.deployment, OLD_ID)
    intake.presence._next_at = 0.0  # a minute later
    with pytest.raises(ConfigError, match=f"key {OLD_ID} was dropped"):
        stage(intake, [email_event(1)])
    assert needed(rotating, OLD_ID) == Counter()


def test_a_drop_waits_for_a_process_that_is_just_being_noted(open_with: Opening) -> None:
    older, rotating = open_with(keys=OLD_FIRST), open_with(keys=NEW_FIRST)
    _ = older.deployment.keyring, rotating.deployment.keyring
    presence = Presence(older.deployment, "worker", "w:1")
    with ThreadPoolExecutor(1) as pool:
        with older.transaction() as tx:
            presence._note(tx, [OLD_ID, NEW_ID])
            drop = pool.submit(drop_key, rotating.deployment, OLD_ID)
            assert eventually(
                lambda: (
                    drop.done()
                    or rotating.value("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0
                )
            )
            assert not drop.done()
        with pytest.raises(Refused, match="worker w:1 seals with it"):
            drop.result(timeout=30)


def test_a_process_is_noted_only_after_a_drop_under_way_and_learns_of_it(
    open_with: Opening,
) -> None:
    older, rotating = open_with(keys=OLD_FIRST), open_with(keys=NEW_FIRST)
    _ = older.deployment.keyring, rotating.deployment.keyring
    with ThreadPoolExecutor(1) as pool:
        with rotating.transaction() as tx:
            keys._lock_unneeded(rotating.deployment, tx, OLD_ID)
            drop = "UPDATE encryption_key SET dropped_at = now() WHERE key_id = :k"
            tx.execute(sa.text(drop), {"k": OLD_ID})
            started = pool.submit(Presence(older.deployment, "worker").renew)
            assert eventually(
                lambda: (
                    started.done()
                    or older.value("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0
                )
            )
            assert not started.done()
        with pytest.raises(ConfigError, match=f"{OLD_ID} was dropped"):
            started.result(timeout=30)


# Rings and the database.


def test_a_ring_without_a_needed_key_is_refused_with_what_needs_it(open_with: Opening) -> None:
    fill(open_with())
    _ = open_with(keys=NEW_FIRST).deployment.keyring
    with pytest.raises(ConfigError, match="add the missing key") as caught:
        _ = open_with(keys=NEW).deployment.keyring
    assert f"{OLD_ID} ({in_words(FILLED)} need it)" in str(caught.value)
    for kind in KINDS:
        assert f"{FILLED[kind]} {kind}" in str(caught.value)


def test_a_missing_key_that_nothing_needs_is_refused_with_the_way_out(open_with: Opening) -> None:
    lost = new_key()
    lost_id = KeyRing.parse(lost).key_ids[0]
    _ = open_with(keys=f"{KEY},{lost}").deployment.keyring
    left = open_with()
    with pytest.raises(ConfigError, match=f"pinfold keys drop {lost_id}"):
        _ = left.deployment.keyring
    drop_key(left.deployment, lost_id)
    assert left.deployment.keyring.key_ids == [OLD_ID]


def test_a_dropped_key_may_stay_in_the_ring_behind_and_is_not_taken_for_a_new_one(
    open_with: Opening,
) -> None:
    rotating = open_with(keys=NEW_FIRST)
    _ = rotating.deployment.keyring
    drop_key(rotating.deployment, OLD_ID)
    for ring in (NEW_FIRST, NEW):
        assert open_with(keys=ring).deployment.keyring.key_ids[0] == NEW_ID
    assert {key.key_id: key.dropped_at is not None for key in known_keys(rotating.deployment)} == {
        NEW_ID: False,
        OLD_ID: True,
    }


@pytest.mark.parametrize("ring", [OLD_FIRST, KEY], ids=["first of two", "alone"])
def test_a_dropped_key_never_seals_again(open_with: Opening, ring: str) -> None:
    rotating = open_with(keys=NEW_FIRST)
    _ = rotating.deployment.keyring
    drop_key(rotating.deployment, OLD_ID)
    with pytest.raises(ConfigError, match=f"{OLD_ID} was dropped and never seals again"):
        _ = open_with(keys=ring).deployment.keyring


def test_keys_are_listed_with_what_needs_them_and_who_runs_with_them(open_with: Opening) -> None:
    fill(open_with())
    rotating = restarted(open_with)
    with noted(rotating, "worker") as name:
        by_id = {key.key_id: key for key in keys.known_keys(rotating.deployment)}
    assert by_id[OLD_ID].needed == FILLED
    assert by_id[NEW_ID].needed == Counter()
    assert (by_id[OLD_ID].sealing, by_id[OLD_ID].holding) == ([], [name])
    assert (by_id[NEW_ID].sealing, by_id[NEW_ID].holding) == ([name], [name])
