"""The judge of the torture: it sees what it is there to see."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from app.sandbox.pinterest import RequestRecord
from tests.faults.torture.history import Attempt, CustomerList, match_requests
from tests.faults.torture.people import Change, Diary
from tests.faults.torture.reckoning import Reckoning, reckon
from tests.faults.torture.secrecy import leaks
from tests.faults.torture.stalls import Stalls
from tests.faults.torture.verdicts import (
    CAP,
    Batches,
    judge_cap,
    judge_ends,
    judge_loss,
    judge_members,
    judge_order,
    judge_pace,
)
from tests.faults.torture.witness import Seen

LISTED = "4189001"
ANA, LI = "a" * 40, "b" * 40


def a_request(
    number: int,
    operation: str,
    *digests: str,
    at: float,
    applied: int | None = None,
    status: int | None = 200,
) -> RequestRecord:
    return RequestRecord(
        sequence=number,
        received_at=at,
        method="PATCH",
        path="",
        operation="patch",
        category="ads_write",
        ad_account_id=None,
        list_id=LISTED,
        operation_type=operation,
        record_count=len(digests),
        token="",
        records=",".join(digests),
        status=status,
        applied_at=at if applied else None,
        applied_sequence=applied,
    )


def an_attempt(
    number: int, upload: int, purpose: str, at: float, until: float, state: str = "sent"
) -> Attempt:
    return Attempt(number, 1, upload, purpose, 1, at, state, until)


def a_list(*attempts: Attempt, cap: int = 100) -> CustomerList:
    charged = sum(attempt.records for attempt in attempts)
    return CustomerList(1, 1, "7001", "EMAIL", LISTED, charged, cap, 0, list(attempts))


@pytest.fixture
def reckoning() -> Reckoning:
    """Ana enters by upload 1 and leaves by upload 2."""
    return Reckoning(
        contents={(1, "EMAIL"): {ANA: True}, (2, "EMAIL"): {ANA: False}},
        audience_of={1: 1, 2: 1},
    )


ADDED = a_request(1, "ADD", ANA, at=10.1, applied=1)
REMOVED = a_request(2, "REMOVE", ANA, at=12.1, applied=2)


def both(first_until: float = 11.0) -> CustomerList:
    return a_list(an_attempt(1, 1, "ADD", 10, first_until), an_attempt(2, 2, "REMOVE", 12, 13))


def no_stall(_: float) -> float:
    return 0.0


def test_two_requests_in_order_are_fine(reckoning: Reckoning) -> None:
    each = both()
    assert match_requests([each], [ADDED, REMOVED], reckoning, no_stall) == []
    assert judge_order(each) == judge_pace(each) == judge_ends(each) == []
    assert judge_cap(each, [ADDED, REMOVED]) == []
    assert judge_loss(each, reckoning, Counter()) == []


def test_a_request_without_an_attempt_is_seen(reckoning: Reckoning) -> None:
    again = a_request(3, "REMOVE", ANA, at=12.2, applied=3)
    (violation,) = match_requests([both()], [ADDED, REMOVED, again], reckoning, no_stall)
    assert violation.startswith("unpaid")


def test_a_request_after_its_lease_is_seen(reckoning: Reckoning) -> None:
    late = a_request(3, "ADD", ANA, at=19, applied=3)
    (violation,) = match_requests([both()], [REMOVED, late], reckoning, no_stall)
    assert violation.startswith("sent late")


def test_a_request_that_pinterest_noted_late_is_not_taken_for_one_sent_late(
    reckoning: Reckoning,
) -> None:
    noted_late = a_request(3, "ADD", ANA, at=19, applied=3)
    assert match_requests([both()], [REMOVED, noted_late], reckoning, lambda _: 9.0) == []


def test_a_process_that_got_no_turn_says_for_how_long() -> None:
    stalls = Stalls()
    stalls._found = [(100.0, 3.0), (101.0, 0.5), (50.0, 9.0)]
    assert stalls.before(99.0) == 3.0, "the stall ended after it was noted, and had begun before"
    assert stalls.before(102.0) == 3.5
    assert stalls.before(90.0) == 0.0


def test_an_older_operation_that_lands_after_a_newer_one_is_seen(reckoning: Reckoning) -> None:
    each = both()
    late = a_request(1, "ADD", ANA, at=10.1, applied=3)
    late.applied_at = 13.0
    assert match_requests([each], [late, REMOVED], reckoning, no_stall) == []
    (violation,) = judge_order(each)
    assert violation.startswith("regression")


def test_attempts_side_by_side_are_seen() -> None:
    (violation,) = judge_pace(both(first_until=12.5))
    assert violation.startswith("side by side")


def test_more_than_is_charged_and_more_than_the_cap_is_seen() -> None:
    unpaid = a_request(3, "ADD", LI, at=14, applied=3)
    assert judge_cap(both(), [ADDED, REMOVED, unpaid])[0].startswith("uncharged")
    each = a_list(an_attempt(1, 1, "ADD", 10, 11), an_attempt(2, 2, "ADD", 12, 13), cap=1)
    assert judge_cap(each, [])[0].startswith("over the cap")


def test_a_member_too_many_and_one_missing_are_seen(reckoning: Reckoning) -> None:
    class Books:
        def membership(self, _: str) -> set[str]:
            return {ANA}

    each = both()
    match_requests([each], [ADDED, REMOVED], reckoning, no_stall)
    (violation,) = judge_members(each, Books(), set())
    assert "too many" in violation


@pytest.mark.parametrize("status", [200, 307, 500, None])
def test_a_charge_given_back_for_what_may_have_been_processed_is_seen(
    reckoning: Reckoning, status: int | None
) -> None:
    each = a_list(an_attempt(1, 1, "ADD", 10, 11, "refused"))
    request = a_request(1, "ADD", ANA, at=10.1, status=status)
    assert match_requests([each], [request], reckoning, no_stall) == []
    (violation,) = judge_ends(each)
    assert violation.startswith("wrong end")


@pytest.mark.parametrize("status", [None, 307, 429, 500])
def test_a_batch_that_counts_as_sent_without_a_good_answer_is_seen(
    reckoning: Reckoning, status: int | None
) -> None:
    each = a_list(an_attempt(1, 1, "ADD", 10, 11))
    request = a_request(1, "ADD", ANA, at=10.1, status=status)
    assert match_requests([each], [request], reckoning, no_stall) == []
    (violation,) = judge_ends(each)
    assert violation.startswith("wrong end")


@pytest.mark.parametrize(("state", "status"), [("sent", 201), ("refused", 429), ("unknown", 200)])
def test_an_attempt_that_ended_as_it_was_answered_is_fine(
    reckoning: Reckoning, state: str, status: int
) -> None:
    each = a_list(an_attempt(1, 1, "ADD", 10, 11, state))
    request = a_request(1, "ADD", ANA, at=10.1, status=status)
    assert match_requests([each], [request], reckoning, no_stall) == []
    assert judge_ends(each) == []


def test_a_request_noted_when_the_next_try_had_begun_is_not_taken_for_that_tries(
    reckoning: Reckoning,
) -> None:
    first = an_attempt(1, 1, "ADD", 10, 11, "unknown")
    second = an_attempt(2, 1, "ADD", 11.2, 12, "refused")
    each = a_list(first, second)
    noted_late = a_request(1, "ADD", ANA, at=11.3, applied=1)
    refused = a_request(2, "ADD", ANA, at=11.4, status=429)
    assert match_requests([each], [noted_late, refused], reckoning, no_stall) == []
    assert (first.request, second.request) == (noted_late, refused)
    assert judge_ends(each) == []


def test_an_attempt_that_can_no_longer_have_been_it_does_not_excuse_a_wrong_end(
    reckoning: Reckoning,
) -> None:
    long_ago = an_attempt(1, 1, "ADD", 10, 11, "unknown")
    each = a_list(long_ago, an_attempt(2, 1, "ADD", 20, 21, "refused"))
    applied = a_request(1, "ADD", ANA, at=20.1, applied=1)
    assert match_requests([each], [applied], reckoning, no_stall) == []
    assert judge_ends(each)[0].startswith("wrong end")


def lost(
    *booked: str, cap: int = CAP, list_type: str = "EMAIL", refused: bool = False
) -> list[str]:
    """What the judge says where Li entered, was not sent, and is booked in these ways.

    ``refused``: Pinterest refused her alone.
    """
    attempt = an_attempt(1, 1, "ADD", 10, 11, "refused")
    attempt.request = a_request(1, "ADD", LI, at=10.1, status=400) if refused else None
    each = CustomerList(1, 1, "7001", list_type, LISTED, 0, cap, 0, [attempt])
    entered = Reckoning(contents={(1, list_type): {LI: True}}, audience_of={1: 1})
    batches: Batches = Counter({(1, 1, state): 1 for state in booked})
    return judge_loss(each, entered, batches)


def test_an_identity_that_was_neither_sent_nor_booked_is_seen() -> None:
    (violation,) = lost()
    assert violation.startswith("lost")


def test_an_identity_that_is_booked_twice_is_seen() -> None:
    (violation,) = lost("over_cap", "quarantined", cap=1, refused=True)
    assert violation.startswith("lost")


def test_somebody_in_quarantine_whom_pinterest_did_not_refuse_is_seen() -> None:
    assert lost("quarantined", refused=True) == []
    (violation,) = lost("quarantined")
    assert "innocents" in violation


def test_somebody_over_a_cap_that_there_is_not_is_seen() -> None:
    assert lost("over_cap", cap=1) == []
    (violation,) = lost("over_cap")
    assert "over a cap" in violation


def test_an_address_that_was_booked_as_not_forwarded_is_seen() -> None:
    assert lost("not_forwarded", list_type="MAID") == []
    (violation,) = lost("not_forwarded")
    assert "never switched off" in violation


def committed(tx: str, key: str, chunk: int) -> list[Seen]:
    return [
        Seen("receipt INSERT", tx, 0, {"source": "direct", "dedupe_key": key}),
        Seen("staged_chunk INSERT", tx, 0, {"id": chunk, "audience_id": 1}),
    ]


def cut(tx: str, upload: int, chunk: int, **counted: int) -> list[Seen]:
    counts = {f"maid_{what}": 0 for what in ("read", "not_forwarded", "folded")}
    counts |= {"email_read": 1, "email_not_forwarded": 0, "email_folded": 0} | counted
    return [
        Seen("staged_chunk DELETE", tx, 0, {"id": chunk, "audience_id": 1}),
        Seen("upload INSERT", tx, 0, {"id": upload, "audience_id": 1, **counts}),
    ]


def a_diary(*accepted: str, list_type: str = "EMAIL") -> Diary:
    calls = {key: (Change("7001", ((list_type, ANA),), True, 1),) for key in ("one", "two")}
    return Diary(calls, set(accepted))


def reckoned(diary: Diary, *seen: list[Seen]) -> list[str]:
    return reckon(diary, [row for rows in seen for row in rows], {"7001": 1}, 1).violations


def test_a_call_that_was_accepted_and_not_committed_is_seen() -> None:
    rows = committed("1", "one", 11), cut("2", 1, 11)
    assert reckoned(a_diary("one"), *rows) == []
    (violation,) = reckoned(a_diary("one", "two"), *rows)
    assert violation.startswith("lost: call two")


def test_a_call_that_counts_twice_is_seen() -> None:
    rows = committed("1", "one", 11), committed("2", "one", 12), cut("3", 1, 11), cut("4", 2, 12)
    assert reckoned(a_diary("one"), *rows)[0] == "counted 2 times: call one"


def test_an_upload_that_leaves_an_older_chunk_behind_is_seen() -> None:
    rows = committed("1", "one", 11), committed("2", "two", 12), cut("3", 1, 12), cut("4", 2, 11)
    (violation,) = reckoned(a_diary("one", "two"), *rows)
    assert violation.startswith("upload 1 left chunk 11")


def test_an_address_that_a_cut_did_not_forward_is_seen() -> None:
    rows = committed("1", "one", 11), cut("2", 1, 11, email_not_forwarded=1)
    (violation,) = reckoned(a_diary("one"), *rows)
    assert "did not forward 1" in violation


def test_a_device_that_a_cut_did_not_forward_may_have_been_switched_off() -> None:
    off = {"email_read": 0, "maid_read": 1, "maid_not_forwarded": 1}
    rows = committed("1", "one", 11), cut("2", 1, 11, **off)
    assert reckoned(a_diary("one", list_type="MAID"), *rows) == []


def test_a_person_in_a_log_is_seen_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_text("fine\nsent somebody.7001000@canary.example\n")
    (violation,) = leaks(tmp_path)
    assert "worker.log, line 2" in violation
    assert "canary" not in violation
