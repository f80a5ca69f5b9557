"""Messages with an id of their own count once: in a call, across calls, at the same time."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.remembering import (
    KEPT_DAYS,
    Message,
    Outcome,
    forget_messages_once,
    key_of,
    stage_messages,
)
from app.staging import Intake
from tests.staged import receipts, staged_changes, staged_messages
from tests.workshop import Workshop, address, email_event

NOBODY = "neither an address nor a digest"


@pytest.fixture
def intake(workshop: Workshop) -> Intake:
    workshop.connect()
    workshop.activate()
    return Intake(workshop.deployment, "source shop")


def message(number: int, message_id: str | None = None, count: int = 1) -> Message:
    events = [email_event(number + each) for each in range(count)]
    return Message(events, None if message_id is None else key_of(message_id))


def call(message_id: str, content: bytes, number: int = 1) -> Message:
    """A whole call under a key, whose content counts."""
    return Message(
        [email_event(number)],
        key_of(message_id),
        [sha256(content).digest()],
        lambda outcome: b"accepted %d of " % outcome.accepted + content,
    )


def said(outcomes: Sequence[Outcome]) -> list[tuple[int, bool]]:
    return [(outcome.accepted, outcome.duplicate) for outcome in outcomes]


def remembered(workshop: Workshop) -> int:
    return int(workshop.value("SELECT count(*) FROM message_key"))


def test_a_message_counts_once_within_a_call(workshop: Workshop, intake: Intake) -> None:
    outcomes = stage_messages(
        intake, [message(1, "a", 2), message(3, "b"), message(1, "a", 2), message(1, "a", 2)]
    )
    assert said(outcomes) == [(2, False), (1, False), (0, True), (0, True)]
    assert staged_messages(workshop) == 3
    assert remembered(workshop) == 2


def test_a_message_counts_once_across_calls(workshop: Workshop, intake: Intake) -> None:
    assert said(stage_messages(intake, [message(1, "a"), message(2, "b")])) == [(1, False)] * 2
    again = stage_messages(intake, [message(2, "b"), message(3, "c"), message(1, "a")])
    assert said(again) == [(0, True), (1, False), (0, True)]
    assert [change.value for change in staged_changes(workshop)] == [*map(address, (1, 2, 3))]


def test_a_call_of_nothing_but_known_messages_commits_nothing(
    workshop: Workshop, intake: Intake
) -> None:
    stage_messages(intake, [message(1, "a")])
    assert said(stage_messages(intake, [message(1, "a"), message(1, "a")])) == [(0, True)] * 2
    assert receipts(workshop) == 1


def test_messages_without_an_id_count_each_time(workshop: Workshop, intake: Intake) -> None:
    for _ in range(2):
        assert said(stage_messages(intake, [message(1), message(1)])) == [(1, False)] * 2
    assert staged_messages(workshop) == 4
    assert remembered(workshop) == 0


def test_a_call_without_messages_is_one_without_outcomes(intake: Intake) -> None:
    assert stage_messages(intake, []) == []


def test_what_formats_refused_and_noted_is_in_the_receipt_once(
    workshop: Workshop, intake: Intake
) -> None:
    junk = Message([email_event(NOBODY)], key_of("junk"), refused={"x": 2}, noted={"y": 3})
    doubtful = message(1, "a")._replace(noted={"y": 1, "z": 1})
    stage_messages(intake, [doubtful, junk, doubtful], unreadable={"x": 1})
    ((accepted, rejected, noted),) = workshop.rows("SELECT accepted, rejected, noted FROM receipt")
    assert (accepted, sum(rejected.values()), rejected["x"]) == (1, 4, 3)
    assert noted == {"y": 4, "z": 1}
    stage_messages(intake, [doubtful])
    assert receipts(workshop) == 1


def test_what_was_unreadable_is_in_a_receipt_though_nothing_else_came(
    workshop: Workshop, intake: Intake
) -> None:
    assert stage_messages(intake, [], unreadable={"x": 2}) == []
    assert workshop.rows("SELECT accepted, rejected FROM receipt") == [(0, {"x": 2})]


def test_a_message_is_known_to_its_own_source_only(workshop: Workshop, intake: Intake) -> None:
    other = Intake(workshop.deployment, "source other")
    assert said(stage_messages(intake, [message(1, "a")])) == [(1, False)]
    assert said(stage_messages(other, [message(1, "a")])) == [(1, False)]
    assert said(stage_messages(other, [message(1, "a")])) == [(0, True)]


def test_rejections_count_from_the_first_event_of_their_message(intake: Intake) -> None:
    bad = Message([email_event(1), email_event(NOBODY), email_event(2)], key_of("bad"))
    outcomes = stage_messages(intake, [message(5, "good", 4), bad, message(9, "more")])
    assert [outcome.accepted for outcome in outcomes] == [4, 2, 1]
    assert [[each.position for each in outcome.rejections] for outcome in outcomes] == [[], [1], []]


def test_a_message_of_which_nothing_could_be_accepted_may_come_again_and_be_accepted(
    workshop: Workshop, intake: Intake
) -> None:
    late = Message([email_event(1, audience="31002")], key_of("late"))
    (first,) = stage_messages(intake, [late])
    assert (first.accepted, first.duplicate) == (0, False)
    workshop.activate("31002", "Cart")
    assert said(stage_messages(intake, [late])) == [(1, False)]
    assert said(stage_messages(intake, [late])) == [(0, True)]
    assert staged_messages(workshop) == 1


def test_a_message_of_which_something_was_accepted_counts_once(
    workshop: Workshop, intake: Intake
) -> None:
    half = Message([email_event(1), email_event(NOBODY)], key_of("half"))
    assert said(stage_messages(intake, [half])) == [(1, False)]
    assert said(stage_messages(intake, [half])) == [(0, True)]


def test_an_answer_that_was_promised_is_given_again_though_nothing_was_accepted(
    workshop: Workshop, intake: Intake
) -> None:
    promised = call("k", b"body")._replace(events=[email_event(NOBODY)])
    (first,), (again,) = stage_messages(intake, [promised]), stage_messages(intake, [promised])
    assert (first.answer, again.answer) == (b"accepted 0 of body",) * 2
    assert (first.duplicate, again.duplicate) == (False, True)


def test_a_message_without_events_counts_once_too(workshop: Workshop, intake: Intake) -> None:
    empty = Message([], key_of("empty"))
    assert said(stage_messages(intake, [empty, empty])) == [(0, False), (0, True)]
    assert said(stage_messages(intake, [empty])) == [(0, True)]
    assert staged_messages(workshop) == 0


# Answers and contents.


def test_the_first_answer_is_given_again(intake: Intake) -> None:
    (first,) = stage_messages(intake, [call("k", b"body")])
    (again,) = stage_messages(intake, [call("k", b"body")])
    assert first.answer == again.answer == b"accepted 1 of body"
    assert (again.duplicate, again.conflict) == (True, False)


def test_other_content_under_the_same_key_is_a_conflict(workshop: Workshop, intake: Intake) -> None:
    stage_messages(intake, [call("k", b"body")])
    (other,) = stage_messages(intake, [call("k", b"another", 2)])
    assert (other.conflict, other.duplicate, other.accepted) == (True, False, 0)
    assert staged_messages(workshop) == 1


def test_a_conflict_is_one_within_a_call_as_well(workshop: Workshop, intake: Intake) -> None:
    outcomes = stage_messages(
        intake, [call("k", b"body"), call("k", b"another", 2), call("k", b"body"), message(3)]
    )
    assert [outcome.conflict for outcome in outcomes] == [False, True, False, False]
    assert [outcome.duplicate for outcome in outcomes] == [False, False, True, False]
    assert outcomes[2].answer == outcomes[0].answer
    assert staged_messages(workshop) == 2


def test_content_is_the_same_by_any_of_its_fingerprints(intake: Intake) -> None:
    """Fingerprints are made with our keys, and a key may have been replaced in between."""
    old, new = (sha256(name).digest() for name in (b"old key", b"new key"))
    stage_messages(intake, [call("k", b"body")._replace(contents=[old])])
    (again,) = stage_messages(intake, [call("k", b"body")._replace(contents=[new, old])])
    (other,) = stage_messages(intake, [call("k", b"body")._replace(contents=[new])])
    assert (again.duplicate, again.conflict) == (True, False)
    assert (other.duplicate, other.conflict) == (False, True)


# At the same time.


def test_one_message_in_many_calls_at_once_is_staged_once(
    workshop: Workshop, intake: Intake
) -> None:
    def stage_it(number: int) -> list[Outcome]:
        return stage_messages(intake, [message(100 + number), message(1, "a")])

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(stage_it, range(24)))
    assert sum(outcomes[1].accepted for outcomes in results) == 1
    assert sum(outcomes[1].duplicate for outcomes in results) == 23
    assert all(outcomes[0].accepted == 1 for outcomes in results)
    values = [change.value for change in staged_changes(workshop)]
    assert values.count(address(1)) == 1
    assert len(values) == 25


def test_calls_that_overlap_in_any_order_lose_and_double_nothing(
    workshop: Workshop, intake: Intake
) -> None:
    def stage_some(seed: int) -> int:
        numbers = random.Random(seed).sample(range(40), 20)
        messages = [message(number, f"m-{number}") for number in numbers]
        return sum(outcome.accepted for outcome in stage_messages(intake, messages))

    with ThreadPoolExecutor(4) as pool:
        accepted = sum(pool.map(stage_some, range(24)))
    values = sorted(change.value for change in staged_changes(workshop))
    assert len(values) == len(set(values)) == accepted == remembered(workshop)
    assert accepted == 40


def test_of_two_contents_at_once_one_is_staged_and_the_other_is_a_conflict(
    workshop: Workshop, intake: Intake
) -> None:
    with ThreadPoolExecutor(4) as pool:
        outcomes = [
            outcome
            for found in pool.map(
                lambda number: stage_messages(intake, [call("k", b"%d" % (number % 2), number)]),
                range(12),
            )
            for outcome in found
        ]
    assert staged_messages(workshop) == 1
    assert sum(outcome.conflict for outcome in outcomes) == 6
    assert len({outcome.answer for outcome in outcomes if not outcome.conflict}) == 1


# Forgetting.


def test_messages_are_forgotten_after_a_week_and_not_before(
    workshop: Workshop, intake: Intake
) -> None:
    stage_messages(intake, [message(1, "old"), message(2, "new")])
    ages = {
        "old": timedelta(days=KEPT_DAYS, minutes=1),
        "new": timedelta(days=KEPT_DAYS, minutes=-1),
    }
    for name, age in ages.items():
        workshop.execute(
            "UPDATE message_key SET received_at = now() - CAST(:age AS interval) WHERE key = :key",
            age=age,
            key=key_of(name),
        )
    assert KEPT_DAYS == 7
    assert forget_messages_once(workshop.deployment) == 1
    assert forget_messages_once(workshop.deployment) == 0
    again = stage_messages(intake, [message(1, "old"), message(2, "new")])
    assert said(again) == [(1, False), (0, True)]


def test_what_is_forgotten_goes_a_slice_at_a_time_and_all_of_it(
    workshop: Workshop, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.remembering.SLICE", 3)
    stage_messages(intake, [message(number, f"m-{number}") for number in range(10)])
    workshop.execute("UPDATE message_key SET received_at = now() - interval '8 days'")
    assert forget_messages_once(workshop.deployment) == 10
    assert remembered(workshop) == 0


# Keys.


@given(st.lists(st.text(max_size=20), max_size=3), st.lists(st.text(max_size=20), max_size=3))
def test_keys_differ_where_their_parts_do(one: list[str], other: list[str]) -> None:
    assert (key_of(*one) == key_of(*other)) == (one == other)


def test_any_text_has_a_key() -> None:
    texts = ("", " ", "\x00", "\ud800", "\u00e9", "e\u0301", "a\nb")
    assert len({key_of(text) for text in texts}) == len(texts)
