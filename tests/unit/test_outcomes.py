"""What an answer of Pinterest means: the golden table of design section 5."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pinterest.outcomes import (
    LONGEST_MESSAGE,
    Action,
    Answer,
    Settlement,
    judge,
    redact,
)
from app.settings import LONGEST_WAIT

SENT, REFUSED, UNKNOWN = Settlement.SENT, Settlement.REFUSED, Settlement.UNKNOWN


def said(status: int, code: int = 1, message: str = "Invalid request.", **more: Any) -> Answer:
    """Pinterest's own error object."""
    return Answer(status, {"code": code, "message": message}, **more)


GOLDEN = [
    (Answer(200, {"id": "1"}), SENT, Action.GO_ON, "accepted"),
    (Answer(201, {}), SENT, Action.GO_ON, "accepted"),
    (Answer(200, {"code": 1, "message": "no"}), SENT, Action.GO_ON, "accepted"),
    (Answer(204, {}), SENT, Action.GO_ON, "accepted"),
    # never left, or no answer
    (Answer(None, left=False, fault="refused"), REFUSED, Action.WAIT, "unreachable"),
    (Answer(None, fault="timed out"), UNKNOWN, Action.WAIT, "timed out"),
    (Answer(None, fault="connection failed (ReadError)"), UNKNOWN, Action.WAIT, "timed out"),
    # wait
    (said(429, 8), REFUSED, Action.WAIT_CONNECTION, "rate limited"),
    (said(429, 30), REFUSED, Action.WAIT_CONNECTION, "rate limited"),
    (said(429, 8, "Flagged as spam."), REFUSED, Action.WAIT_CONNECTION, "flagged as spam"),
    (said(500, 500), UNKNOWN, Action.WAIT, "server error"),
    (said(503, 4197), UNKNOWN, Action.WAIT, "server error"),
    (Answer(502, {}), UNKNOWN, Action.WAIT, "server error"),
    (said(400, 12, "Something went wrong on our end."), REFUSED, Action.WAIT, "transient refusal"),
    (said(400, 1, "Retry after 5 seconds"), REFUSED, Action.WAIT, "transient refusal"),
    (said(400, 1, "Something went wrong"), REFUSED, Action.WAIT, "transient refusal"),
    (said(409, 409), REFUSED, Action.WAIT, "conflict"),
    # a person
    (said(401, 2), REFUSED, Action.RENEW_LOGIN, "log in again"),
    (said(401, 401), REFUSED, Action.RENEW_LOGIN, "log in again"),
    (said(401, 2, "The app's role and scope."), REFUSED, Action.RENEW_LOGIN, "log in again"),
    (said(401, 3), REFUSED, Action.HOLD_CONNECTION, "scope missing"),
    (said(403, 3, "Missing scope: ads:write"), REFUSED, Action.HOLD_CONNECTION, "scope missing"),
    (said(401, 29), REFUSED, Action.HOLD_CONNECTION, "not permitted"),
    (said(403, 29), REFUSED, Action.HOLD_CONNECTION, "not permitted"),
    (said(403, 403), REFUSED, Action.HOLD_CONNECTION, "not permitted"),
    (said(403, 7403), REFUSED, Action.HOLD_CONNECTION, "not permitted"),
    (said(401, 29, "Your role is too low."), REFUSED, Action.HOLD_CONNECTION, "role lost"),
    (said(403, 29, "Needs the role ADMIN."), REFUSED, Action.HOLD_CONNECTION, "role lost"),
    (said(403, 29, "Not for your app."), REFUSED, Action.HOLD_CONNECTION, "app restricted"),
    (said(401, 29, "Trial access."), REFUSED, Action.HOLD_CONNECTION, "app restricted"),
    (said(403, 2625), REFUSED, Action.HOLD_CONNECTION, "account disapproved"),
    (said(403, 2626), REFUSED, Action.HOLD_CONNECTION, "account under review"),
    (said(403, 2626, "A role."), REFUSED, Action.HOLD_CONNECTION, "account under review"),
    (said(404, 404), REFUSED, Action.HOLD_LIST, "gone at Pinterest"),
    (said(404, 2, "CustomerList not found."), REFUSED, Action.HOLD_LIST, "gone at Pinterest"),
    (
        said(404, 2, "AdAccount not found."),
        REFUSED,
        Action.HOLD_CONNECTION,
        "ad account not found",
    ),
    (
        said(404, 2, "CustomerList of ad account 5 not found."),
        REFUSED,
        Action.HOLD_LIST,
        "gone at Pinterest",
    ),
    # smaller
    (said(413, 413), REFUSED, Action.HALVE, "too large"),
    (said(400, 1, "Too many records."), REFUSED, Action.HALVE, "too large"),
    (said(400, 1, "Maximum number of records is 5"), REFUSED, Action.HALVE, "too large"),
    (said(400, 1), REFUSED, Action.NARROW, "refused"),
    (said(400, 4196), REFUSED, Action.NARROW, "refused"),
    (said(400, 7400), REFUSED, Action.NARROW, "refused"),
    # not listed: held with what was seen
    (said(405, 5), REFUSED, Action.HOLD_LIST, "wrong call"),
    (said(418, 7418), REFUSED, Action.HOLD_LIST, "unknown answer"),
    (said(402, 1), REFUSED, Action.HOLD_LIST, "unknown answer"),
    (Answer(307, {}), UNKNOWN, Action.HOLD_LIST, "unknown answer"),
    (said(307), UNKNOWN, Action.HOLD_LIST, "unknown answer"),  # proof is a 4xx only
    (Answer(100, {}), UNKNOWN, Action.HOLD_LIST, "unknown answer"),
    # a proxy's page proves nothing, whatever its status
    (Answer(400, {}), UNKNOWN, Action.HOLD_LIST, "unknown answer"),
    (Answer(413, {}), UNKNOWN, Action.HOLD_LIST, "unknown answer"),
    (Answer(400, {"message": "no code"}), UNKNOWN, Action.HOLD_LIST, "unknown answer"),
    (Answer(400, {"code": "1", "message": "x"}), UNKNOWN, Action.HOLD_LIST, "unknown answer"),
    (Answer(400, {"code": 1, "message": None}), UNKNOWN, Action.HOLD_LIST, "unknown answer"),
    (Answer(429, {}), UNKNOWN, Action.WAIT_CONNECTION, "rate limited"),
    (Answer(404, {}), UNKNOWN, Action.HOLD_LIST, "gone at Pinterest"),
    (Answer(401, {}), UNKNOWN, Action.RENEW_LOGIN, "log in again"),
    (Answer(403, {}), UNKNOWN, Action.HOLD_CONNECTION, "not permitted"),
]


