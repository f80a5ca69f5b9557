"""Compacting: many small chunks become few, and neither order, count nor content changes."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from app import compacting, joining
from app.audiences import deactivate, pause
from app.bodies import unpack_chunk
from app.compacting import StepsFailed, compact_once
from app.errors import Unavailable
from app.flush import flush_once
from app.gate import GATE, GATES
from app.keyring import chunk_purpose
from app.runs import GROWTH
from tests.integration.processes import eventually
from tests.workshop import (
    ADD,
    REMOVE,
    Workshop,
    address,
    device_event,
    digests,
    email_event,
    emails,
)

MANY = 100
T0 = 1_700_000_000_000_000


@pytest.fixture(autouse=True)
def at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "REST", timedelta(0))


@pytest.fixture
def audience_id(workshop: Workshop) -> int:
    return workshop.ready()


def stage_singly(workshop: Workshop, count: int, *, operation: Any = ADD, start: int = 0) -> None:
    for number in range(start, start + count):
        workshop.stage(email_event(number, operation))


def chunk_rows(workshop: Workshop) -> list[Any]:
    return workshop.rows("SELECT * FROM staged_chunk ORDER BY audience_id, id")


def contents(workshop: Workshop, audience_id: int) -> list[tuple[int, int, str]]:
    """Flag, moment and value of everything that waits, in the order of arrival."""
    found = []
    for row in workshop.rows(
        "SELECT body FROM staged_chunk WHERE audience_id = :a ORDER BY id", a=audience_id
    ):
        ring = workshop.deployment.keyring
        chunk = unpack_chunk(ring.open(bytes(row.body), chunk_purpose(audience_id)))
        values = chunk.text.decode().split("\n")
        found += zip(chunk.flags, chunk.times.all_us(len(values)), values, strict=True)
    return found


def test_what_waits_is_the_same_in_fewer_chunks(workshop: Workshop, audience_id: int) -> None:
    for number in range(MANY):
        workshop.stage(
            email_event(number, (ADD, REMOVE)[number % 2], at=T0 + number * 7 % 5 * 1_000_000),
            *[device_event(number)] * (number % 3),
        )
    before, rows = contents(workshop, audience_id), chunk_rows(workshop)
    fewer = compact_once(workshop.deployment)
    after = chunk_rows(workshop)
    assert contents(workshop, audience_id) == before
    assert len(after) == len(rows) - fewer < 3 * GROWTH
    for count in ("message_count", "email_count", "maid_count"):
        assert sum(getattr(row, count) for row in after) == sum(getattr(row, count) for row in rows)
    assert (after[0].id, after[0].arrived_at) == (rows[0].id, rows[0].arrived_at)
    workshop.assert_books_balance()
    assert compact_once(workshop.deployment) == 0


def test_the_last_word_stays_the_last(workshop: Workshop, audience_id: int) -> None:
    stage_singly(workshop, MANY)
    stage_singly(workshop, MANY // 2, operation=REMOVE)
    compact_once(workshop.deployment)
    stage_singly(workshop, GROWTH, operation=ADD)
    compact_once(workshop.deployment)
    workshop.upload(audience_id)
    assert workshop.members() == digests(range(GROWTH)) | digests(range(MANY // 2, MANY))
    workshop.assert_books_balance()


def test_each_audience_keeps_its_own(workshop: Workshop, audience_id: int) -> None:
    other_id = workshop.activate("31002", "Lapsed")
    for number in range(2 * GROWTH):
        workshop.stage(email_event(number), email_event(number + 50, audience="31002"))
    assert compact_once(workshop.deployment) > 0
    for each, first in ((audience_id, 0), (other_id, 50)):
        values = [value for *_, value in contents(workshop, each)]
        assert values == [address(number) for number in range(first, first + 2 * GROWTH)]


def test_what_was_left_behind_for_the_next_cut_still_follows_at_once(
    workshop: Workshop, audience_id: int
) -> None:
    """Joined with newer ones under a newer id, it would wait for three hours."""
    stage_singly(workshop, 2)
    newest = workshop.value("SELECT max(id) FROM staged_chunk")
    workshop.execute("UPDATE audience SET drain_to = :n, last_upload_at = now()", n=newest)
    stage_singly(workshop, MANY, start=2)
    compact_once(workshop.deployment)
    cut = flush_once(workshop.deployment, audience_id)
    assert cut is not None
    assert cut.reason == "drain"


def test_a_half_committed_intake_is_waited_for_and_nothing_is_joined_across_it(
    workshop: Workshop, audience_id: int
) -> None:
    stage_singly(workshop, 1)
    workshop.execute("CREATE TABLE kept AS SELECT * FROM staged_chunk")
    workshop.execute("DELETE FROM staged_chunk")
    with ThreadPoolExecutor(1) as pool, workshop.transaction() as slow:
        slow.exec_driver_sql(
            "SELECT pg_advisory_xact_lock_shared(%s, %s)", (GATE, audience_id % GATES)
        )
        slow.exec_driver_sql("INSERT INTO staged_chunk OVERRIDING SYSTEM VALUE TABLE kept")
        stage_singly(workshop, GROWTH, operation=REMOVE)  # the first of them undoes what is slow
        joining = pool.submit(compact_once, workshop.deployment)
        assert eventually(lambda: joining.done() or workshop.is_blocked())
        assert not joining.done()
        slow.commit()
        assert joining.result(timeout=10) > 0
    assert [value for *_, value in contents(workshop, audience_id)][:2] == [address(0)] * 2
    workshop.upload(audience_id)
    assert workshop.members() == set()


def test_an_audience_that_is_being_flushed_is_passed_over(
    workshop: Workshop, audience_id: int
) -> None:
    stage_singly(workshop, MANY)
    workshop.execute("UPDATE audience SET lease_until = now() + interval '1 minute'")
    assert compact_once(workshop.deployment) == 0
    workshop.end_leases()
    assert compact_once(workshop.deployment) > 0
    assert workshop.value("SELECT lease_until FROM audience") is None


def test_a_paused_audience_is_compacted_and_one_that_ended_or_failed_is_not(
    workshop: Workshop, audience_id: int
) -> None:
    stage_singly(workshop, MANY)
    workshop.execute("UPDATE audience SET flush_failures = 1")
    assert compact_once(workshop.deployment) == 0
    workshop.execute("UPDATE audience SET flush_failures = 0")
    pause(workshop.deployment, audience_id)
    assert compact_once(workshop.deployment) > 0
    stage_singly(workshop, MANY)
    deactivate(workshop.deployment, audience_id)
    assert compact_once(workshop.deployment) == 0


def test_a_bad_chunk_is_never_joined_and_holds_up_nobody_else(
    workshop: Workshop, audience_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    other_id = workshop.activate("31002", "Lapsed")
    for number in range(2 * GROWTH):
        workshop.stage(email_event(number), email_event(number, audience="31002"))
    workshop.execute(
        "UPDATE staged_chunk SET body = set_byte(body, 20, get_byte(body, 20) # 1) WHERE id ="
        " (SELECT max(id) FROM staged_chunk WHERE audience_id = :a)",
        a=audience_id,
    )
    before = len(chunk_rows(workshop))
    assert compact_once(workshop.deployment) > 0
    left = [row.audience_id for row in chunk_rows(workshop)]
    assert len(left) < before
    assert left.count(other_id) < GROWTH
    assert f"runs of chunks are not joined, the first of audience {audience_id}" in caplog.text
    assert workshop.value("SELECT count(*) FROM audience WHERE lease_until IS NOT NULL") == 0


def test_a_chunk_that_somebody_took_meanwhile_undoes_the_whole_step(
    workshop: Workshop, audience_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut with its own lease cannot: this is the second line of defence."""
    stage_singly(workshop, MANY)
    joined = joining._joined

    def while_one_goes(*given: Any) -> Any:
        workshop.execute("DELETE FROM staged_chunk WHERE id = (SELECT min(id) FROM staged_chunk)")
        return joined(*given)

    monkeypatch.setattr(joining, "_joined", while_one_goes)
    assert compact_once(workshop.deployment) == 0
    assert len(chunk_rows(workshop)) < MANY
    assert all(row.message_count == 1 for row in chunk_rows(workshop))


