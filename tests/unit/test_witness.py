"""The counters of a list as a witness: what each difference says, whatever was sent."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.witness import (
    NOTHING,
    PLACEHOLDER,
    Cause,
    Counters,
    Finding,
    Ledger,
    compare,
    effect,
)

PURPOSES = st.sampled_from(["ADD", "REMOVE", "PROBE"])
REQUEST = st.builds(effect, PURPOSES, st.integers(1, 50))
REQUESTS = st.lists(REQUEST, max_size=8)


def total(requests: list[Counters], start: Counters = NOTHING) -> Counters:
    for each in requests:
        start = start.plus(each)
    return start


def chosen(requests: list[Counters], landed: list[bool]) -> list[Counters]:
    return [each for each, did in zip(requests, landed, strict=False) if did]


@given(REQUESTS, REQUESTS, st.lists(st.booleans(), min_size=8, max_size=8))
def test_whatever_of_our_own_requests_landed_is_never_blamed_on_another_writer(
    accepted: list[Counters], unknown: list[Counters], landed: list[bool]
) -> None:
    ledger = Ledger(total(accepted, PLACEHOLDER), unknown=tuple(unknown))
    theirs = chosen(unknown, landed)
    found = compare(total(theirs, ledger.accepted), ledger)
    assert not found.alarming
    assert found.landed == len(theirs)  # each adds one batch, so their number is certain
    assert found.unknown == len(unknown)
    expected = Cause.LANDED if theirs else Cause.NOT_LANDED if unknown else Cause.EXACT
    assert found.cause is expected


@given(REQUESTS, st.lists(st.booleans(), min_size=8, max_size=8), REQUESTS)
def test_requests_under_way_during_the_look_are_counted_or_not_without_a_word(
    meanwhile: list[Counters], counted: list[bool], accepted: list[Counters]
) -> None:
    ledger = Ledger(total(accepted, PLACEHOLDER), meanwhile=tuple(meanwhile))
    found = compare(total(chosen(meanwhile, counted), ledger.accepted), ledger)
    assert (found.cause, found.landed) == (Cause.EXACT, 0)


@given(REQUESTS, REQUESTS, REQUESTS.filter(bool))
def test_more_requests_than_all_of_ours_come_from_another_writer(
    accepted: list[Counters], unknown: list[Counters], theirs: list[Counters]
) -> None:
    ledger = Ledger(total(accepted, PLACEHOLDER), unknown=tuple(unknown))
    found = compare(total(unknown + theirs, ledger.accepted), ledger)
    assert found.cause is Cause.OTHER_WRITER
    assert Counters(found.batches, found.uploaded, found.removed) == total(unknown + theirs)


@given(REQUESTS.filter(bool), st.data())
def test_counters_that_miss_some_of_what_was_accepted_are_behind(
    accepted: list[Counters], data: st.DataObject
) -> None:
    counted = accepted[: data.draw(st.integers(0, len(accepted) - 1))]
    found = compare(total(counted, PLACEHOLDER), Ledger(total(accepted, PLACEHOLDER)))
    assert found.cause is Cause.BEHIND


@given(st.integers(0, 9), st.integers(0, 9), REQUESTS)
def test_records_without_a_request_are_explained_by_nothing(
    uploaded: int, removed: int, unknown: list[Counters]
) -> None:
    assume(uploaded + removed)
    ledger = Ledger(PLACEHOLDER, unknown=tuple(unknown))
    found = compare(PLACEHOLDER.plus(Counters(0, uploaded, removed)), ledger)
    assert found.cause is Cause.UNEXPLAINED


def test_a_difference_in_both_directions_is_explained_by_nothing() -> None:
    found = compare(Counters(1, 6, 0), Ledger(Counters(2, 1, 0)))
    assert found.cause is Cause.UNEXPLAINED
    assert "-1 batches, +5 records added" in found.sentence


def test_as_few_unknown_requests_as_possible_are_said_to_have_landed() -> None:
    same = effect("ADD", 5)
    found = compare(Counters(2, 6, 0), Ledger(PLACEHOLDER, unknown=(same,), meanwhile=(same,)))
    assert (found.cause, found.landed) == (Cause.NOT_LANDED, 0)
    found = compare(Counters(3, 11, 0), Ledger(PLACEHOLDER, unknown=(same,), meanwhile=(same,)))
    assert (found.cause, found.landed) == (Cause.LANDED, 1)


def test_an_hour_of_outage_with_a_thousand_equal_requests_is_judged_at_once() -> None:
    unknown = (effect("ADD", 1_900),) * 1_000 + (effect("REMOVE", 1_900),) * 1_000
    found = compare(total(list(unknown[:700]), PLACEHOLDER), Ledger(PLACEHOLDER, unknown))
    assert (found.cause, found.landed) == (Cause.LANDED, 700)


def test_too_many_different_open_requests_never_accuse_another_writer() -> None:
    unknown = tuple(effect("ADD", 1 << number) for number in range(30))
    found = compare(total(list(unknown[15:]), PLACEHOLDER), Ledger(PLACEHOLDER, unknown))
    assert found.cause in (Cause.LANDED, Cause.UNEXPLAINED)


def test_five_hundred_different_open_requests_are_judged_within_a_breath() -> None:
    unknown = tuple(effect("ADD", 7_919 * number % 100_003 + 1) for number in range(500))
    observed = total(list(unknown[::2]), PLACEHOLDER).plus(Counters(0, 1, 0))
    began = process_time()
    compare(observed, Ledger(PLACEHOLDER, unknown))
    assert process_time() - began < 3


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (Finding(Cause.EXACT, 0, 0, 0, 0), "exactly what was sent"),
        (Finding(Cause.NOT_LANDED, 0, 0, 0, 1), "1 request without an answer had not landed"),
        (Finding(Cause.LANDED, 1, 5, 0, 2, 1), "as if 1 of 2 requests without an answer"),
        (Finding(Cause.BEHIND, -1, 0, -5, 0), "by 1 batches, 5 records removed: they may come"),
        (Finding(Cause.OTHER_WRITER, 2, 1234, 0, 0), "2 batches, 1,234 records added; somebody"),
        (Finding(Cause.UNEXPLAINED, 0, 7, 0, 0), "off by 7 records added"),
    ],
)
def test_a_finding_says_by_how_much_and_why_and_survives_its_storage(
    finding: Finding, words: str
) -> None:
    assert words in finding.sentence
    assert Finding.of_json(finding.as_json()) == finding