@pytest.mark.parametrize(
    ("answer", "settlement", "action", "reason"),
    GOLDEN,
    ids=[f"{row[0].status}-{row[0].code}-{row[3]}-{number}" for number, row in enumerate(GOLDEN)],
)
def test_the_golden_table(
    answer: Answer, settlement: Settlement, action: Action, reason: str
) -> None:
    verdict = judge(answer)
    assert (verdict.settlement, verdict.action, verdict.reason) == (settlement, action, reason)


def test_what_an_answer_holds_is_not_shown_with_it() -> None:
    """The answer to a grant holds both tokens."""
    assert "pina" not in repr(Answer(200, {"access_token": "pina_secret"}))


ANSWERS = st.builds(
    Answer,
    st.none() | st.integers(100, 599),
    st.fixed_dictionaries(
        {},
        optional={
            "code": st.integers() | st.text() | st.none(),
            "message": st.text() | st.integers(),
        },
    ),
    retry_after=st.none() | st.floats(allow_nan=False),
    left=st.booleans(),
)


@given(ANSWERS)
def test_a_charge_is_given_back_only_when_nothing_left_or_pinterest_said_no(
    answer: Answer,
) -> None:
    verdict = judge(answer)
    certain = (answer.status is None and not answer.left) or (
        answer.status is not None and 400 <= answer.status < 500 and answer.own_words
    )
    if verdict.settlement is REFUSED:
        assert certain


@given(ANSWERS)
def test_only_a_2xx_counts_as_sent_and_goes_on(answer: Answer) -> None:
    verdict = judge(answer)
    assert (verdict.settlement is SENT) == answer.ok == (verdict.action is Action.GO_ON)


@given(ANSWERS)
def test_a_named_wait_is_clamped_to_between_a_second_and_an_hour(answer: Answer) -> None:
    wait = judge(answer).wait
    assert wait is None or 1 <= wait <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("named", "waits"), [(5.0, 5.0), (0.0, 1.0), (-60.0, 1.0), (1e9, 3_600.0), (None, None)]
)
def test_waits_that_pinterest_names_are_kept_within_reason(
    named: float | None, waits: float | None
) -> None:
    assert judge(said(429, 8, retry_after=named)).wait == waits


DIGEST = "7ac429373cf077cc6f61eb587d3e66c108a21716"
SECRETS = [
    "ana.ruiz@example.org",
    "ana+x@bücher.example",
    "3f1c0c6a-5d4e-4b8a-9f53-0d2a7e6b1c99",
    "3F1C0C6A-5D4E-4B8A-9F53-0D2A7E6B1C99",
    DIGEST,
    DIGEST.upper(),
    "ab" * 16,
    "ab" * 32,
    "pina_AMATestTokenABC",
    "pinr_0123.456-789",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "around",
    ["{}", "record {} is bad", '{{"records":"{}"}}', "x={};y", "<{}>", "({})", "a,{},b", "'{}'."],
)
def test_texts_of_pinterest_are_kept_without_anybody_in_them(secret: str, around: str) -> None:
    kept = redact(around.format(secret))
    assert secret.lower() not in kept.lower()
    assert "[removed]" in kept


def test_what_names_nobody_stays_readable() -> None:
    text = "Invalid request: 'records' must have at most 1900 entries (code 1)."
    assert redact(text) == text


@given(st.text())
def test_kept_texts_are_short_and_storable(text: str) -> None:
    kept = redact(text)
    assert len(kept) <= LONGEST_MESSAGE
    assert "\x00" not in kept


def test_a_secret_at_the_cut_is_removed_before_the_cut() -> None:
    kept = redact("x" * (LONGEST_MESSAGE - 20) + " " + DIGEST)
    assert DIGEST[:8] not in kept


def test_the_message_of_an_answer_is_redacted() -> None:
    assert "ana" not in said(400, 1, "bad: ana@example.org").message
    assert "ana" not in judge(said(400, 1, "bad: ana@example.org")).message