@pytest.fixture
def failing_with(workshop: Workshop, audience_id: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two crowded audiences, of which the one whose step comes first fails; both, in that order."""

    def fail_first(problem: Exception) -> list[int]:
        other_id = workshop.activate("31002", "Lapsed")
        for number in range(2 * GROWTH):
            workshop.stage(email_event(number), email_event(number, audience="31002"))
        ids = sorted((audience_id, other_id), key=lambda each: each % GATES)
        joined = joining._joined

        def join(keyring: Any, audience_id: int, *given: Any) -> bytes:
            if audience_id == ids[0]:
                raise problem
            return joined(keyring, audience_id, *given)

        monkeypatch.setattr(joining, "_joined", join)
        monkeypatch.setattr(compacting, "shuffle", lambda _: None)
        return ids

    return fail_first


def test_a_step_that_fails_holds_up_no_other_and_is_told_without_its_text(
    workshop: Workshop, failing_with: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails in every pass, and the text of a mistake may name what was being joined."""
    bad_id, good_id = failing_with(KeyError(address(0)))
    with pytest.raises(StepsFailed, match="1 of 2 steps") as failed:
        compact_once(workshop.deployment)
    left = [row.audience_id for row in chunk_rows(workshop)]
    assert left.count(bad_id) == 2 * GROWTH
    assert left.count(good_id) < GROWTH
    assert f"chunks of 1 audiences, the first {bad_id}, are not joined: KeyError at " in caplog.text
    assert "app/joining.py:" in caplog.text
    assert address(0) not in caplog.text
    assert failed.value.__context__ is None  # whoever logs it would log that too
    assert workshop.value("SELECT count(*) FROM audience WHERE lease_until IS NOT NULL") == 0


def test_a_pass_ends_where_postgres_goes_away(workshop: Workshop, failing_with: Any) -> None:
    failing_with(Unavailable("gone"))
    with pytest.raises(Unavailable):
        compact_once(workshop.deployment)
    assert len(chunk_rows(workshop)) == 4 * GROWTH


def test_it_ends_between_two_steps_when_the_worker_is_asked_to_stop(
    workshop: Workshop, audience_id: int
) -> None:
    stage_singly(workshop, MANY)
    assert compact_once(workshop.deployment, lambda: True) == 0
    assert len(chunk_rows(workshop)) == MANY
    assert audience_id


def test_passes_that_piled_up_do_nothing(
    workshop: Workshop, audience_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "REST", timedelta(seconds=30))
    stage_singly(workshop, GROWTH)
    assert compact_once(workshop.deployment) > 0
    stage_singly(workshop, GROWTH)
    assert compact_once(workshop.deployment) == 0
    workshop.execute("UPDATE sweep SET finished_at = finished_at - interval '31 seconds'")
    assert compact_once(workshop.deployment) > 0
    assert audience_id


def test_of_a_long_backlog_each_pass_takes_a_part(
    workshop: Workshop, audience_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "MOST_CHUNKS", 3 * GROWTH)
    stage_singly(workshop, MANY)
    before, passes = contents(workshop, audience_id), 0
    while compact_once(workshop.deployment):
        passes += 1
        assert contents(workshop, audience_id) == before
    assert passes > 2
    assert len(chunk_rows(workshop)) < 2 * GROWTH


def test_an_audience_with_nothing_to_join_is_not_even_claimed(
    workshop: Workshop, audience_id: int
) -> None:
    """Small ones between large ones look promising in sum."""
    for number in range(GROWTH):
        workshop.stage(email_event(number))
        workshop.stage(*emails(range(100, 100 + 2 * GROWTH)))
    epoch = workshop.value("SELECT epoch FROM audience")
    large = sum(row.message_count > 1 for row in chunk_rows(workshop))
    assert compact_once(workshop.deployment) > 0  # the larger ones reach the next class together
    assert compact_once(workshop.deployment) == 0
    assert workshop.value("SELECT epoch FROM audience") == epoch + 1
    assert large == GROWTH
    assert audience_id


def test_what_a_row_does_not_say_of_its_body_keeps_it_out(
    workshop: Workshop, audience_id: int
) -> None:
    stage_singly(workshop, GROWTH)
    workshop.execute("UPDATE staged_chunk SET maid_count = 1")
    assert compact_once(workshop.deployment) == 0
    assert len(chunk_rows(workshop)) == GROWTH
    assert audience_id
